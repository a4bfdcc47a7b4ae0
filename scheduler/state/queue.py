"""Who waits for a place under the limits: by host, the most worthwhile first.

When a move ends, only as many are judged anew as may take the free places: thousands may be waiting, and judging all
of them at each end would be what the scheduler does all day. Everyone is judged again after a while all the same.
"""

import heapq
from collections.abc import Iterator, Mapping

from numaplace.model.ids import HostId
from scheduler.planning.records import TaskKey

SHORTLIST = 4
"""So many are judged for each free place: some may have become less worthwhile since."""
ASK_AGAIN_S = 10.0
APART_S = 0.002
"""Those who wait are asked again one after the other, not all at once."""


class WaitingQueue:
    """Tasks that only the limits hold back, with what they would gain."""

    def __init__(self) -> None:
        self._by_host: dict[HostId, dict[TaskKey, float]] = {}
        self._length = 0

    def put(self, key: TaskKey, gain_per_s: float) -> None:
        """A task waits."""
        waiting = self._by_host.setdefault(key.host, {})
        self._length += key not in waiting
        waiting[key] = gain_per_s

    def drop(self, key: TaskKey) -> None:
        """A task waits no more."""
        waiting = self._by_host.get(key.host, {})
        if waiting.pop(key, None) is not None:
            self._length -= 1
            if not waiting:
                del self._by_host[key.host]

    def hosts(self) -> tuple[HostId, ...]:
        """The hosts where somebody waits."""
        return tuple(self._by_host)

    def shortlist(self, places: Mapping[HostId, int]) -> Iterator[TaskKey]:
        """Whom to judge for so many free places on each host, the most worthwhile of each."""
        for host, free in places.items():
            waiting = self._by_host.get(host, {})
            yield from heapq.nlargest(SHORTLIST * free, waiting, key=lambda key: (waiting[key], key))

    def ask_again_s(self, now_s: float) -> float:
        """When to judge a task again that waits from now on, whatever happens."""
        return now_s + ASK_AGAIN_S + APART_S * self._length
