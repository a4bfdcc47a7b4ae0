"""When to look: watchers' descriptors wake the sweep, the rhythm says when it may run, a thread of its own runs it.

The sweep is the truth and its failure ends the agent. A watcher only makes it sooner: one that fails is closed, and
without any the rhythm looks more often.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from node_agent.core.events import Event, Swept
from node_agent.core.facts import Hint
from node_agent.core.rhythm import Rhythm, matters
from node_agent.ports import Clock, TaskSource, Watcher
from numaplace.model.job import ChangeSource
from numaplace.telemetry import events, keys

log = structlog.get_logger(__name__)

HINTS_MAX = 1024
"""Hints kept for one sweep: beyond them the oldest explain nothing any more."""


class Sweeping:
    """Runs sweeps until cancelled and tells the core of each."""

    def __init__(
        self, tasks: TaskSource, watchers: Sequence[Watcher], rhythm: Rhythm, clock: Clock,
        tell: Callable[[Event], Awaitable[None]], *, sees_everything: Callable[[Sequence[Watcher]], bool] = bool,
    ) -> None:  # fmt: skip
        """``sees_everything``: whether these watchers leave nothing to the sweep alone."""
        self._tasks = tasks
        self._watchers = list(watchers)
        self._rhythm = rhythm
        self._clock = clock
        self._tell = tell
        self._sees_everything = sees_everything
        self._followed: frozenset[int] = frozenset()
        self._hints: list[Hint] = []
        self._hinted = asyncio.Event()
        self._pool = ThreadPoolExecutor(1, "sweep")
        self.first_done = asyncio.Event()

    def look_now(self) -> None:
        """Ask for a structural sweep, for instance after an adoption."""
        self._take([Hint(ChangeSource.SWEEP, structural=True)])

    async def run(self) -> None:
        """Sweep when due."""
        try:
            for watcher in self._watchers:
                asyncio.get_running_loop().add_reader(watcher.fileno(), self._read, watcher)
            while True:
                await self._sweep_when_due()
        finally:
            for watcher in tuple(self._watchers):
                self._close(watcher)
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, watcher: Watcher) -> None:
        try:
            hints = watcher.drain()
        except Exception as error:  # left readable, it would call us without end
            words = {keys.SOURCE: watcher.source.value, keys.ERROR: repr(error)}
            log.exception(events.ABILITY_MISSING, **words)
            self._close(watcher)
            self._rhythm.watched(watched=self._sees_everything(self._watchers))
            hints = [Hint(watcher.source, structural=True)]
        self._take(hints)

    def _read_all(self) -> None:
        for watcher in tuple(self._watchers):
            self._read(watcher)

    def _close(self, watcher: Watcher) -> None:
        self._watchers.remove(watcher)
        asyncio.get_running_loop().remove_reader(watcher.fileno())
        watcher.close()

    def _take(self, hints: Sequence[Hint]) -> None:
        now_s = self._clock.now_s()
        self._hints = [*self._hints, *hints][-HINTS_MAX:]  # all of them: any may explain what a sweep finds
        worthy = [hint for hint in hints if matters(hint, self._followed)]
        for hint in worthy:
            self._rhythm.hinted(hint, now_s)
        if worthy:
            self._hinted.set()

    async def _sweep_when_due(self) -> None:
        due = self._rhythm.due()
        wait_s = due.at_s - self._clock.now_s()
        if wait_s > 0:
            self._hinted.clear()
            try:
                await asyncio.wait_for(self._hinted.wait(), wait_s)
            except TimeoutError:
                pass
            else:
                return  # the rhythm may want to look sooner now
        self._read_all()  # what came just now belongs to this sweep; and some only recover in a drain
        began_s = self._clock.now_s()
        call = asyncio.get_running_loop().run_in_executor(
            self._pool, lambda: self._tasks.sweep(structural=due.structural)
        )
        sweep = await call
        self._rhythm.swept(began_s, self._clock.now_s(), structural=due.structural)
        self._read_all()  # what came while it ran may explain what it found; the rhythm looks once more for it
        hints, self._hints = tuple(self._hints), []
        if due.structural or not self._followed:
            self._followed = frozenset(process.pid for task in sweep.tasks for process in task.processes)
        await self._tell(Swept(sweep, hints))
        self.first_done.set()
