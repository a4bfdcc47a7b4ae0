"""The shell on real threads: instructions in order, exact wake-ups, failures that stay small, and a truthful end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from node_agent.core.agent import AgentCore
from node_agent.core.events import AbilitiesKnown, Do, Event, Publish, SessionOpened, Swept, Told, WakeAt, Woke
from node_agent.core.facts import Measured, Remembered, Sweep
from node_agent.linux.journal import JournalError
from node_agent.linux.sweep import boot_clock_s
from node_agent.runtime import shell as shell_module
from node_agent.runtime.shell import Outlets, Shell
from numaplace.model.ids import MoveId, NodeId
from numaplace.model.job import HomeChange
from numaplace.model.move import MoveOrder, MoveOutcome, MoveProgress, MoveState
from numaplace.model.residency import Residency
from numaplace.model.session import (
    Abilities,
    CancelMove,
    HostLoad,
    MoveAccepted,
    Report,
    ResidencyMeasured,
    Snapshot,
)
from numaplace.model.views import LocalEvent
from tests.fakes.agent import GIB, HOST, FakeJournal, FakeMover, T, facts, order

WITHIN_S = 10.0


class BootClock:
    """The real clock: waits are real, and short."""

    @staticmethod
    def now_s() -> float:
        """Seconds since boot."""
        return boot_clock_s()


class Bench:
    """A shell around a real core, over a fake mover and journal; what it says can be waited for."""

    def __init__(self, journal: FakeJournal | None = None, core: AgentCore | None = None) -> None:
        self.journal = journal or FakeJournal()
        self.mover = FakeMover()
        self.core = core or AgentCore("me", self.journal.remember("boot-1"))
        self.reports: list[Report] = []
        self.published: list[LocalEvent] = []
        self._said = asyncio.Condition()
        self._tellers: set[asyncio.Task[None]] = set()
        self.shell = Shell(self.core, self.mover, self.journal, BootClock(), Outlets(self._send, self._publish))

    def _publish(self, told: Publish) -> None:
        self.published.append(told.what)

    def _send(self, report: Report) -> None:
        self.reports.append(report)
        teller = asyncio.get_running_loop().create_task(self._tell())
        self._tellers.add(teller)
        teller.add_done_callback(self._tellers.discard)

    async def _tell(self) -> None:
        async with self._said:
            self._said.notify_all()

    async def said(self, holds: Callable[[Report], bool]) -> Report:
        """The first report that fulfils this, waited for."""
        async with asyncio.timeout(WITHIN_S), self._said:
            await self._said.wait_for(lambda: any(map(holds, self.reports)))
        return next(filter(holds, self.reports))

    async def ended(self, move: str) -> MoveOutcome:
        """How a move ended, waited for."""
        report = await self.said(lambda r: isinstance(r, MoveOutcome) and r.move == move)
        assert isinstance(report, MoveOutcome)
        return report

    async def moving(self, move: str) -> None:
        """Wait until a mover works on it."""
        async with asyncio.timeout(WITHIN_S):
            while MoveId(move) not in self.mover.controls:  # noqa: ASYNC110 - a thread sets it
                await asyncio.sleep(0.001)

    async def sweep(self, home: int = 1) -> None:
        """The host shows its one task there."""
        await self.shell.put(Swept(Sweep(boot_clock_s(), HOST, (facts(home=home),))))

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Bench"]:
        """In a session, with a task on node 1."""
        running = asyncio.create_task(self.shell.run(Abilities()))
        await self.sweep()
        await self.shell.put(SessionOpened())
        try:
            await self.said(lambda report: isinstance(report, Snapshot))
            yield self
            assert not running.done(), "the shell gave up"
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def fails(self) -> BaseExceptionGroup[BaseException]:
        """What ends it, when it has a task on node 1 and is told to move it."""
        await self.sweep()
        await self.shell.put(Told(order("m")))
        with pytest.raises(BaseExceptionGroup) as caught:
            async with asyncio.timeout(WITHIN_S):
                await self.shell.run(Abilities())
        return caught.value


def test_an_order_is_carried_out_on_a_thread_and_its_end_reported() -> None:
    """Accepted, moved, ended: in the journal and to the scheduler, and local watchers see it."""

    async def scenario() -> None:
        async with Bench().running() as bench:
            await bench.shell.put(Told(order("m")))
            await bench.moving("m")
            assert list(bench.journal.open) == ["m"]
            progress = MoveProgress(MoveId("m"), 1, 2, 3.0, Residency())
            bench.mover.controls[MoveId("m")].report(progress)
            await bench.said(lambda report: report == progress)
            bench.mover.finish("m")
            assert (await bench.ended("m")).state is MoveState.COMPLETED
            assert bench.journal.open == {}
            assert [type(what) for what in bench.published] == [MoveOrder, MoveProgress, MoveOutcome]
            assert bench.shell._controls == {}

    asyncio.run(scenario())


def test_a_cancel_reaches_the_mover() -> None:
    """The mover asks between its batches, and ends."""

    async def scenario() -> None:
        async with Bench().running() as bench:
            await bench.shell.put(Told(order("m")))
            await bench.moving("m")
            await bench.shell.put(Told(CancelMove(MoveId("m"), "not wanted")))
            ended = await bench.ended("m")
            assert (ended.state, ended.words) == (MoveState.CANCELLED, "not wanted")

    asyncio.run(scenario())


def test_a_newer_home_supersedes_the_mover() -> None:
    """A re-pin in mid-move ends it, and the order that follows runs after it."""

    async def scenario() -> None:
        async with Bench().running() as bench:
            await bench.shell.put(Told(order("m")))
            await bench.moving("m")
            await bench.sweep(home=0)
            assert (await bench.ended("m")).state is MoveState.SUPERSEDED
            assert any(isinstance(what, HomeChange) for what in bench.published)
            bench.mover.at_once = True
            await bench.shell.put(Told(order("n", home=0)))
            assert (await bench.ended("n")).state is MoveState.COMPLETED

    asyncio.run(scenario())


def test_a_bug_in_a_mover_ends_its_order_truthfully(capsys: pytest.CaptureFixture[str]) -> None:
    """The order has failed, with the words of the bug; the agent goes on, and the next order runs."""

    async def scenario() -> None:
        async with Bench().running() as bench:
            bench.mover.move_fails = ZeroDivisionError("a bug")
            await bench.shell.put(Told(order("m")))
            ended = await bench.ended("m")
            assert ended.state is MoveState.FAILED
            assert "ZeroDivisionError('a bug'); please report this" in ended.words
            bench.mover.move_fails, bench.mover.at_once = None, True
            await bench.shell.put(Told(order("n")))
            assert (await bench.ended("n")).state is MoveState.COMPLETED

    asyncio.run(scenario())
    assert "move failed" in capsys.readouterr().out


def test_a_task_that_cannot_be_measured_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A process with a strange file in /proc is logged; orders run, and the next task is measured."""

    async def scenario() -> None:
        bench = Bench()
        bench.mover.measure_fails = ValueError("no such field: Foo")
        async with bench.running():
            bench.mover.at_once = True
            await bench.shell.put(Told(order("m")))
            await bench.ended("m")
            bench.mover.measure_fails = None
            bench.mover.measured[2] = Measured(Residency.of_nodes({NodeId(1): GIB}))
            both = (facts(home=1), facts(facts("cgroup:/b").id, 1, pid=2))  # type: ignore[arg-type]  # a plain text
            await bench.shell.put(Swept(Sweep(boot_clock_s(), HOST, both)))
            await bench.said(lambda report: isinstance(report, ResidencyMeasured) and report.task == "cgroup:/b")

    asyncio.run(scenario())
    assert "no such field: Foo" in capsys.readouterr().out


