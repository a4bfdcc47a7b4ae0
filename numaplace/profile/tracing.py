"""A trace that is read until the time is over: how long to wait, when to stop, and what Ctrl-C means."""

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Self

from numaplace.kernel.cgroups import read_mounts
from numaplace.kernel.errors import ProcessGone
from numaplace.kernel.tracefs import TraceInstance, find_tracefs, remove_stale_instances
from numaplace.profile.method import Usage

_BUFFERS_BYTES: Final = 64 << 20
_KB_PER_CPU_MIN, _KB_PER_CPU_MAX = 128, 8192
_WAIT_S: Final = 0.1
_READS_MAX: Final = 64


def missing_event(event: str) -> str | None:
    """What this host lacks to trace an event; None if nothing."""
    tracefs = find_tracefs(read_mounts())
    if tracefs is None:
        return "tracefs is not mounted: mount -t tracefs nodev /sys/kernel/tracing"
    try:
        if (tracefs / "events").is_dir() and not (tracefs / "events" / event).is_dir():
            return f"this kernel has no tracepoint {event.replace('/', ':')}"
        (tracefs / "instances").stat()
    except PermissionError:
        return "tracefs is for root only: run as root"
    return None


@contextmanager
def instance(cpus: int) -> Iterator[TraceInstance]:
    """A trace instance whose buffers, on all CPUs together, take a bounded part of the host's memory.

    Raises:
        KernelCallError: see TraceInstance.
    """
    tracefs = find_tracefs(read_mounts())
    if tracefs is not None:
        remove_stale_instances(tracefs)
    share_kb = (_BUFFERS_BYTES >> 10) // max(1, cpus)
    size_kb = min(_KB_PER_CPU_MAX, max(_KB_PER_CPU_MIN, share_kb))
    with TraceInstance(tracefs, buffer_kb_per_cpu=size_kb, purpose="profile") as made:
        yield made


class Watch:
    """The time of one run: begins when it is made, over after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._began_s = time.monotonic()
        self._seconds = seconds

    @property
    def now_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began_s

    def turns(self) -> Iterator[Self]:
        """Itself, again and again until its time is over."""
        while self.now_s < self._seconds:
            yield self

    def sleep(self, seconds: float) -> None:
        """Sleep so long, or until the time is over."""
        time.sleep(max(0.0, min(seconds, self._seconds - self.now_s)))

    @property
    def part(self) -> float:
        """How much of it is over, 0 to 1."""
        return min(1.0, self.now_s / self._seconds) if self._seconds > 0 else 1.0


def drain(trace: TraceInstance, take: Callable[[list[bytes]], None]) -> bool:
    """Hand over what waits in the buffers, at most some readings of it; whether that was all."""
    for _ in range(_READS_MAX):
        lines = trace.read_lines()
        if not lines:
            return True
        take(lines)
    return False


def wait(trace: TraceInstance) -> None:
    """Wait until events wait, but not long."""
    select.select([trace], [], [], _WAIT_S)


@contextmanager
def ending_early(usage: Usage, pid: int) -> Iterator[None]:
    """A block that Ctrl-C or the process's end may leave early: what was seen until then counts."""
    try:
        yield
    except KeyboardInterrupt:
        usage.ended_early = "interrupted"
    except ProcessGone:
        usage.ended_early = f"process {pid} has ended"
