"""The asyncio shell around the agent's core: one queue, one writer, and instructions carried out in order.

Whatever blocks runs on small thread pools of its own: movers, moves by hand, measurements, sweeps and the journal each
have one, so that a long system call of one never delays another. A failure of the journal, or a bug of the core, ends
the whole agent (its parent task group), and a restart resumes from the journal. A failure to move or to measure ends
that alone: processes are strange, and one that cannot be read must not keep the agent from all others.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from typing import TypeVar

import structlog

from node_agent.core.agent import AgentCore
from node_agent.core.events import (
    AbilitiesKnown,
    CancelMover,
    Do,
    Event,
    HandMoveAsked,
    JournalAccept,
    JournalAcknowledge,
    JournalFinish,
    JournalPolicies,
    LoadMeasured,
    MeasurePages,
    MeasuringFailed,
    MoverEnded,
    MoverProgressed,
    PagesMeasured,
    Publish,
    RefuseByHand,
    Send,
    StartMover,
    WakeAt,
    Woke,
)
from node_agent.ports import Clock, Journal, MoveJob, Mover
from node_agent.runtime.askers import Askers
from numaplace.model.hand import HandEvent
from numaplace.model.ids import MoveId
from numaplace.model.job import HomeChange
from numaplace.model.move import MoveOrder, MoveOutcome, MoveProgress, MoveState
from numaplace.model.session import Abilities, Report
from numaplace.model.views import LocalEvent
from numaplace.telemetry import events, keys

log = structlog.get_logger(__name__)

T = TypeVar("T")

LOAD_PERIOD_S = 2.0
QUEUE_MAX = 10_000
HAND_MOVES_MAX = 8
"""At once; whoever takes the calls refuses more."""
GONE = "cancelled: whoever asked for it went away"


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where the shell's words go: the session to the scheduler, and local watchers."""

    send: Callable[[Report], None]
    publish: Callable[[Publish], None]


