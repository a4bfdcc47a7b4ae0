"""Processes and threads as /proc lists them: identity, stat, run delay.

A pid is not an identity: it is reused. `ProcessId` is pid and start time together, read from one file in one read.
The sweep reads these files for thousands of threads, so the parsers cut the bytes where the format allows it and
build nothing that is not asked for. Formats: proc_pid_stat(5), proc_pid_schedstat(5).

Threads: a `name` such as `task/TID/stat` is read through the functions that take `tid`.
"""

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from numaplace.kernel.errors import KernelFormatError, ProcessGone
from numaplace.kernel.files import HOST, decode, parse_int, process_error, read_process

_PF_KTHREAD = 0x0020_0000  # include/linux/sched.h: the task is a kernel thread
_STATES = frozenset("RSDTtZXxKWPI")  # fs/proc/array.c, and letters of older kernels
_DEAD_STATES = frozenset("ZXx")

# Positions after the comm's closing parenthesis; proc_pid_stat(5) numbers them from 3.
_STATE, _PPID, _FLAGS, _UTIME, _STIME, _THREADS, _START, _RSS = 0, 1, 6, 11, 12, 17, 19, 21
_FIELDS_MIN = 22
_DIGITS_MAX = 20  # of a 64-bit number


@dataclass(frozen=True, slots=True, order=True)
class ProcessId:
    """The identity of a process: its pid and its start, in clock ticks since boot."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """What `/proc/PID/stat` says of a process or thread; times in clock ticks, `rss_pages` in base pages."""

    pid: int
    comm: str
    state: str
    parent_pid: int
    flags: int
    user_ticks: int
    system_ticks: int
    threads: int
    start_ticks: int
    rss_pages: int

    @property
    def identity(self) -> ProcessId:
        """Pid and start time."""
        return ProcessId(self.pid, self.start_ticks)

    @property
    def is_kernel_thread(self) -> bool:
        """Whether it is a thread of the kernel: it has no memory of its own, and is never moved."""
        return bool(self.flags & _PF_KTHREAD)

    @property
    def is_dead(self) -> bool:
        """Whether it has exited and only waits to be reaped."""
        return self.state in _DEAD_STATES


@dataclass(frozen=True, slots=True)
class SchedStat:
    """How long a thread ran, and how long it waited for a CPU while it could have run, in ns; and how often it ran."""

    run_ns: int
    delay_ns: int
    slices: int


def parse_stat(data: bytes, source: str = "stat") -> ProcessStat:
    """Parse the content of `/proc/PID/stat`.

    The comm may hold blanks, parentheses and newlines, and ends at the *last* closing parenthesis.

    Raises:
        KernelFormatError: it has another form.
    """
    head, fields = _cut_stat(data, source)
    pid, opening, comm = head.partition(b" (")
    state = decode(fields[_STATE])
    if not opening or state not in _STATES:
        raise KernelFormatError(source, decode(data))
    wanted = (pid, *(fields[i] for i in (_PPID, _FLAGS, _UTIME, _STIME, _THREADS, _START, _RSS)))
    number, parent, flags, user, system, threads, start, rss = (_int(field, data, source) for field in wanted)
    return ProcessStat(number, decode(comm), state, parent, flags, user, system, threads, start, rss)


def _cut_stat(data: bytes, source: str) -> tuple[bytes, list[bytes]]:
    head, closing, tail = data.rpartition(b") ")
    fields = tail.split()
    if not closing or len(fields) < _FIELDS_MIN or not data.endswith(b"\n"):
        raise KernelFormatError(source, decode(data))
    return head, fields


def _int(field: bytes, data: bytes, source: str) -> int:
    if not field.removeprefix(b"-").isdigit() or len(field) > _DIGITS_MAX:
        raise KernelFormatError(source, decode(data))
    return int(field)


def read_stat(pid: int, root: Path = HOST, tid: int | None = None) -> ProcessStat:
    """Read `/proc/PID/stat`, or that of one thread.

    Raises:
        ProcessGone: it does not exist (any more).
        KernelFormatError: see `parse_stat`.
    """
    name = _in_task("stat", tid)
    return parse_stat(_filled(read_process(root, pid, name), pid, name), f"/proc/{pid}/{name}")


def read_identity(pid: int, root: Path = HOST, tid: int | None = None) -> ProcessId:
    """Read who has a pid now; the leanest way to ask whether it still is the same process.

    Raises:
        ProcessGone: nobody has it.
        KernelFormatError: see `parse_stat`.
    """
    name = _in_task("stat", tid)
    data = _filled(read_process(root, pid, name), pid, name)
    fields = _cut_stat(data, name)[1]
    return ProcessId(pid if tid is None else tid, _int(fields[_START], data, name))


def is_alive(identity: ProcessId, root: Path = HOST) -> bool:
    """Whether the process of this identity still exists and has not exited (a zombie has)."""
    try:
        stat = read_stat(identity.pid, root)
    except ProcessGone:
        return False
    return stat.identity == identity and not stat.is_dead


def parse_schedstat(data: bytes, source: str = "schedstat") -> SchedStat:
    """Parse the content of `/proc/PID/schedstat`; raises KernelFormatError."""
    fields = data.split()
    if len(fields) != 3 or not data.endswith(b"\n"):  # noqa: PLR2004 - run, delay, slices
        raise KernelFormatError(source, decode(data))
    run, delay, slices = (_int(field, data, source) for field in fields)
    return SchedStat(run, delay, slices)


def read_schedstat(pid: int, root: Path = HOST, tid: int | None = None) -> SchedStat:
    """Read run time and run delay of a process's first thread, or of one thread.

    Raises:
        ProcessGone: it does not exist (any more).
        Unsupported: the kernel keeps no such account (CONFIG_SCHED_INFO).
        KernelFormatError: see `parse_schedstat`.
    """
    name = _in_task("schedstat", tid)
    return parse_schedstat(_filled(read_process(root, pid, name), pid, name), f"/proc/{pid}/{name}")


def list_pids(root: Path = HOST) -> list[int]:
    """Return the pids of all processes, ascending, kernel threads included."""
    names = os.listdir(f"{root}/proc")  # noqa: PTH208 - no Path objects in the sweep
    return sorted(int(name) for name in names if name.isdigit())


def list_tids(pid: int, root: Path = HOST) -> list[int]:
    """Return the thread ids of a process, ascending.

    Raises:
        ProcessGone: it does not exist (any more); so does a process whose last thread exits during the listing.
    """
    try:
        names = os.listdir(f"{root}/proc/{pid}/task")  # noqa: PTH208 - no Path objects in the sweep
    except OSError as error:
        raise process_error(root, pid, "task", error) from error
    return sorted(parse_int(name, f"/proc/{pid}/task") for name in names)


def read_children(pid: int, root: Path = HOST) -> list[int]:
    """Return the pids of a process's living children, ascending; those that start or end meanwhile may be missing.

    Raises:
        ProcessGone: it does not exist (any more).
        Unsupported: the kernel was built without such lists (CONFIG_PROC_CHILDREN).
    """
    children: list[int] = []
    for tid in list_tids(pid, root):
        name = f"task/{tid}/children"
        with suppress(ProcessGone):  # that thread has ended; its children are another's by now
            children += (_int(field, field, name) for field in read_process(root, pid, name).split())
    return sorted(children)


def read_owner(pid: int, root: Path = HOST) -> int:
    """Return the effective uid of a process; raises ProcessGone."""
    try:
        return os.stat(f"{root}/proc/{pid}").st_uid  # noqa: PTH116 - no Path objects in the sweep
    except OSError as error:
        raise ProcessGone("reading its owner", errno.ESRCH, pid) from error


def _in_task(name: str, tid: int | None) -> str:
    return name if tid is None else f"task/{tid}/{name}"


def _filled(data: bytes, pid: int, name: str) -> bytes:
    """Return the content, unless it is empty: that is how some files say that the process has just gone."""
    if not data:
        raise ProcessGone(f"reading {name}", errno.ESRCH, pid)
    return data
