"""Lines of a tracefs `trace_pipe`, and the events in them that this project asks for.

The line format is kernel/trace/trace_output.c (trace_print_context): the command right-aligned in 16 bytes, a hyphen,
the thread id, the CPU, flags, the time in seconds, the event. A command may hold anything, so it is cut by columns,
not by its hyphen. Event texts differ by version: the system call events print hexadecimal with or without `0x`,
`group_dead` and `nr_split` came late; whatever follows the fields read here is passed over.

Commands, cgroup paths and file names inside an event are chosen by whoever is traced, and could imitate the fields
after them: an event is a hint where to look, never the truth. Only `actor_tid` comes from fixed columns.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from numaplace.kernel.errors import KernelFormatError
from numaplace.kernel.files import decode

COMM_BYTES = 16
"""How wide the command stands before the first hyphen that is ours."""
_CONTEXT = re.compile(
    rb"-([0-9]{1,10}) +(?:\([ 0-9-]+\) +)?\[([0-9]{3,5})\] [^ ]{4,8} +([0-9]{1,12})\.([0-9]{6,9}): (.*)", re.DOTALL
)
_LOST = re.compile(rb"CPU:[0-9]{1,5} \[LOST(?: ([0-9]{1,20}))? EVENTS\]")
_ATTACH = re.compile(
    rb"dst_root=([0-9]{1,9}) dst_id=[0-9]+ dst_level=[0-9]+ dst_path=(/.*) pid=([0-9]{1,10}) comm=.*", re.DOTALL
)
_AFFINITY_CALL = re.compile(rb"\(pid: (?:0x)?([0-9a-f]{1,16}), .*", re.DOTALL)
_AFFINITY_RETURN = re.compile(rb" -> (?:0x)?([0-9a-f]{1,16})")
_FORK = re.compile(rb"comm=.* pid=([0-9]{1,10}) child_comm=.* child_pid=([0-9]{1,10})(?: .*)?", re.DOTALL)
_EXEC = re.compile(rb"filename=(.*) pid=([0-9]{1,10}) old_pid=([0-9]{1,10})(?: .*)?", re.DOTALL)
_EXIT = re.compile(rb"comm=.* pid=([0-9]{1,10}) prio=-?[0-9]+(?: group_dead=(true|false))?(?: .*)?", re.DOTALL)
_PAIR = re.compile(rb"([a-z_]+)=([A-Za-z0-9_]+)")


@dataclass(frozen=True, slots=True)
class Context:
    """Who did it and when: the acting thread, its command then, and the instance's clock in ns."""

    actor_tid: int
    actor_comm: str
    cpu: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class CgroupAttached:
    """A thread (or the first of a process) was put into another cgroup of the hierarchy with this id (0 is v2)."""

    context: Context
    hierarchy: int
    path: str
    tid: int


@dataclass(frozen=True, slots=True)
class AffinityCalled:
    """A thread asks to pin another, or itself (`target_tid` is then its own)."""

    context: Context
    target_tid: int


@dataclass(frozen=True, slots=True)
class AffinityReturned:
    """What the last `AffinityCalled` of this actor came to: 0, or a negated errno."""

    context: Context
    result: int


@dataclass(frozen=True, slots=True)
class Forked:
    """A new process or thread."""

    context: Context
    parent_tid: int
    child_tid: int


@dataclass(frozen=True, slots=True)
class Executed:
    """A process runs another program; `old_tid` differs if another of its threads called."""

    context: Context
    pid: int
    old_tid: int
    file: str


@dataclass(frozen=True, slots=True)
class Exited:
    """A thread ended; `process_ended` says whether it was the last, None where the kernel does not tell."""

    context: Context
    tid: int
    process_ended: bool | None


@dataclass(frozen=True, slots=True)
class PagesMigrated:
    """One batch of a migration by the actor: base pages, then huge pages; and on whose behalf."""

    context: Context
    succeeded: int
    failed: int
    thp_succeeded: int
    thp_failed: int
    thp_split: int
    mode: str
    reason: str


TraceEvent: TypeAlias = CgroupAttached | AffinityCalled | AffinityReturned | Forked | Executed | Exited | PagesMigrated


