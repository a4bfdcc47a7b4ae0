"""The agent as a process: what whoever starts it sees when it cannot start, or cannot go on."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node_agent.cli import app
from node_agent.linux.journal import SqliteJournal

BEGINS_WITHIN_S = 60.0


def _start(folder: Path, *arguments: str, cwd: Path | None = None) -> "subprocess.Popen[str]":
    state = ["--state-dir", str(folder), "--socket", str(folder / "agent.sock")]
    return subprocess.Popen(
        [sys.executable, "-m", "node_agent", "run", *state, *arguments], stderr=subprocess.PIPE, text=True, cwd=cwd
    )


def _running(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    process = _start(folder, *arguments)
    deadline = time.monotonic() + BEGINS_WITHIN_S
    while not (folder / "agent.sock").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


def _end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, said = process.communicate(timeout=BEGINS_WITHIN_S)
    return process.returncode, said


def test_a_damaged_journal_is_left_alone_and_ends_the_start_with_65(tmp_path: Path) -> None:
    """EX_DATAERR, words that say what to do, no traceback, and the file is as it was."""
    journal = tmp_path / "journal.sqlite"
    journal.write_bytes(b"this is no database" * 100)
    code, said = _end(_start(tmp_path))
    assert code == 65
    assert "move the file away" in said
    assert "Traceback" not in said
    assert journal.read_bytes().startswith(b"this is no database")


def test_a_journal_that_is_only_held_for_now_is_no_reason_never_to_start_again(tmp_path: Path) -> None:
    """Not 65, after which systemd gives up: whoever holds the lock, or fills the disk, may be gone in a moment."""
    with closing(SqliteJournal(tmp_path / "journal.sqlite")):
        code, said = _end(_start(tmp_path))
    assert code == 1
    assert "another agent runs" in said


def test_a_state_folder_that_cannot_be_made_ends_the_start_in_words(tmp_path: Path) -> None:
    """The default is root's: another user is told what to give instead."""
    (tmp_path / "file").touch()
    code, said = _end(_start(tmp_path / "file" / "state"))
    assert code == 1
    assert "give another folder with --state-dir" in said
    assert "Traceback" not in said


def test_plaintext_beyond_loopback_is_refused_with_78(tmp_path: Path) -> None:
    """EX_CONFIG: starting again does not help, and the words name the way out."""
    code, said = _end(_start(tmp_path, "--scheduler", "192.0.2.1:7700"))
    assert code == 78
    assert "certs" in said


def test_checking_a_configuration_finds_what_would_stop_the_start(tmp_path: Path) -> None:
    """check-config ends as run does: a configuration that it passes is one that starts."""
    file = tmp_path / "agent.toml"
    file.write_text('scheduler = "192.0.2.1:7700"\n')
    checked = subprocess.run(
        [sys.executable, "-m", "node_agent", "check-config", "-c", str(file)],
        capture_output=True, check=False, text=True, timeout=BEGINS_WITHIN_S,
    )  # fmt: skip
    assert checked.returncode == 78
    assert "certs" in checked.stderr


def test_a_probe_that_cannot_begin_says_why(tmp_path: Path) -> None:
    """Whoever asks what the host can do reads words, not a traceback."""
    (tmp_path / "adoptions.json").mkdir()
    probed = subprocess.run(
        [sys.executable, "-m", "node_agent", "probe"],
        capture_output=True, check=False, text=True, timeout=BEGINS_WITHIN_S,
        env={**os.environ, "NUMAPLACE_AGENT_STATE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert probed.returncode == 1
    assert "adoptions.json" in probed.stderr
    assert "Traceback" not in probed.stderr


def test_a_socket_that_is_taken_ends_the_start_in_words(tmp_path: Path) -> None:
    """What fails once the parts run is told as plainly as what fails before."""
    (tmp_path / "agent.sock").write_text("not a socket")
    code, said = _end(_start(tmp_path))
    assert code == 1
    assert "is no socket" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_its_socket_is_gone(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT: exit code 0, nothing left behind but the state."""
    process = _running(tmp_path)
    os.kill(process.pid, number)
    code, said = _end(process)
    assert code == 0, said
    assert not (tmp_path / "agent.sock").exists()


def test_what_read_the_configuration_does_not_stay_in_memory(tmp_path: Path) -> None:
    """The process that was started is the agent, under a name that tells how, and holds no library only others need."""
    process = _running(tmp_path, "--host", "h1")
    maps = Path(f"/proc/{process.pid}/maps").read_text()
    arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
    process.terminate()
    code, said = _end(process)
    assert code == 0, said
    assert arguments[-3:] == [b"--host", b"h1", b""]
    assert "cygrpc" in maps
    assert not [name for name in ("pydantic_core", "/_ssl.") if name in maps]


def test_a_configuration_of_any_length_reaches_the_agent(tmp_path: Path) -> None:
    """It ends in the state folder that was given, whatever else was."""
    file = tmp_path / "agent.toml"
    file.write_text(f"[follow]\ncommands = {[f'command-{n:06}' for n in range(20_000)]}\n")
    (tmp_path / "journal.sqlite").write_bytes(b"this is no database" * 100)
    code, said = _end(_start(tmp_path, "--config", str(file)))
    assert code == 65, said


def test_a_wrong_value_is_refused_with_78(tmp_path: Path) -> None:
    """EX_CONFIG, and the words name the key."""
    code, said = _end(_start(tmp_path, "--mode", "sometimes"))
    assert code == 78
    assert "policy.mode" in said
    assert not (tmp_path / "journal.sqlite").exists()


def test_what_lies_in_the_current_directory_is_not_imported(tmp_path: Path) -> None:
    """An agent that root starts in somebody's folder runs nothing of theirs."""
    (tmp_path / "structlog.py").write_text("raise SystemExit(3)")
    (tmp_path / "journal.sqlite").write_bytes(b"this is no database" * 100)
    code, said = _end(_start(tmp_path, cwd=tmp_path))
    assert code == 65, said


def test_an_interpreter_that_is_gone_ends_the_start_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade may have taken it away in between."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    ended = CliRunner().invoke(app, ["run", "--state-dir", str(tmp_path)])
    assert ended.exit_code == 1
    assert "cannot go on as the agent" in ended.output