def test_a_load_that_cannot_be_read_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The agent goes on with the last load it knows, and reads it again when it can."""
    monkeypatch.setattr(shell_module, "LOAD_PERIOD_S", 0.001)

    async def scenario() -> None:
        bench = Bench()
        bench.mover.load_fails = OSError(5, "vmstat")
        async with bench.running():
            bench.mover.at_once = True
            await bench.shell.put(Told(order("m")))
            await bench.ended("m")
            bench.mover.load_fails = None
            await bench.said(lambda report: isinstance(report, HostLoad))

    asyncio.run(scenario())
    assert capsys.readouterr().out.count("load not measured") == 1


def test_a_failing_journal_ends_the_agent_before_anything_is_reported_or_run() -> None:
    """What cannot be written down must not happen: the error says what to do, and the order is not accepted."""

    async def scenario() -> None:
        bench = Bench()
        bench.journal.fails = JournalError("the disk is full; free space there")
        group = await bench.fails()
        assert group.subgroup(JournalError) is not None
        assert not any(isinstance(report, MoveAccepted) for report in bench.reports)
        assert bench.mover.jobs == []

    asyncio.run(scenario())


def test_a_journal_that_fails_at_the_end_of_a_move_reports_no_outcome() -> None:
    """The order stays open in the journal, and the next run ends it."""

    async def scenario() -> None:
        bench = Bench()
        finish = bench.journal.finish

        def fail(outcome: MoveOutcome) -> None:
            bench.journal.fails = JournalError("gone")
            finish(outcome)

        bench.journal.finish = fail  # type: ignore[method-assign]  # fails from here on
        bench.mover.at_once = True
        group = await bench.fails()
        assert group.subgroup(JournalError) is not None
        assert any(isinstance(report, MoveAccepted) for report in bench.reports)
        assert not any(isinstance(report, MoveOutcome) for report in bench.reports)
        assert list(bench.journal.open) == ["m"]

    asyncio.run(scenario())


def test_shutdown_ends_movers_leaves_their_orders_open_and_the_next_run_resumes() -> None:
    """A stopped agent has not lost its orders: they are in the journal and go on when it is back."""

    async def scenario() -> None:
        journal = FakeJournal()
        async with Bench(journal).running() as bench:
            await bench.shell.put(Told(order("m")))
            await bench.moving("m")
        assert bench.mover.controls[MoveId("m")].cancelled() == "the agent is stopping"
        assert list(journal.open) == ["m"]
        assert journal.outcomes == {}
        async with Bench(journal).running() as again:
            await again.moving("m")
            again.mover.finish("m")
            assert (await again.ended("m")).state is MoveState.COMPLETED
        assert journal.open == {}

    asyncio.run(scenario())


class Waker(AgentCore):
    """A core that only wants to be woken, and keeps when it was."""

    def __init__(self, wakes_s: list[list[float]]) -> None:
        super().__init__("me", Remembered())
        self._wakes_s = wakes_s
        self.began_s = boot_clock_s()
        self.woken_s: list[float] = []
        self.done = asyncio.Event()

    def handle(self, event: Event, now_s: float) -> list[Do]:
        """The start and each wake-up take the next wishes."""
        if not isinstance(event, Woke | AbilitiesKnown):
            return []
        if isinstance(event, Woke):
            self.woken_s.append(now_s - self.began_s)
        if not self._wakes_s:
            self.done.set()
            return []
        return [WakeAt(self.began_s + at_s) for at_s in self._wakes_s.pop(0)]


@pytest.mark.parametrize(
    ("wakes_s", "expected_s"),
    [
        ([[0.05], [0.08], [0.09]], [0.05, 0.08, 0.09]),
        ([[5.0, 0.03]], [0.03]),
        ([[0.01, 0.04]], [0.04]),
        ([[-1.0], [0.02]], [0.0, 0.02]),
    ],
)
def test_it_wakes_the_core_once_for_the_last_time_asked_for_and_never_sooner(
    wakes_s: list[list[float]], expected_s: list[float]
) -> None:
    """A wake-up replaces the one before; one in the past comes at once; none comes early or twice."""

    async def scenario() -> None:
        core = Waker(wakes_s)
        running = asyncio.create_task(Bench(core=core).shell.run(Abilities()))
        async with asyncio.timeout(WITHIN_S):
            await core.done.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert len(core.woken_s) == len(expected_s)
        assert all(woken >= expected for woken, expected in zip(core.woken_s, expected_s, strict=True))

    asyncio.run(scenario())


def test_progress_may_be_lost_in_a_full_queue_and_an_outcome_never(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mover that reports faster than the core takes costs no memory; its end still arrives."""
    monkeypatch.setattr(shell_module, "QUEUE_MAX", 4)

    async def scenario() -> None:
        async with Bench().running() as bench:
            await bench.shell.put(Told(order("m")))
            await bench.moving("m")
            control = bench.mover.controls[MoveId("m")]
            for n in range(500):
                control.report(MoveProgress(MoveId("m"), n, 500, 1.0, Residency()))
            bench.mover.finish("m")
            await bench.ended("m")
            assert sum(isinstance(report, MoveProgress) for report in bench.reports) < 500

    asyncio.run(scenario())


def test_many_orders_on_many_threads_each_end_once() -> None:
    """Orders, cancels and duplicates together: in the end nothing is open, and each has one outcome."""

    async def scenario() -> None:
        async with Bench().running() as bench:
            bench.mover.at_once = True
            for n in range(40):
                await bench.shell.put(Told(order(f"m{n}", T)))
                if n % 3 == 0:
                    await bench.shell.put(Told(CancelMove(MoveId(f"m{n}"), "not wanted")))
                if n % 5 == 0:
                    await bench.shell.put(Told(order(f"m{n}", T)))
            for n in range(40):
                await bench.ended(f"m{n}")
            assert bench.journal.open == {}
            assert len(bench.journal.outcomes) == 40
            assert bench.core.orders.open_count == 0

    asyncio.run(scenario())
