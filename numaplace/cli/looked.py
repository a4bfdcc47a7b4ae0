"""What is meant by a pid, a job, a cgroup or a task's id, looked at; with the word of this host's agent, if it has one.

Processes and cgroups are found and read without help. Only an agent knows jobs by name, and what earlier moves proved
not to move. For everything else its silence is no failure: it may not be there, or not speak with this caller.
"""

import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numaplace.cli import exits
from numaplace.look import LookError, NotThere, Target, cgroup, look, process, tree
from numaplace.model.ids import JobId, TaskId
from numaplace.model.picture import Picture

if TYPE_CHECKING:
    from numaplace.model.views import Shown

_CGROUP, _PROCESS = "cgroup:", "process:"
_PROCESS_ID = re.compile(rf"{_PROCESS}([0-9]{{1,10}})@([0-9]{{1,20}})", re.ASCII)


def looked_at(name: str, socket: Path, *, threads: bool = False) -> Picture:
    """Look once at what a name means; raises exits.Failure."""
    with _failures_as_exits():
        if name.isascii() and name.isdecimal():
            found = look(process(_number(name)), threads=threads)
            return _with(found, _word(socket, pid=found.processes[0].pid))
        if name.startswith("/"):
            found = look(cgroup(name), threads=threads)
            return _with(found, _word(socket, cgroup=found.target.removeprefix("cgroup ")))
        if name.startswith((_CGROUP, _PROCESS)):
            return _with(look(_of_task(name), threads=threads), _word(socket, task=TaskId(name)))
        word = _of_job(name, socket)
        target = cgroup(word.task.cgroup) if word.task.id.startswith(_CGROUP) else _of_task(word.task.id)
        return _with(look(target, threads=threads), word)


@contextmanager
def _failures_as_exits() -> Iterator[None]:
    try:
        yield
    except NotThere as error:
        raise exits.Failure(exits.NOT_FOUND, error.words) from error
    except LookError as error:
        raise exits.Failure(exits.FAILED, error.words) from error


def _number(digits: str) -> int:
    """A pid; one that is longer than any number of the kernel's is that of no process."""
    if len(digits) > len(str(1 << 64)):
        raise NotThere(f"no process has the pid {digits[:32]}…")
    return int(digits)


def _of_task(name: str) -> Target:
    if name.startswith(_CGROUP):
        return cgroup(name.removeprefix(_CGROUP))
    match = _PROCESS_ID.fullmatch(name)
    if match is None:
        raise exits.Failure(exits.USAGE, f"not a task's id like process:4711@123456: {name}")
    return tree(int(match[1]), start_ticks=int(match[2]))


def _of_job(name: str, socket: Path) -> "Shown":
    """What the agent says of a job; raises exits.Failure."""
    if not _is_socket(socket):
        words = f"only an agent knows jobs by name, and none listens at {socket}; name a pid or a cgroup's path instead"
        raise exits.Failure(exits.UNREACHABLE, words)
    from numaplace.cli.connect import failures_as_exits  # noqa: PLC0415 - only now is typer worth its 0.05 s

    with failures_as_exits():
        return _ask(socket, job=JobId(name))


def _word(socket: Path, **name: Any) -> "Shown | None":  # noqa: ANN401 - a pid or a name
    """What the agent says of something, or None."""
    if not _is_socket(socket):
        return None
    from numaplace.client import NumaplaceError  # noqa: PLC0415 - only now is gRPC worth its 0.1 s

    try:
        return _ask(socket, **name)
    except NumaplaceError:
        return None


def _ask(socket: Path, **name: Any) -> "Shown":  # noqa: ANN401 - the same
    from numaplace.client import AgentClient  # noqa: PLC0415 - only now is gRPC worth its 0.1 s

    with AgentClient(socket) as client:
        return client.show(**name)


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


def _with(found: Picture, word: "Shown | None") -> Picture:
    """A picture with what the agent knows."""
    if word is None:
        return found
    task = word.task
    return replace(found, task=task.id, job=task.job or None, home=task.home.nodes, stuck=word.stuck)