def parse_lost(line: bytes) -> int | None:
    """Return how many events a line says were overwritten before they were read (1 if it does not say); else None."""
    match = _LOST.fullmatch(line)
    if match is None:
        return None
    return int(match[1]) if match[1] else 1


def parse_line(line: bytes) -> TraceEvent:
    """Parse one line of a trace_pipe, without its newline.

    Raises:
        KernelFormatError: it has another form, or is an event that is not known here.
    """
    match = _CONTEXT.fullmatch(line, COMM_BYTES)
    if match is None:
        raise _unexpected(line)
    tid, cpu, seconds, fraction, text = match.groups()
    time_ns = int(seconds) * 1_000_000_000 + int(fraction.ljust(9, b"0"))
    context = Context(int(tid), decode(line[:COMM_BYTES].lstrip(b" ")), int(cpu), time_ns)
    if text.startswith(b"sys_sched_setaffinity"):
        return _affinity(context, text.removeprefix(b"sys_sched_setaffinity"), line)
    name, colon, fields = text.partition(b": ")
    parser = _PARSERS.get(name)
    if parser is None or not colon:
        raise _unexpected(line)
    return parser(context, fields, line)


def _unexpected(line: bytes) -> KernelFormatError:
    return KernelFormatError("trace_pipe", decode(line))


def _matched(pattern: re.Pattern[bytes], fields: bytes, line: bytes) -> re.Match[bytes]:
    match = pattern.fullmatch(fields)
    if match is None:
        raise _unexpected(line)
    return match


def _signed(digits: bytes, bits: int) -> int:
    """Return a number that the kernel printed in hexadecimal, as two's complement of its lowest bits."""
    value = int(digits, 16) & ((1 << bits) - 1)
    return value - (1 << bits) if value >> (bits - 1) else value


def _affinity(context: Context, text: bytes, line: bytes) -> AffinityCalled | AffinityReturned:
    returned = _AFFINITY_RETURN.fullmatch(text)
    if returned is not None:
        return AffinityReturned(context, _signed(returned[1], 64))
    target = _signed(_matched(_AFFINITY_CALL, text, line)[1], 32)
    return AffinityCalled(context, target or context.actor_tid)


def _attached(context: Context, fields: bytes, line: bytes) -> CgroupAttached:
    match = _matched(_ATTACH, fields, line)
    return CgroupAttached(context, int(match[1]), decode(match[2]), int(match[3]))


def _forked(context: Context, fields: bytes, line: bytes) -> Forked:
    match = _matched(_FORK, fields, line)
    return Forked(context, int(match[1]), int(match[2]))


def _executed(context: Context, fields: bytes, line: bytes) -> Executed:
    match = _matched(_EXEC, fields, line)
    return Executed(context, int(match[2]), int(match[3]), decode(match[1]))


def _exited(context: Context, fields: bytes, line: bytes) -> Exited:
    match = _matched(_EXIT, fields, line)
    return Exited(context, int(match[1]), None if match[2] is None else match[2] == b"true")


def _migrated(context: Context, fields: bytes, line: bytes) -> PagesMigrated:
    values = dict(_pair(field, line) for field in fields.split(b" "))
    try:
        return PagesMigrated(
            context,
            succeeded=_decimal(values[b"nr_succeeded"], line),
            failed=_decimal(values[b"nr_failed"], line),
            thp_succeeded=_decimal(values[b"nr_thp_succeeded"], line),
            thp_failed=_decimal(values[b"nr_thp_failed"], line),
            thp_split=_decimal(values[b"nr_thp_split"], line),
            mode=decode(values[b"mode"]),
            reason=decode(values[b"reason"]),
        )
    except KeyError as error:
        raise _unexpected(line) from error


def _pair(field: bytes, line: bytes) -> tuple[bytes, bytes]:
    match = _matched(_PAIR, field, line)
    return match[1], match[2]


def _decimal(digits: bytes, line: bytes) -> int:
    if not digits.isdigit() or len(digits) > 20:  # noqa: PLR2004 - digits of a 64-bit number
        raise _unexpected(line)
    return int(digits)


_PARSERS: dict[bytes, Callable[[Context, bytes, bytes], TraceEvent]] = {
    b"cgroup_attach_task": _attached,
    b"sched_process_fork": _forked,
    b"sched_process_exec": _executed,
    b"sched_process_exit": _exited,
    b"mm_migrate_pages": _migrated,
}
