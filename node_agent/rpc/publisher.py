"""What happens to tasks, handed to whoever watches: everybody hears of their own, and nobody holds the agent up."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from node_agent.core.events import Publish
from node_agent.rpc.peers import may_see
from numaplace.model.views import LocalEvent

WATCHERS_OF_UID_MAX = 16
"""Streams of one user; peers.py bounds the users, so that nobody can keep others from watching."""
EVENTS_MAX = 1024


@dataclass(frozen=True, slots=True)
class _Watcher:
    uid: int
    queue: asyncio.Queue[LocalEvent]


class Publisher:
    """Hands every change, order, progress and outcome to those who may see it; a watcher too slow loses some."""

    def __init__(self) -> None:
        self._watchers: dict[int, _Watcher] = {}

    def publish(self, told: Publish) -> None:
        """Tell all watchers who may know."""
        for watcher in self._watchers.values():
            if may_see(watcher.uid, told.uid) and not watcher.queue.full():
                watcher.queue.put_nowait(told.what)

    @contextmanager
    def watch(self, uid: int) -> Iterator[asyncio.Queue[LocalEvent]]:
        """A queue of everything from now on. Raises OverflowError if too many of this user watch already."""
        if self.watching(uid) >= WATCHERS_OF_UID_MAX:
            raise OverflowError(f"{WATCHERS_OF_UID_MAX} watchers of one user are the limit")
        watcher = _Watcher(uid, asyncio.Queue(EVENTS_MAX))
        self._watchers[id(watcher)] = watcher
        try:
            yield watcher.queue
        finally:
            del self._watchers[id(watcher)]

    def watching(self, uid: int) -> int:
        """How many of this user watch."""
        return sum(watcher.uid == uid for watcher in self._watchers.values())
