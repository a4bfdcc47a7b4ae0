"""Pages that a move proved to be held in place: asked once, remembered, not asked again for a while.

The kernel tries such a page ten times with an unmap each, seconds for a large registration, and the job feels each. A
page is remembered with its frame: a held page keeps its frame, so another frame at the address is another page. After
`FORGET_S` they are asked again, since registrations end without a sign. Bounded, oldest process first.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from node_agent.core.batches import known
from node_agent.core.facts import ProcessRef
from node_agent.core.pages import Addresses, Frames, Mask, Pages
from numaplace.model.move import LeftReason

FORGET_S = 600.0
PAGES_MAX = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class _Pins:
    since_s: float
    addresses: Addresses
    frames: Frames
    size_bytes: int


class StuckPages:
    """What is remembered, by process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pins: dict[ProcessRef, _Pins] = {}
        self._left: dict[frozenset[ProcessRef], tuple[float, dict[LeftReason, int]]] = {}

    def remember(self, process: ProcessRef, pages: Pages, now_s: float) -> None:
        """These pages of the process were refused."""
        if not len(pages):
            return
        with self._lock:
            old = self._pins.pop(process, None)
            addresses, frames, size = pages.addresses, pages.frames, pages.bytes
            if old is not None:
                fresh = ~np.isin(old.addresses, addresses)
                addresses = np.concatenate([old.addresses[fresh], addresses])
                frames = np.concatenate([old.frames[fresh], frames])
                size += old.size_bytes * int(fresh.sum()) // len(fresh)
            order = np.argsort(addresses)
            since = now_s if old is None else old.since_s
            self._pins[process] = _Pins(since, addresses[order], frames[order], size)
            while sum(len(p.addresses) for p in self._pins.values()) > PAGES_MAX and len(self._pins) > 1:
                del self._pins[next(iter(self._pins))]

    def among(self, process: ProcessRef, pages: Pages, now_s: float) -> Mask:
        """Which of these pages are remembered as held."""
        with self._lock:
            pins = self._pins.get(process)
            if pins is None or now_s - pins.since_s > FORGET_S:
                self._pins.pop(process, None)
                return np.zeros(len(pages), np.bool_)
        found = known(pages.addresses, pins.addresses)
        if found.any():
            at = np.searchsorted(pins.addresses, pages.addresses[found])
            found[found] = pins.frames[at] == pages.frames[found]
        return found

    def settle(self, processes: Iterable[ProcessRef], left: Mapping[LeftReason, int], now_s: float) -> None:
        """A move of these processes ended with this left for lasting reasons."""
        key = frozenset(processes)
        with self._lock:
            self._left.pop(key, None)
            if left:
                self._left[key] = now_s, dict(left)
            while len(self._left) > PAGES_MAX >> 8:
                del self._left[next(iter(self._left))]

    def left(self, processes: Iterable[ProcessRef], now_s: float) -> dict[LeftReason, int]:
        """What the last move of a task with these processes left for lasting reasons, while that is worth knowing.

        Were it kept for good, nobody would order the move that asks again.
        """
        wanted = frozenset(processes)
        with self._lock:
            found = self._left.get(wanted)
            if found is None:
                found = next((entry for key, entry in self._left.items() if key & wanted), (now_s, {}))
            since_s, left = found
            return dict(left) if now_s - since_s <= FORGET_S else {}

    def knows(self, processes: Iterable[ProcessRef]) -> bool:
        """Whether any page of these processes is remembered."""
        with self._lock:
            return any(process in self._pins for process in processes)
