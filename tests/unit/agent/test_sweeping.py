"""When sweeps run: hints wake them, none is lost, and a watcher that fails takes nobody with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from node_agent.core.events import Event, Swept
from node_agent.core.facts import Hint, Sweep
from node_agent.core.rhythm import Rhythm, RhythmSettings
from node_agent.linux.sweep import boot_clock_s
from node_agent.runtime.sweeping import HINTS_MAX, Sweeping
from numaplace.model.job import Actor, ChangeSource
from tests.fakes.agent import FakeTasks, FakeWatcher, facts

WITHIN_S = 60.0
QUIET = RhythmSettings(watched_period_s=600.0, blind_period_s=600.0, structural_period_s=600.0)
"""Only hints make a sweep."""


class BootClock:
    """The real clock: waits are real, and short."""

    @staticmethod
    def now_s() -> float:
        """Seconds since boot."""
        return boot_clock_s()


class Bench:
    """A sweeping over fake tasks and watchers, and what it told."""

    def __init__(self, *watchers: FakeWatcher, settings: RhythmSettings = QUIET) -> None:
        self.tasks = FakeTasks(boot_clock_s, facts())
        self.rhythm = Rhythm(settings, watched=bool(watchers))
        self.told: asyncio.Queue[Event] = asyncio.Queue()
        self.sweeping = Sweeping(self.tasks, watchers, self.rhythm, BootClock(), self.told.put)

    async def swept(self) -> Swept:
        """The next sweep."""
        async with asyncio.timeout(WITHIN_S):
            event = await self.told.get()
        assert isinstance(event, Swept)
        return event

    async def swept_with(self, count: int) -> list[Hint]:
        """The hints of the next sweeps, until there are so many."""
        hints: list[Hint] = []
        while len(hints) < count:
            hints += (await self.swept()).hints
        return hints

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Bench"]:
        """Run it, past the first sweep."""
        running = asyncio.create_task(self.sweeping.run())
        try:
            await self.swept()
            yield self
            assert not running.done()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def hint(pid: int = 1, source: ChangeSource = ChangeSource.FANOTIFY) -> Hint:
    """Somebody changed something."""
    return Hint(source, Actor(pid, "taskset"), pid)


def test_the_first_sweep_is_structural_and_opens_the_gate() -> None:
    """Nothing is said to the scheduler before the host is known."""

    async def scenario() -> None:
        bench = Bench()
        assert not bench.sweeping.first_done.is_set()
        async with bench.running(), asyncio.timeout(WITHIN_S):
            await bench.sweeping.first_done.wait()
            assert bench.tasks.sweeps == [True]

    asyncio.run(scenario())


def test_a_hint_wakes_a_sweep_that_knows_it() -> None:
    """A watcher's descriptor turns readable, and the next sweep carries its hint to the core."""

    async def scenario() -> None:
        watcher = FakeWatcher()
        async with Bench(watcher).running() as bench:
            watcher.put(hint(7))
            assert (await bench.swept()).hints == (hint(7),)

    asyncio.run(scenario())


def test_a_hint_that_comes_while_a_sweep_runs_explains_what_it_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep may have seen the change already; and in case it has not, another one follows."""

    async def scenario() -> None:
        watcher = FakeWatcher()
        async with Bench(watcher).running() as bench:
            plain, late = bench.tasks.sweep, [hint(8)]

            def sweep(*, structural: bool) -> Sweep:
                if late:
                    watcher.put(late.pop())
                return plain(structural=structural)

            monkeypatch.setattr(bench.tasks, "sweep", sweep)
            watcher.put(hint(7))
            assert (await bench.swept()).hints == (hint(7), hint(8))
            assert (await bench.swept()).hints == ()

    asyncio.run(scenario())


def test_every_hint_reaches_a_sweep_once() -> None:
    """Also those that come while a sweep runs: none is lost, none is told twice."""

    async def scenario() -> None:
        watcher, other = FakeWatcher(), FakeWatcher(ChangeSource.TRACEFS)
        async with Bench(watcher, other).running() as bench:
            for n in range(100):
                (watcher if n % 2 else other).put(hint(n))
                await asyncio.sleep(0)
            hints = await bench.swept_with(100)
            assert sorted(each.pid or 0 for each in hints) == list(range(100))
            assert len(bench.tasks.sweeps) < 60

    asyncio.run(scenario())


def test_a_storm_of_hints_is_kept_in_bounds() -> None:
    """More hints than can explain anything are dropped, the oldest first; the sweep that they ask for is not."""

    async def scenario() -> None:
        watcher = FakeWatcher()
        async with Bench(watcher).running() as bench:
            watcher.put(*(hint(n) for n in range(3 * HINTS_MAX)))
            seen = (await bench.swept()).hints
            assert len(seen) == HINTS_MAX
            assert seen[-1] == hint(3 * HINTS_MAX - 1)

    asyncio.run(scenario())


def test_an_adoption_is_looked_at_now() -> None:
    """Who adopted a task sees it followed at once: a structural sweep, perhaps after a light one."""

    async def scenario() -> None:
        async with Bench().running() as bench:
            bench.sweeping.look_now()
            while bench.tasks.sweeps.count(True) == 1:
                await bench.swept()
            assert len(bench.tasks.sweeps) <= 4

    asyncio.run(scenario())


def test_a_watcher_that_fails_is_closed_and_missed_by_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    """Left open it would be readable for ever; the others go on, and without any the sweep comes more often."""

    async def scenario() -> None:
        broken, good = FakeWatcher(), FakeWatcher(ChangeSource.TRACEFS)
        async with Bench(broken, good).running() as bench:
            broken.fails = OSError(5, "Input/output error")
            broken.put(hint())
            await bench.swept()
            assert (broken.closed, good.closed) == (True, False)
            drains = broken.drains
            good.put(hint(9))
            assert await bench.swept_with(1) == [hint(9)]
            assert broken.drains == drains
            good.fails = OSError(5, "Input/output error")
            blind = RhythmSettings(blind_period_s=0.01)
            bench.rhythm._settings = blind
            good.put(hint())
            for _ in range(5):
                await bench.swept()

    asyncio.run(scenario())
    assert "Input/output error" in capsys.readouterr().out


def test_at_the_end_all_watchers_are_closed() -> None:
    """Marks and trace instances are the kernel's; they are given back."""

    async def scenario() -> FakeWatcher:
        watcher = FakeWatcher()
        async with Bench(watcher).running():
            pass
        return watcher

    assert asyncio.run(scenario()).closed


def test_a_sweep_that_fails_ends_the_agent() -> None:
    """Without the truth about the host there is nothing that an agent could do."""

    async def scenario() -> None:
        watcher = FakeWatcher()
        bench = Bench(watcher)
        bench.tasks.fails = PermissionError(13, "/proc")
        with pytest.raises(PermissionError):
            await bench.sweeping.run()
        assert watcher.closed

    asyncio.run(scenario())