class Shell:
    """Feeds the core and carries out what it says."""

    def __init__(self, core: AgentCore, mover: Mover, journal: Journal, clock: Clock, outlets: Outlets) -> None:
        self._core = core
        self._mover = mover
        self._journal = journal
        self._clock = clock
        self._outlets = outlets
        self._events: asyncio.Queue[Event] = asyncio.Queue(QUEUE_MAX)
        self._controls: dict[MoveId, _Control] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wake_s = inf
        self._askers = Askers()
        self._movers = ThreadPoolExecutor(16, "mover")
        self._hand_movers = ThreadPoolExecutor(HAND_MOVES_MAX, "by-hand")
        self._measurers = ThreadPoolExecutor(2, "measure")
        self._writer = ThreadPoolExecutor(1, "journal")

    async def put(self, event: Event) -> None:
        """Tell the core; waits while the queue is full."""
        await self._events.put(event)

    async def run(self, abilities: Abilities) -> None:
        """Work until cancelled. Running moves then end after their current batch, and stay open in the journal."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._measure_load())
                await self._take(AbilitiesKnown(abilities), tasks)
                while True:
                    await self._take(await self._events.get(), tasks)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for control in self._controls.values():
                control.cancel("the agent is stopping")
            for pool in (self._movers, self._hand_movers, self._measurers, self._writer):
                pool.shutdown(wait=True, cancel_futures=True)

    async def move_by_hand(self, asked: HandMoveAsked, left: Callable[[], None]) -> AsyncGenerator[HandEvent, None]:
        """Move by hand, and say what happens up to the outcome; close the iterator to end the move early.

        ``left`` is called once nothing of it runs any more. Raises NotNowError if it cannot begin now.
        """
        move = asked.order.id
        asker = self._askers.enter(move, left)
        try:
            await self.put(asked)
        except asyncio.CancelledError:  # the core never hears of it
            self._askers.refuse(move, GONE)
            raise
        try:
            async for what in asker.hear():
                yield what
        finally:
            if self._askers.go_away(move):
                self.cancel_by_hand(move, GONE)

    def cancel_by_hand(self, move: MoveId, reason: str) -> bool:
        """End a move by hand after its current batch; False if it does not run."""
        control = self._controls.get(move)
        if control is not None:
            control.cancel(reason)
        return control is not None

    async def _take(self, event: Event, tasks: asyncio.TaskGroup) -> None:
        for do in self._core.handle(event, self._clock.now_s()):
            await self._carry_out(do, tasks)

    async def _carry_out(self, do: Do, tasks: asyncio.TaskGroup) -> None:
        match do:
            case Send(report):
                self._outlets.send(report)
            case Publish(what):
                self._log(what)
                self._outlets.publish(do)
                self._askers.tell(what)
            case RefuseByHand(move, words):
                self._askers.refuse(move, words)
            case StartMover():
                control = _Control(do.order.id, asyncio.get_running_loop(), self._events)
                self._controls[do.order.id] = control
                if self._askers.is_gone(do.order.id):
                    control.cancel(GONE)
                tasks.create_task(self._move(do, control))
            case CancelMover(move, reason):
                if move in self._controls:
                    self._controls[move].cancel(reason)
            case MeasurePages():
                tasks.create_task(self._measure(do))
            case WakeAt(at_s):
                self._ask_wake(at_s)
            case _:
                await self._write(do)

    async def _write(self, do: JournalAccept | JournalFinish | JournalAcknowledge | JournalPolicies) -> None:
        match do:
            case JournalAccept(order):
                await self._on(self._writer, lambda: self._journal.accept(order))
            case JournalFinish(outcome):
                await self._on(self._writer, lambda: self._journal.finish(outcome))
            case JournalAcknowledge(move):
                await self._on(self._writer, lambda: self._journal.acknowledge(move))
            case JournalPolicies(policies):
                await self._on(self._writer, lambda: self._journal.keep_policies(policies))

    async def _move(self, do: StartMover, control: "_Control") -> None:
        job = MoveJob(do.order, do.task, do.topology, do.what)
        pool = self._movers if do.what is None else self._hand_movers
        try:
            outcome = await self._on(pool, lambda: self._mover.move(job, control))
        except Exception as error:  # a bug in a mover must end its order truthfully, and be seen
            log.exception("move failed", **{keys.MOVE: do.order.id, keys.TASK: do.order.task})
            words = f"the mover failed: {error!r}; please report this"
            outcome = MoveOutcome(do.order.id, do.order.task, MoveState.FAILED, words)
        del self._controls[do.order.id]
        await self.put(MoverEnded(outcome))

    async def _measure(self, do: MeasurePages) -> None:
        try:
            await self.put(await self._on(self._measurers, lambda: self._located(do)))
        except Exception:  # whatever is strange about one task is logged, and no reason to leave all others
            log.exception("measuring failed", **{keys.TASK: do.task})
            await self.put(MeasuringFailed(do.task))

    def _located(self, do: MeasurePages) -> PagesMeasured:
        began_s = self._clock.now_s()
        measured, stuck = self._mover.measure(do.processes), self._mover.stuck(do.processes)
        return PagesMeasured(do.task, measured, stuck, self._clock.now_s() - began_s)

    async def _measure_load(self) -> None:
        known = ""
        while True:
            try:
                await self.put(LoadMeasured(await self._on(self._measurers, self._mover.load)))
                known = ""
            except Exception as error:  # the last load still tells more than no agent; told once, not each time
                if repr(error) != known:
                    log.exception("load not measured")
                known = repr(error)
            await asyncio.sleep(LOAD_PERIOD_S)

    @staticmethod
    async def _on(pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, call)

    # Waking

    def _ask_wake(self, at_s: float) -> None:
        self._wake_s = at_s
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at_s - self._clock.now_s()), self._tick)

    def _tick(self) -> None:
        if self._clock.now_s() < self._wake_s:  # the loop's clock is another one, and coarser
            self._ask_wake(self._wake_s)
        elif not self._events.full():  # else there is plenty to wake for
            self._events.put_nowait(Woke())

    @staticmethod
    def _log(what: LocalEvent) -> None:
        """One canonical line for each change of home, order and outcome."""
        match what:
            case HomeChange():
                log.info(
                    events.HOME_CHANGED,
                    **{
                        keys.TASK: what.task,
                        keys.HOME: sorted(what.home.nodes),
                        keys.HOME_PREVIOUS: sorted(what.previous_home),
                        keys.SOURCE: what.source.value,
                        keys.ACTOR: f"{what.actor.command}[{what.actor.pid}]" if what.actor else None,
                    },
                )
            case MoveOrder():
                log.info("move accepted", **{keys.MOVE: what.id, keys.TASK: what.task, keys.HOME: sorted(what.home)})
            case MoveOutcome():
                log.info(
                    events.MOVE_FINISHED,
                    **{
                        keys.MOVE: what.move,
                        keys.TASK: what.task,
                        keys.STATE: what.state.value,
                        keys.BYTES_MOVED: what.moved_bytes,
                        keys.LEFT: {reason.value: size for reason, size in what.left.items()},
                        keys.SECONDS: round(what.seconds, 3),
                        keys.STALL_MS_MAX: round(what.stall_ms_max, 1),
                        keys.STRATEGY: what.strategy.value if what.strategy else None,
                    },
                )
            case _:
                pass


class _Control:
    """A mover's line to the shell: its thread asks and reports, the event loop's thread cancels."""

    def __init__(self, move: MoveId, loop: asyncio.AbstractEventLoop, events: asyncio.Queue[Event]) -> None:
        self.move = move
        self._loop = loop
        self._events = events
        self._reason: str | None = None

    def cancel(self, reason: str) -> None:
        self._reason = reason

    def cancelled(self) -> str | None:
        return self._reason

    def report(self, progress: MoveProgress) -> None:
        self._loop.call_soon_threadsafe(self._put, progress)

    def _put(self, progress: MoveProgress) -> None:
        if not self._events.full():  # progress may be dropped, the outcome never
            self._events.put_nowait(MoverProgressed(progress))
