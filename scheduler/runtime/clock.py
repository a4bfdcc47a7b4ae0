"""The clock of the running service."""

import time


class SystemClock:
    """The monotonic clock, tied to the wall clock at its making.

    A step of the wall clock during the run shifts none of our times against each other.
    """

    def __init__(self) -> None:
        self._wall_minus_monotonic_s = time.time() - time.monotonic()

    def now_s(self) -> float:
        """Seconds on the monotonic clock, which is also the event loop's."""
        return time.monotonic()

    def wall_s(self, at_s: float) -> float:
        """The Unix time at a time of the monotonic clock."""
        return at_s + self._wall_minus_monotonic_s

    def at_s(self, wall_s: float) -> float:
        """The time of the monotonic clock at a Unix time."""
        return wall_s - self._wall_minus_monotonic_s
