"""Which of the host's migrations were ours: the tracepoint migrate:mm_migrate_pages, by the threads that move.

/proc/vmstat counts AutoNUMA, kubelet, numad and us together. The tracepoint has the caller's thread with every count.
Where tracefs is missing or denied, moves are accounted without this part, and the account says None. If events were
lost, the counts are too low; then nothing is claimed either, for the moves under way.
"""

import re
import threading
from pathlib import Path
from typing import Protocol

from numaplace.kernel.errors import KernelCallError
from numaplace.kernel.files import read_text
from numaplace.kernel.trace_events import PagesMigrated
from numaplace.kernel.tracefs import MIGRATE_PAGES, TraceInstance
from numaplace.model.move import MigrationCounters

THREADS_KEPT_MAX = 4096
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


class TraceAttribution:
    """Counts by a trace instance of our own. Thread-safe."""

    def __init__(self) -> None:
        """Make the instance; raises KernelCallError where that is not possible."""
        self._instance = TraceInstance(purpose="moves")
        try:
            self._instance.enable(MIGRATE_PAGES, _by_system_call(self._instance.directory))
        except BaseException:
            self._instance.close()
            raise
        self._lock = threading.Lock()
        self._threads: dict[int, None] = {}
        self._sums = [0] * 5
        self._broken = False

    def enrol(self) -> None:
        """The calling thread's migrations are ours from now on."""
        with self._lock:
            self._threads[threading.get_native_id()] = None
            while len(self._threads) > THREADS_KEPT_MAX:
                del self._threads[next(iter(self._threads))]

    def ours(self) -> MigrationCounters | None:
        """All so far; None once events were lost."""
        with self._lock:
            self._read()
            return None if self._broken else MigrationCounters(*self._sums)

    def _read(self) -> None:
        for _ in range(READINGS_MAX):
            try:
                reading = self._instance.read()
            except KernelCallError:
                self._broken = True
                return
            self._broken |= reading.lost > 0
            for event in reading.events:
                if isinstance(event, PagesMigrated) and event.context.actor_tid in self._threads:
                    self._add(event)
            if not reading.events:
                return

    def _add(self, event: PagesMigrated) -> None:
        counts = (event.succeeded, event.failed, event.thp_succeeded, event.thp_failed, event.thp_split)
        self._sums = [a + b for a, b in zip(self._sums, counts, strict=True)]

    def close(self) -> None:
        """Remove the instance."""
        self._instance.close()


def _by_system_call(instance: Path) -> str | None:
    """The filter that lets only system calls' migrations in, by the number that this kernel prints as that reason.

    AutoNUMA makes an event for nearly every page: reading thousands of them would keep a move from its first page.
    """
    found = _REASON.search(read_text(instance / "events" / MIGRATE_PAGES / "format"))
    return f"reason == {found[1]}" if found is not None else None


def open_attribution() -> TraceAttribution | NoAttribution:
    """Count ours by tracefs if that can be had, else not at all."""
    try:
        return TraceAttribution()
    except KernelCallError:
        return NoAttribution()
