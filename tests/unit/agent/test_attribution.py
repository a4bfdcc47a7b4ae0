"""Which migrations are counted as ours, and what is claimed when events were lost."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import pytest

from node_agent.linux.attribution import READINGS_MAX, TraceAttribution
from numaplace.kernel.errors import KernelCallError
from numaplace.kernel.trace_events import Context, PagesMigrated
from numaplace.kernel.tracefs import TraceReading
from numaplace.model.move import MigrationCounters

T = TypeVar("T")


class FakeEvents:
    """Readings as a test puts them; then none."""

    def __init__(self) -> None:
        self.waiting: deque[TraceReading | KernelCallError] = deque()

    def migrated(self, tid: int, pages: int = 1) -> None:
        """A thread migrates."""
        self.waiting.append(TraceReading((PagesMigrated(Context(tid, "x", 0, 0), pages, 0, 0, 0, 0, "", ""),)))

    def read(self) -> TraceReading:
        """What waits, or a fault."""
        reading = self.waiting.popleft() if self.waiting else TraceReading(())
        if isinstance(reading, KernelCallError):
            raise reading
        return reading

    def close(self) -> None:
        """Nothing is open."""


@contextmanager
def threads(count: int) -> Iterator[list[Callable[[Callable[[], T]], T]]]:
    """So many threads; each does at once what it is given."""
    pools = [ThreadPoolExecutor(1) for _ in range(count)]
    try:
        yield [lambda work, pool=pool: pool.submit(work).result() for pool in pools]  # type: ignore[misc] # bound now
    finally:
        for pool in pools:
            pool.shutdown()


@pytest.fixture
def events() -> FakeEvents:
    """Nothing has happened."""
    return FakeEvents()


def me() -> int:
    """The calling thread as the kernel knows it."""
    return threading.get_native_id()


def test_only_enrolled_threads_are_ours(events: FakeEvents) -> None:
    """What others migrate is theirs, also what they did before they became ours."""
    ours = TraceAttribution(events)
    events.migrated(me(), 3)
    ours.enrol()
    events.migrated(me(), 5)
    events.migrated(me() + 1, 7)
    assert ours.ours() == MigrationCounters(5)


LOST = [
    TraceReading((), lost=1),
    TraceReading((), unreadable=1),
    KernelCallError("reading trace_pipe", 5),
]


@pytest.mark.parametrize("loss", LOST, ids=["lost", "unreadable", "broken"])
def test_a_loss_makes_only_the_moves_under_way_unknown(
    events: FakeEvents, loss: TraceReading | KernelCallError
) -> None:
    """The counts of whoever begins later are whole, whether or not the loss was seen by then."""
    ours = TraceAttribution(events)
    with threads(3) as (first, second, third):
        first(ours.enrol)
        second(ours.enrol)
        events.waiting.append(loss)
        third(ours.enrol)
        assert first(ours.ours) is None
        assert second(ours.ours) is None
        assert third(ours.ours) == MigrationCounters()
        first(ours.enrol)
        events.migrated(first(me), 2)
        assert first(ours.ours) == MigrationCounters(2)
        assert second(ours.ours) is None


def test_more_than_can_be_read_at_once_is_not_known(events: FakeEvents) -> None:
    """Counts that are still in the buffer are missing: nothing is claimed, and the next move is counted whole."""
    ours = TraceAttribution(events)
    ours.enrol()
    for _ in range(READINGS_MAX + 5):
        events.migrated(me())
    assert ours.ours() is None
    ours.enrol()
    before = ours.ours()
    assert before == MigrationCounters(READINGS_MAX + 5)


def test_a_thread_that_ended_is_ours_no_more(events: FakeEvents) -> None:
    """What it did is counted to the end; the kernel may then give its number to anybody."""
    ours = TraceAttribution(events)
    ours.enrol()
    with threads(1) as (worker,):
        worker(ours.enrol)
        tid = worker(me)
        events.migrated(tid, 4)
    events.migrated(tid, 2)
    assert ours.ours() == MigrationCounters(6)
    events.migrated(tid, 100)
    assert ours.ours() == MigrationCounters(6)
    assert list(ours._threads) == [me()]
