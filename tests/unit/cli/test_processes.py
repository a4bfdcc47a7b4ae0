"""The command as a process: exit codes, pipes, terminals, Ctrl-C, and how soon it starts."""

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from numaplace.cli.interrupts import SIGNALS
from tests.fakes import samples, services

COMMAND = (sys.executable, "-m", "numaplace.cli")
WITHIN_S = 60.0
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def run(arguments: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run it with pipes."""
    return subprocess.run(
        [*COMMAND, *arguments], env={**os.environ, **env}, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("hosts",), 0), (("moves", "cancel", "m-0"), 1), (("hosts", "--nonsense"), 2), (("policy", "set", "x"), 2),
     (("hosts", "--scheduler", "127.0.0.1:1"), 3), (("status", "--socket", "/none"), 3), (("explain", "nobody"), 4),
     (("status", "--socket", f"/{107 * 'n'}"), 3)],
)  # fmt: skip
def test_exit_codes(services_env: dict[str, str], arguments: tuple[str, ...], code: int) -> None:
    """As documented, and without a traceback."""
    ended = run(arguments, services_env)
    assert ended.returncode == code
    assert bool(ended.stderr) == (code != 0)
    assert "Traceback" not in ended.stderr
    assert bool(ended.stdout) == (code == 0)


def test_a_reader_that_leaves_early(services_env: dict[str, str]) -> None:
    """``numaplace hosts | head -0`` ends quietly."""
    with subprocess.Popen(
        [*COMMAND, "hosts"], env={**os.environ, **services_env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        assert process.wait(WITHIN_S) in {0, 1}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("counters", 0),
        ("show {me} --json", 0),
        ("show 4194303", 4),
        ("run -- true", 0),
        ("move --pid {me} --pages -", 2),
    ],
)
def test_streams_that_are_closed(arguments: str, code: int) -> None:
    """Whoever closes one wants nothing of it: the exit code is the same, and there is no traceback."""
    words = arguments.format(me=os.getpid()).split()
    for closing in ("<&- >&-", "<&- 2>&-"):
        ended = subprocess.run(
            ["/bin/sh", "-c", f'exec "$@" {closing}', "sh", *COMMAND, *words],
            capture_output=True, text=True, timeout=WITHIN_S, check=False,
        )  # fmt: skip
        assert ended.returncode == code, ended.stderr
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("arguments", [["counters"], ["show", str(os.getpid())], ["show", str(os.getpid()), "--json"]])
def test_an_answer_that_cannot_be_written_is_a_failure(arguments: list[str]) -> None:
    """A full disk is told in one line."""
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=WITHIN_S, check=False
        )
    assert ended.returncode == 1
    assert ended.stderr == "numaplace: the answer could not be written: No space left on device\n"


def test_an_interrupt_before_anything_began() -> None:
    """Ctrl-C while the command still loads what it needs: its code, and no traceback."""
    code = (
        "import signal, sys\n"
        "import numaplace.cli\n"
        "class Loading:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == sys.argv[1]:\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Loading())\n"
        "numaplace.cli.main(['show', '1', '--watch'])\n"
    )
    for module in ("numaplace.look.looking", "numaplace.cli.app", "numaplace.cli.show"):
        ended = subprocess.run(
            [sys.executable, "-c", code, module], capture_output=True, text=True, timeout=WITHIN_S, check=False
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", ""), module


class Terminal:
    """The command on a terminal of its own: what it wrote so far."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.written = ""
        self._news = threading.Condition()
        base = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "CI"}}
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            env={**base, "TERM": "xterm-256color", "COLUMNS": "200", "LINES": "40", **env},
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65_536)
            except OSError:  # EIO: the other end is closed
                data = b""
            with self._news:
                self.written += data.decode()
                self._news.notify_all()
            if not data:
                return

    def wait_for(self, words: str) -> None:
        """Until it wrote this."""
        with self._news:
            assert self._news.wait_for(lambda: words in ESCAPES.sub("", self.written), WITHIN_S), self.written

    def end(self) -> int:
        """Its exit code."""
        code = self.process.wait(WITHIN_S)
        self._reader.join(WITHIN_S)
        os.close(self._ours)
        return code


@pytest.mark.parametrize("number", SIGNALS)
def test_top_lives_until_it_is_interrupted(services_env: dict[str, str], number: signal.Signals) -> None:
    """It looks again and again, and Ctrl-C is its ordinary end; whoever ends it otherwise gets the screen back too."""
    terminal = Terminal(["top", "--interval", "0.1"], services_env)
    terminal.wait_for("hosts 1/2 connected")
    first = terminal.written.count("connected")
    with terminal._news:
        assert terminal._news.wait_for(lambda: terminal.written.count("connected") > first + 1, WITHIN_S)
    terminal.process.send_signal(number)
    assert terminal.end() == 0
    assert "Traceback" not in terminal.written
    assert "\x1b[?1049l" in terminal.written, "the screen is given back"


def test_top_says_when_the_scheduler_goes_away(tmp_path: Path) -> None:
    """The screen is given back, the words stay, and the code is 3."""
    with services.scheduler(samples.cluster()) as address:
        terminal = Terminal(["top", "--interval", "0.1", "--scheduler", address], {"HOME": str(tmp_path)})
        terminal.wait_for("hosts 1/2 connected")
    assert terminal.end() == 3
    assert "is numaplace-scheduler running" in terminal.written


def test_colours_are_for_terminals_that_want_them(services_env: dict[str, str]) -> None:
    """NO_COLOR holds."""
    coloured = Terminal(["hosts"], services_env)
    assert coloured.end() == 0
    plain = Terminal(["hosts"], {**services_env, "NO_COLOR": "1"})
    assert plain.end() == 0
    assert "\x1b[32m" in coloured.written
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", plain.written)
    assert "alpha" in plain.written


def test_a_terminal_without_unicode_gets_bars_of_ascii(services_env: dict[str, str]) -> None:
    """PYTHONIOENCODING stands for a terminal's locale here."""
    ended = run(["show", str(os.getpid())], {**services_env, "PYTHONIOENCODING": "ascii"})
    assert ended.returncode == 0
    assert "###" in ended.stdout
    assert ended.stdout.isascii()


def test_help_needs_neither_grpc_nor_protobuf() -> None:
    """What makes help slow is not imported for it; timing would only say how busy the machine is."""
    code = (
        "import sys\n"
        "from numaplace.cli import main\n"
        "try:\n    main(['--help'])\n"
        "finally:\n"
        "    slow = {'grpc', 'google.protobuf', 'numpy', 'pydantic', 'structlog', 'asyncio'} & set(sys.modules)\n"
        "    sys.stderr.write(repr(sorted(slow)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WITHIN_S, check=True)
    assert ended.stderr == "[]"


def test_importing_the_package_is_cheap() -> None:
    """Nothing but itself."""
    code = "import sys; before = set(sys.modules); import numaplace; print(sorted(set(sys.modules) - before))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WITHIN_S, check=True)
    assert ended.stdout == "['numaplace']\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete(shell: str) -> None:
    """The words of a command line."""
    env = {"_NUMAPLACE_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "numaplace ho"}
    if shell == "bash":
        env |= {"COMP_WORDS": "numaplace ho", "COMP_CWORD": "1"}
    if shell == "fish":
        env |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert "hosts" in run([], env).stdout
