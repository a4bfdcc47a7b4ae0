"""A private agent as a process: it serves whoever started it, ends with them however they end, and leaves nothing."""

import fcntl
import io
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from numaplace.client import InvalidRequest, Unavailable, private
from numaplace.client.private import private_agent
from numaplace.model.hand import Transfer
from numaplace.model.ids import JobId, NodeId
from numaplace.model.move import MoveOrder, MoveOutcome, MoveState

WITHIN_S = 60.0


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The temporary folder, of which nothing may be left; pytest's own is too deep for sockets."""
    with tempfile.TemporaryDirectory(prefix="t-") as made:
        monkeypatch.setattr(tempfile, "tempdir", made)
        monkeypatch.setenv("TMPDIR", made)
        yield Path(made)


@contextmanager
def sleeping() -> Iterator[int]:
    """A process of our own; its pid."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def test_it_serves_adopts_moves_and_leaves_nothing(folder: Path) -> None:
    """All that the local API offers, with nothing followed that was not adopted; the first move needs no patience."""
    with private_agent() as agent, sleeping() as pid:
        status = agent.status()
        assert (status.host, status.scheduler, status.tasks) == (platform.node(), "", 0)
        node = min(status.topology.with_memory)
        assert agent.adopt(JobId("mine"), pid=pid).job == "mine"
        assert wait_until(lambda: [task.job for task in agent.tasks()] == ["mine"])
        order, *_, outcome = agent.move(Transfer(frozenset({node}), frozenset({node})), pid=pid)
        assert isinstance(order, MoveOrder)
        assert isinstance(outcome, MoveOutcome)
        assert (outcome.move, outcome.state, outcome.moved_bytes) == (order.id, MoveState.COMPLETED, 0)
        assert agent.moves() == (outcome,)
        with pytest.raises(InvalidRequest, match="this host has no node 1000"):
            agent.predict(Transfer(frozenset({node}), frozenset({NodeId(1000)})), pid=pid)
        assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o700]
    assert list(folder.iterdir()) == []


_HOLDS_ONE = """
import os, sys
from pathlib import Path
from numaplace.client.private import private_agent
with private_agent() as agent:
    me = os.getpid()
    try:
        print(Path(f"/proc/{me}/task/{me}/children").read_text(), flush=True)
        sys.stdin.read()
    except KeyboardInterrupt:
        print("still there:", agent.status().host, flush=True)
"""


@contextmanager
def holding_one() -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A program in a session of its own, as at a terminal, that holds a private agent; and the agent's pid."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS_ONE],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as program:  # fmt: skip
        try:
            assert program.stdout is not None
            yield program, int(program.stdout.readline())
        finally:
            program.kill()


def wait_until(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold."""
    deadline_s = time.monotonic() + WITHIN_S
    while not holds() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return holds()


def ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for its parent to ask how it ended."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def test_it_ends_with_a_parent_that_was_killed(folder: Path) -> None:
    """SIGKILL leaves nobody to tidy up: the agent does, files included."""
    with holding_one() as (program, agent):
        assert not ended(agent)
        program.kill()
        assert wait_until(lambda: ended(agent))
        assert list(folder.iterdir()) == []


def test_an_interrupt_at_the_terminal_is_its_parents_to_answer(folder: Path) -> None:
    """Ctrl-C goes to the whole foreground group: the agent is not in it, and still serves until its parent ends."""
    with holding_one() as (program, agent):
        assert os.getsid(agent) == agent
        os.killpg(program.pid, signal.SIGINT)
        said, _ = program.communicate(timeout=WITHIN_S)
        assert said == f"still there: {platform.node()}\n"
        assert ended(agent)
        assert list(folder.iterdir()) == []


def test_one_that_cannot_start_is_heard_to_the_last_word(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own words, one line, and nothing left behind."""
    made = folder / "numaplace-x"
    made.mkdir()
    (made / "journal.sqlite").write_bytes(b"this is no database" * 100)
    monkeypatch.setattr(private, "_folder", lambda: made)
    with (
        pytest.raises(Unavailable, match=r"^no agent of our own can start: .*move the file away") as caught,
        private_agent(),
    ):
        pass
    assert "\n" not in caught.value.words
    assert list(folder.iterdir()) == []


def test_an_interpreter_that_is_gone_is_said_to_be_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade may have taken it away."""
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    with pytest.raises(Unavailable, match="No such file"), private_agent():
        pass
    assert list(folder.iterdir()) == []


def test_one_that_does_not_come_to_serve_is_not_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it does instead; it does not outlive the attempt."""
    script = folder / "python"
    script.write_text("#!/bin/sh\nexec cat\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(private, "START_S_MAX", 0.2)
    with pytest.raises(Unavailable, match="did not start within"), private_agent():
        pass
    assert list(folder.iterdir()) == [script]


def test_a_program_with_many_files_open_hears_it_too() -> None:
    """select(2) ends at descriptor 1023; a program that serves thousands may well want to move pages."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2048 if hard == resource.RLIM_INFINITY else min(2048, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        low, writer = os.pipe()
        with open(fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 1024), "rb", 0) as output:  # noqa: PTH123 - no path
            os.write(writer, b"serving\n")
            process: Any = SimpleNamespace(stdout=output)
            private._await_serving(process, io.BytesIO())
        os.close(low)
        os.close(writer)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_folder_too_deep_for_a_socket_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's path is limited to 107 bytes, and temporary folders may be anywhere."""
    deep = folder / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    made = private._folder()
    made.rmdir()
    assert made.parent == private._SHORT_FOLDER
