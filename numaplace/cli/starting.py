"""Starting the program of `numaplace run`: in this process's place, or as its child that an agent of its own follows.

With nobody to follow, or with the host's agent to do it, this process becomes the program: pid, terminal, signals and
exit code are the program's own. A private agent must end with the program, so then this process stays as its parent,
hands signals on and returns its exit code. The child is forked before gRPC and its threads are there, and held back
until it is followed.

A terminal sends its signals to parent and child alike, so only those that somebody sent to the parent are handed on:
the kernel says which is which (siginfo, sigaction(2)). Signals that stop a process are left alone, as the shell sends
those to both.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from numaplace.cli import exits
from numaplace.cli.binding import Binding
from numaplace.cli.connect import failures_as_exits
from numaplace.model.ids import JobId

HANDED_ON = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGALRM,
        signal.SIGXCPU,
    }
)
_PYTHONS_OWN = (signal.SIGPIPE, signal.SIGXFSZ)
"""Python ignores these, and what is ignored stays so in the program that is executed."""


def become(command: list[str]) -> NoReturn:
    """Execute the program in this process's place; raises exits.Failure if that cannot be."""
    sys.stdout.flush()
    for number in _PYTHONS_OWN:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except ValueError as error:  # Python's own word for a program without a name
        raise exits.Failure(exits.NO_PROGRAM, "'': there is no such program") from error
    except FileNotFoundError as error:
        raise exits.Failure(exits.NO_PROGRAM, f"{command[0]}: there is no such program") from error
    except OSError as error:
        raise exits.Failure(exits.CANNOT_RUN, f"{command[0]} cannot be run: {error.strerror}") from error


def become_followed(binding: Binding, command: list[str], name: str, agent_socket: Path) -> NoReturn:
    """Have the host's agent follow this process, and become the program."""
    from numaplace.client import AgentClient  # noqa: PLC0415 - only now is gRPC worth its 0.1 s

    binding.apply()
    with failures_as_exits(), AgentClient(agent_socket) as client:
        client.adopt(JobId(name), pid=os.getpid())
    become(command)


def run_followed(binding: Binding, command: list[str], name: str) -> int:
    """Run the program as a child that a private agent follows; returns its exit code, 128 + n for a signal."""
    ours, theirs = socket.socketpair()
    # Where whoever started us ignores it, nobody would be told of the child's end, and its code would be lost.
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        ours.close()
        signal.signal(signal.SIGCHLD, before)
        _in_child(lambda: _start_when_told(binding, command, theirs))
    theirs.close()
    # From here on, for a thread of gRPC's that does not block a signal would be given it, and end us all.
    with ours, _signals_waited_for():
        if not ours.recv(1):  # it has said why
            return _exit_code(os.waitpid(pid, 0)[1])
        try:
            return _follow(pid, name, ours)
        except exits.Failure:
            done, status = os.waitpid(pid, os.WNOHANG)
            if not done:
                raise
            return _exit_code(status)  # it was interrupted while it waited, so there was nobody to follow


def _follow(pid: int, name: str, child: socket.socket) -> int:
    from numaplace.client.private import private_agent  # noqa: PLC0415 - gRPC comes after the fork

    with failures_as_exits(), private_agent() as client:
        client.adopt(JobId(name), pid=pid)
        child.send(b"1")
        child.close()
        return _wait(pid)


def _start_when_told(binding: Binding, command: list[str], parent: socket.socket) -> None:
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell has it for what runs in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the program is there, an interrupt just ends it
    binding.apply()
    parent.send(b"1")
    if parent.recv(1):  # else the parent has failed, and says so
        become(command)


def _in_child(do: Callable[[], None]) -> NoReturn:
    """Run a part of a forked child's life: whatever happens, it never returns into its parent's code."""
    code = exits.FAILED
    try:
        do()
    except exits.Failure as failure:
        sys.stderr.write(f"numaplace: {failure.words}\n")
        sys.stderr.flush()
        code = failure.code
    finally:
        os._exit(code)


@contextmanager
def _signals_waited_for() -> Iterator[None]:
    """Block what :func:`_wait` takes one by one, for this thread and those that it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON | {signal.SIGCHLD})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(pid: int) -> int:
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return _exit_code(status)
        came = signal.sigwaitinfo(HANDED_ON | {signal.SIGCHLD})
        by_somebody = came.si_code <= 0  # SI_USER and its like; what the kernel sends is above: SI_KERNEL, CLD_EXITED
        if came.si_signo != signal.SIGCHLD and by_somebody:
            os.kill(pid, came.si_signo)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
