"""Completion: a shell at its prompt completes commands, options and values, whatever services do."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from numaplace.cli import completing
from numaplace.cli.app import built

SCRIPT = Path(__file__).resolve().parents[3] / "packaging/share/bash-completion/completions/numaplace"
PATIENCE_S = 60
AGAIN_S = 5


class Prompt:
    """A bash on a terminal, with the completion script that a package installs."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal

    def type(self, keys: str, until: str) -> None:
        """Type, and wait for these words; the last key is pressed again as a person would on a slow machine."""
        os.write(self._terminal, keys.encode())
        written = ""
        deadline = time.monotonic() + PATIENCE_S
        while until not in written:
            assert time.monotonic() < deadline, f"no {until!r} in {written!r}"
            ready, _, _ = select.select([self._terminal], [], [], AGAIN_S)
            if ready:
                written += os.read(self._terminal, 65_536).decode()
            else:
                os.write(self._terminal, keys[-1].encode())


@contextmanager
def bash(env: dict[str, str]) -> Iterator[Prompt]:
    """At its first prompt."""
    ours, theirs = pty.openpty()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        env={**os.environ, **env, "PATH": path, "PS1": "ready> ", "TERM": "dumb", "INPUTRC": "/dev/null"},
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        prompt = Prompt(ours)
        prompt.type(f"source {SCRIPT}; echo sourc''ed\n", "sourced")
        yield prompt
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


def test_bash_completes_commands_options_and_values_at_the_tab_key(services_env: dict[str, str]) -> None:
    """As a person sees it: a command, an option, a choice, and the name of a job that the agent follows."""
    with bash(services_env) as prompt:
        prompt.type("numaplace sho\t", "numaplace show ")
        prompt.type("--so\t", "--socket ")
        prompt.type("\x15numaplace policy set default --mode obs\t", "observe ")
        prompt.type("\x15numaplace release tr\t", "release train ")


def offered(line: str) -> list[str]:
    """What is offered for the last word of a line."""
    env = {"_NUMAPLACE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    return CliRunner().invoke(built(), env=env, prog_name="numaplace").stdout.split()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is waited for as long as a busy machine needs."""
    monkeypatch.setattr(completing, "PATIENCE_S", float(PATIENCE_S))


@pytest.mark.usefixtures("services_env", "patient")
@pytest.mark.parametrize(
    ("line", "word"),
    [("numaplace explain tr", "train"), ("numaplace policy set tr", "train"), ("numaplace hosts --h", "--help"),
     ("numaplace jobs --host al", "alpha"), ("numaplace moves cancel m-", "m-1"), ("numaplace show tr", "train")],
)  # fmt: skip
def test_names_are_those_that_the_services_know(line: str, word: str) -> None:
    """Jobs, hosts, open moves, and what the agent follows."""
    assert word in offered(line)


@pytest.mark.usefixtures("patient")
def test_the_service_is_the_one_that_the_line_names(services_env: dict[str, str]) -> None:
    """An option that was written already counts, not only the environment."""
    socket = services_env.pop("NUMAPLACE_SOCKET")
    assert offered(f"numaplace release --socket {socket} tr") == ["train"]


def test_nobody_who_answers_means_nothing_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """No words of an error in somebody's line, and no exit but the ordinary one."""
    monkeypatch.setenv("NUMAPLACE_SOCKET", "/nowhere/agent.sock")
    monkeypatch.setenv("NUMAPLACE_SCHEDULER", "127.0.0.1:1")
    for line in ("numaplace show x", "numaplace explain x", "numaplace moves cancel x"):
        assert offered(line) == []
    monkeypatch.setenv("NUMAPLACE_SCHEDULER", "no address")
    assert offered("numaplace explain x") == []


def test_cgroups_are_offered_level_by_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their path below the mount, or with it; one that has others below it can be gone into."""
    (tmp_path / "slurm" / "job_42").mkdir(parents=True)
    (tmp_path / "system").mkdir()
    (tmp_path / "cgroup.procs").write_text("")
    monkeypatch.setattr(completing, "CGROUP_ROOT", str(tmp_path))
    for mount in ("", str(tmp_path)):
        assert offered(f"numaplace show {mount}/s") == [f"{mount}/slurm", f"{mount}/slurm/", f"{mount}/system"]
        assert offered(f"numaplace adopt x --cgroup {mount}/slurm/") == [f"{mount}/slurm/job_42"]
    assert offered("numaplace show /none/") == []


def test_cgroups_are_those_with_cpusets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On cgroup v1 a path is one of the cpuset hierarchy; a cgroup v2 that is called so is but a cgroup."""
    (tmp_path / "cpuset" / "slurm").mkdir(parents=True)
    monkeypatch.setattr(completing, "CGROUP_ROOT", str(tmp_path))
    assert offered("numaplace cpuset mems /s") == ["/slurm"]
    assert offered(f"numaplace cpuset mems {tmp_path}/cpuset/s") == [f"{tmp_path}/cpuset/slurm"]
    (tmp_path / "cgroup.controllers").write_text("cpuset")
    assert offered("numaplace cpuset mems /s") == []
    assert offered("numaplace cpuset mems /c") == ["/cpuset", "/cpuset/"]
