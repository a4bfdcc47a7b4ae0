"""Which of the host's migrations were ours: the tracepoint migrate:mm_migrate_pages, by the threads that move.

/proc/vmstat counts AutoNUMA, kubelet, numad and us together. The tracepoint has the caller's thread with every count.
Where tracefs is missing or denied, moves are accounted without this part, and the account says None. If events were
lost, the counts are too low; then nothing is claimed either, for the moves under way and for no others.
"""

import re
import threading
from pathlib import Path
from typing import Protocol

from numaplace.kernel.errors import KernelCallError
from numaplace.kernel.files import read_text
from numaplace.kernel.trace_events import PagesMigrated
from numaplace.kernel.tracefs import MIGRATE_PAGES, TraceInstance, TraceReading
from numaplace.model.move import MigrationCounters

_REASON = re.compile(r'\{ *([0-9]{1,3}), *"syscall_or_cpuset" *\}')
READINGS_MAX = 64
"""So many buffers of trace text are read at once; more than a move leaves between two readings."""


class Attribution(Protocol):
    """Counts the migrations that this process's threads make."""

    def enrol(self) -> None:
        """The calling thread's migrations are ours from now on."""
        ...

    def ours(self) -> MigrationCounters | None:
        """All so far; None if it cannot be known."""
        ...


class NoAttribution:
    """Nothing is known."""

    def enrol(self) -> None:
        """Nobody asks."""

    def ours(self) -> MigrationCounters | None:
        """None."""
        return None


class Events(Protocol):
    """What is asked of a trace instance."""

    def read(self) -> TraceReading:
        """The events that wait, without blocking; raises KernelCallError."""
        ...

    def close(self) -> None:
        """Remove the instance."""
        ...


class TraceAttribution:
    """Counts by a trace instance of our own. Thread-safe.

    A thread is ours from its enrolment to its end. Each remembers how often something had been lost when it enrolled:
    if it was more often since, the thread's move is the one whose counts cannot be known, and the next one's can.
    """

    def __init__(self, events: Events) -> None:
        """Take over an instance in which the migrations of system calls, and nothing else, are enabled."""
        self._events = events
        self._lock = threading.Lock()
        self._threads: dict[int, int] = {}
        self._sums = [0] * 5
        self._losses = 0

    def enrol(self) -> None:
        """The calling thread's migrations are ours from now on."""
        with self._lock:
            self._read()  # what was lost before is no loss to a move that begins now
            self._threads[threading.get_native_id()] = self._losses

    def ours(self) -> MigrationCounters | None:
        """All so far; None if some were lost since the calling thread enrolled."""
        with self._lock:
            self._read()
            lost = self._losses > self._threads.get(threading.get_native_id(), self._losses)
            return None if lost else MigrationCounters(*self._sums)

    def _read(self) -> None:
        # Asked before reading: what a thread that has ended did is in the buffer by then.
        alive = {thread.native_id for thread in threading.enumerate()}
        if not self._drain():
            self._losses += 1
        for tid in self._threads.keys() - alive:
            del self._threads[tid]

    def _drain(self) -> bool:
        """Add up what waits; returns whether that was all that there was."""
        whole = True
        for _ in range(READINGS_MAX):
            try:
                reading = self._events.read()
            except KernelCallError:
                return False
            whole = whole and not (reading.lost or reading.unreadable)
            for event in reading.events:
                if isinstance(event, PagesMigrated) and event.context.actor_tid in self._threads:
                    self._add(event)
            if not reading.events:
                return whole
        return False

    def _add(self, event: PagesMigrated) -> None:
        counts = (event.succeeded, event.failed, event.thp_succeeded, event.thp_failed, event.thp_split)
        self._sums = [a + b for a, b in zip(self._sums, counts, strict=True)]

    def close(self) -> None:
        """Remove the instance."""
        self._events.close()


def _by_system_call(instance: Path) -> str | None:
    """The filter that lets only system calls' migrations in, by the number that this kernel prints as that reason.

    AutoNUMA makes an event for nearly every page: reading thousands of them would keep a move from its first page.
    """
    found = _REASON.search(read_text(instance / "events" / MIGRATE_PAGES / "format"))
    return f"reason == {found[1]}" if found is not None else None


def open_attribution() -> TraceAttribution | NoAttribution:
    """Count ours by tracefs if that can be had, else not at all."""
    try:
        instance = TraceInstance(purpose="moves")
    except KernelCallError:
        return NoAttribution()
    try:
        instance.enable(MIGRATE_PAGES, _by_system_call(instance.directory))
    except KernelCallError:
        instance.close()
        return NoAttribution()
    except BaseException:
        instance.close()
        raise
    return TraceAttribution(instance)
