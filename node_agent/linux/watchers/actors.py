"""Who did it: from the ids that events carry to processes and their commands, a bounded number per reading.

An event may name a thread; hints speak of processes. Whoever it was may be gone by now, or its id reused in the moment
since: a wrong name in an explanation is possible, and harms nothing else.
"""

from numaplace.kernel.errors import KernelCallError, KernelFormatError
from numaplace.kernel.status import read_command, read_status
from numaplace.model.job import Actor

LOOKUPS_MAX = 128
"""More different ids in one reading are a storm, in which nobody asks who it was."""


class Lookups:
    """Answers for one reading; each id is looked up once."""

    def __init__(self) -> None:
        self._processes: dict[int, int] = {}
        self._commands: dict[int, str] = {}

    def process_of(self, tid: int) -> int:
        """The process of a thread; the thread's own id if it is gone, or if too many were asked for."""
        if tid not in self._processes:
            if len(self._processes) >= LOOKUPS_MAX:
                return tid
            self._processes[tid] = _process_of(tid)
        return self._processes[tid]

    def actor(self, pid: int, command: str = "") -> Actor | None:
        """A process with its command, where the caller does not know it; None for the pid 0: out of sight."""
        if pid <= 0:
            return None
        if command:
            return Actor(pid, command)
        if pid not in self._commands:
            if len(self._commands) >= LOOKUPS_MAX:
                return Actor(pid)
            self._commands[pid] = _command_of(pid)
        return Actor(pid, self._commands[pid])


def _process_of(tid: int) -> int:
    try:
        return read_status(tid).thread_group
    except (KernelCallError, KernelFormatError):
        return tid


def _command_of(pid: int) -> str:
    try:
        return read_command(pid)
    except KernelCallError:
        return ""
