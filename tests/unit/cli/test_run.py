"""``numaplace run`` as a process: it becomes the program, or stays as the parent of one that is followed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from numaplace.model.ids import JobId
from tests.fakes import samples, services
from tests.unit.cli.conftest import Run

RUN = (sys.executable, "-m", "numaplace.cli", "run")
WITH_A_PRIVATE_AGENT = """
import contextlib, os, sys, types
module = types.ModuleType("numaplace.client.private")
class Client:
    def adopt(self, job, pid):
        print("adopted", job, os.path.basename(os.readlink(f"/proc/{pid}/exe")), file=sys.stderr, flush=True)
@contextlib.contextmanager
def private_agent():
    print("agent up", file=sys.stderr, flush=True)
    yield Client()
    print("agent down", file=sys.stderr, flush=True)
module.private_agent = private_agent
sys.modules[module.__name__] = module
from numaplace.cli import connect, main
connect._answers = lambda path: False
main(sys.argv[1:])
"""
"""The command with a private agent that only says what it is asked."""
WITHOUT_THE_HOSTS_AGENT = """
import sys
from numaplace.cli import connect, main
connect._answers = lambda path: False
main(sys.argv[1:])
"""
FOLLOW = (sys.executable, "-c", WITH_A_PRIVATE_AGENT, "run", "--follow")


def ran(arguments: Sequence[str], command: Sequence[str] = RUN) -> subprocess.CompletedProcess[str]:
    """Run it with pipes."""
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("arguments", "heard"),
    [
        (["echo", "-n", "a", "--help"], "a --help"),
        (["--", "echo", "-n", "-m"], "-m"),
        (["-C", "all", "echo", "-n", "-C", "9999"], "-C 9999"),
        (["-C=all", "--", "echo", "--", "x"], None),
        (["--physcpubind=all", "--", "echo", "--", "x"], "-- x\n"),
        (["-Call", "echo", "x"], "x\n"),
    ],
)
def test_options_end_where_the_program_begins(arguments: list[str], heard: str | None) -> None:
    """With and without --, what comes after the program's name is the program's."""
    ended = ran(arguments)
    if heard is None:
        assert (ended.returncode, ended.stdout) == (2, "")
    else:
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, heard, "")


def test_the_program_is_this_very_process() -> None:
    """Same pid; nothing of ours stays open, ignored or blocked in it."""
    script = (
        "import json, os, sys; status = open('/proc/self/status').read();"
        " print(json.dumps([os.getpid(), sorted(os.listdir('/proc/self/fd')), status]))"
    )
    with subprocess.Popen(
        [*RUN, "-C", "all", "python3", "-S", "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        out = process.communicate(timeout=60)[0]
    pid, files, status = json.loads(out)
    before = json.loads(ran(["-S", "-c", script], ["python3"]).stdout)
    assert pid == process.pid
    assert files == before[1]
    for line in ("SigBlk", "SigIgn"):
        assert [each for each in status.splitlines() if each.startswith(line)] == [
            each for each in before[2].splitlines() if each.startswith(line)
        ]


def test_exit_code_and_signal_are_the_programs_own() -> None:
    """A signal is seen as one, not as a number above 128."""
    assert ran(["sh", "-c", "exit 7"]).returncode == 7
    assert ran(["sh", "-c", "kill -TERM $$"]).returncode == -signal.SIGTERM


def test_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    """127 if there is none, 126 if it may not be executed: one line each."""
    (tmp_path / "text").write_text("no program")
    for program, code in (("no-such-program", 127), ("", 127), (str(tmp_path / "text"), 126), (str(tmp_path), 126)):
        ended = ran([program])
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (code, "", 1)
        assert program in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-m", "0", "-i", "0", "true"], "one memory policy"),
        (["--name", "x", "true"], "--follow"),
        (["-m", "4095", "true"], "node 4095 does not exist"),
        (["-b", "true"], "--membind"),
        (["--shm", "x", "true"], "--shm"),
        ([], "CMD"),
    ],
)
def test_wrong_usage(run: Run, arguments: list[str], words: str) -> None:
    """Two, and words."""
    ended = run("run", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err


def test_the_hosts_agent_follows_the_program_before_it_runs(tmp_path: Path) -> None:
    """This process is adopted under the name, and then becomes the program."""
    machine = samples.machine()
    script = "import os; print(os.getpid(), len(os.listdir('/proc/self/fd')))"
    shown = next(iter(machine.shown.values()))

    class Everybody(dict[str | int, object]):
        """Any pid is known."""

        def __contains__(self, key: object) -> bool:
            return True

        def __missing__(self, key: str | int) -> object:
            return shown

    machine.shown = Everybody()  # type: ignore[assignment]  # every name is this task
    with services.agent(machine, tmp_path / "agent.sock") as socket:
        arguments = ["--follow", "--name", "j", "--socket", str(socket), "python3", "-S", "-c", script]
        with subprocess.Popen([*RUN, *arguments], stdout=subprocess.PIPE, text=True) as process:
            pid, files = process.communicate(timeout=60)[0].split()
    assert process.returncode == 0
    assert machine.adopted == {JobId("j"): int(pid)} == {JobId("j"): process.pid}
    assert files == ran(["-S", "-c", script], ["python3"]).stdout.split()[1]


def test_what_the_hosts_agent_refuses_is_the_end(tmp_path: Path) -> None:
    """The program does not run unfollowed."""
    with services.agent(samples.machine(), tmp_path / "agent.sock") as socket:
        ended = ran(["--follow", "--socket", str(socket), "echo", "ran"])
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (4, "", 1)


def test_a_private_agent_is_there_before_the_program_and_after_it() -> None:
    """The child waits as Python until it is followed; its exit code is the command's."""
    ended = ran(["--name", "mine", "sh", "-c", "echo ran >&2; exit 7"], FOLLOW)
    python = Path(sys.executable).resolve().name
    assert ended.stderr.splitlines() == ["agent up", f"adopted mine {python}", "ran", "agent down"]
    assert ended.returncode == 7


