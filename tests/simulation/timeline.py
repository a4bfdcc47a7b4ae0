"""Virtual time: calls in the order of their times, those of one time in the order in which they were asked for."""

import heapq
from collections.abc import Callable

STEPS_MAX = 300_000
"""A run that needs more is a livelock."""


class LivelockError(AssertionError):
    """The machines keep each other busy for ever."""


class Life:
    """A process: what it has asked for happens only while it is alive."""

    __slots__ = ("alive",)

    def __init__(self) -> None:
        self.alive = True


class Timeline:
    """The one clock of a run, and what is to happen on it. Seconds from the run's begin."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.steps = 0
        self._heap: list[tuple[float, int, Callable[[], None], Life | None]] = []
        self._count = 0

    def at(self, at_s: float, call: Callable[[], None], life: Life | None = None) -> None:
        """Call at this time, unless the life has ended by then."""
        self._count += 1
        heapq.heappush(self._heap, (at_s, self._count, call, life))

    def after(self, delay_s: float, call: Callable[[], None], life: Life | None = None) -> None:
        """Call after this time, unless the life has ended by then."""
        self.at(self.now_s + delay_s, call, life)

    def run_until(self, end_s: float) -> None:
        """Let time pass. Raises LivelockError if too much happens in it."""
        heap = self._heap
        while heap and heap[0][0] <= end_s:
            at_s, _, call, life = heapq.heappop(heap)
            if life is not None and not life.alive:
                continue
            self.now_s = max(self.now_s, at_s)
            self.steps += 1
            if self.steps > STEPS_MAX:
                raise LivelockError(f"more than {STEPS_MAX} steps by {self.now_s:.3f} s")
            call()
        self.now_s = end_s