def test_a_followed_programs_signal_is_128_and_its_number() -> None:
    """As shells have it."""
    assert ran(["sh", "-c", "kill -KILL $$"], FOLLOW).returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["no-such-program"], 127), (["-C", "4095", "true"], 2), (["-m", "4095", "true"], 2)],
)
def test_a_followed_program_that_cannot_be_run(arguments: list[str], code: int) -> None:
    """The code and the words are those of the same command without --follow."""
    ended = ran(arguments, FOLLOW)
    assert ended.returncode == code
    assert "numaplace" in ended.stderr
    assert "Traceback" not in ended.stderr


WAITS_FOR = (
    "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {int(sys.argv[1])}); print('up', flush=True);"
    " print(signal.sigwait({int(sys.argv[1])}).name, flush=True); sys.exit(9)"
)
"""Says that it is up, then the signal that it gets."""


@pytest.mark.parametrize("command", [RUN, FOLLOW])
def test_what_the_caller_ignores_the_program_ignores(command: Sequence[str]) -> None:
    """A shell does so with SIGINT for what runs in the background. Without SIGCHLD the exit code comes all the same."""
    ignoring = (
        "import os, signal, sys; [signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGCHLD)];"
        " os.execv(sys.argv[1], sys.argv[1:])"
    )
    script = (
        "import signal, sys; print([number.name for number in (signal.SIGINT, signal.SIGCHLD)"
        " if signal.getsignal(number) is signal.SIG_IGN]); sys.exit(7)"
    )
    ended = ran(["python3", "-S", "-c", script], [sys.executable, "-c", ignoring, *command])
    assert (ended.stdout, ended.returncode) == ("['SIGINT', 'SIGCHLD']\n", 7)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_signals_are_handed_on(number: signal.Signals) -> None:
    """What somebody sends to the parent the program gets; the parent ends when the program does, with its code."""
    command = [*FOLLOW, "python3", "-S", "-c", WAITS_FOR, str(number.value)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.stdout.read() == f"{number.name}\n"
        assert process.wait(60) == 9


def blocks(pid: int, tid: str, number: signal.Signals) -> bool:
    """Whether a thread blocks a signal."""
    lines = Path(f"/proc/{pid}/task/{tid}/status").read_text().splitlines()
    (mask,) = (line.split()[1] for line in lines if line.startswith("SigBlk"))
    return bool(int(mask, 16) >> number - 1 & 1)


def test_signals_are_handed_on_past_the_threads_of_a_real_agents_client() -> None:
    """None of them is given any, and the agent itself blocks none; it ends with the program."""
    command = [sys.executable, "-c", WITHOUT_THE_HOSTS_AGENT, "run", "--follow", "python3", "-S", "-c", WAITS_FOR, "15"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            up = process.stdout.readline()
            threads = [tid.name for tid in Path(f"/proc/{process.pid}/task").iterdir() if tid.name != str(process.pid)]
            blocking = [blocks(process.pid, tid, signal.SIGTERM) for tid in threads]
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            agents = [pid for pid in children if "node_agent" in Path(f"/proc/{pid}/cmdline").read_text()]
            agents_blocking = [blocks(int(pid), pid, signal.SIGTERM) for pid in agents]
        finally:
            process.send_signal(signal.SIGTERM)
        assert (up, process.stdout.read()) == ("up\n", "SIGTERM\n")
        assert process.wait(60) == 9
    assert threads, "gRPC has threads: without them this shows nothing"
    assert all(blocking)
    assert agents_blocking == [False]
    assert not Path(f"/proc/{agents[0]}").exists()


def test_an_interrupt_while_the_agent_starts_ends_the_command() -> None:
    """The program, which waits, is ended by the terminal's signal; the code is its own, and it never ran."""
    code = WITH_A_PRIVATE_AGENT.replace('print("agent up"', 'os.killpg(0, 2); print("agent up"').replace(
        "def adopt(self, job, pid):",
        "def adopt(self, job, pid):\n"
        "        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)\n"
        "        from numaplace.client import NotFound; raise NotFound('gone')",
    )
    command = [sys.executable, "-c", code, "run", "--follow", "sh", "-c", "echo ran"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, start_new_session=True)
    assert (done.returncode, done.stdout) == (128 + signal.SIGINT, "")
    assert "Traceback" not in done.stderr


_ON_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def test_a_terminals_signal_reaches_the_program_once() -> None:
    """The terminal sends it to parent and child alike: handed on as well it would be a second one."""
    script = (
        "import signal\n"
        "both = {signal.SIGINT, signal.SIGTERM}\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, both)\n"
        "print('up', flush=True)\n"
        "print(signal.sigwait(both).name, flush=True)\n"
        "print(signal.sigwait(both).name, flush=True)\n"
    )
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", _ON_TERMINAL, str(theirs), *FOLLOW, "python3", "-S", "-c", script]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, pass_fds=[theirs], start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        os.write(ours, b"\x03")
        assert process.stdout.readline() == "SIGINT\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "SIGTERM\n"
        assert process.wait(60) == 0
    os.close(ours)
    os.close(theirs)
