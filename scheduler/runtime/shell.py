"""The asyncio shell around the pure state: one queue, one writer.

Events are handled one after the other. What they want stored is stored first, several events in one transaction;
only then is anything of it said to agents, watchers or callers. A store that fails holds everything back: nothing is
said that might be forgotten.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import get_args

from scheduler.planning.records import Move
from scheduler.ports import Clock, Line, Observer, Store, StoreBusyError, WatchOverflowError
from scheduler.state.events import AgentLost, Event, SessionId, Tick
from scheduler.state.instructions import (
    CloseCause,
    CloseSession,
    Instruction,
    Publish,
    SendTo,
    StoreInstruction,
    WakeAt,
)
from scheduler.state.machine import SchedulerState

EVENTS_WAITING_MAX = 4096
EVENTS_PER_TURN_MAX = 256
WATCHED_MAX = 4096
"""Changes that may wait for one watcher."""
STORE_RETRY_S = 0.5
STORE_RETRIES_MAX = 60
"""A store that is busy or full for half a minute ends the service: an agent alone does better."""

_STORED = get_args(StoreInstruction)


@dataclass(frozen=True, slots=True)
class _Posted:
    event: Event
    counted: bool
    done: "asyncio.Future[None] | None" = None


class MoveWatch:
    """Changes of moves for one watcher; a watcher that does not keep up is told so, and sees no more."""

    def __init__(self, closed: Callable[["MoveWatch"], None]) -> None:
        self._closed = closed
        self._queue: asyncio.Queue[Move | None] = asyncio.Queue()
        self._overflown = False

    def put(self, move: Move) -> None:
        """A change; nothing is kept after an overflow."""
        if self._queue.qsize() < WATCHED_MAX:
            self._queue.put_nowait(move)
        elif not self._overflown:
            self._overflown = True
            self._queue.put_nowait(None)

    def end(self) -> None:
        """The service ends."""
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Move]:
        while (move := await self._queue.get()) is not None:
            yield move
        if self._overflown:
            raise WatchOverflowError(f"more than {WATCHED_MAX} changes wait for this watcher")

    def close(self) -> None:
        """No more."""
        self._closed(self)


class Shell:
    """The desk at which services hand in events, and the one loop that carries out what follows."""

    def __init__(
        self, state: SchedulerState, store: Store, clock: Clock, observer: Observer, pool: ThreadPoolExecutor
    ) -> None:
        self._state = state
        self._store = store
        self._clock = clock
        self._observer = observer
        self._pool = pool
        self._queue: asyncio.Queue[_Posted | None] = asyncio.Queue()
        self._places = asyncio.Semaphore(EVENTS_WAITING_MAX)
        self._lines: dict[SessionId, Line] = {}
        self._ids = itertools.count(1)
        self._watches: list[MoveWatch] = []
        self._waiting: list[tuple[Callable[[SchedulerState], bool], asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._wake_s: float | None = None
        self._ended = asyncio.Event()

    # The desk

    @property
    def state(self) -> SchedulerState:
        """To be read between awaits, never changed."""
        return self._state

    @property
    def clock(self) -> Clock:
        """The clock that events are handled by."""
        return self._clock

    @property
    def events_waiting(self) -> int:
        """How many events wait for the writer."""
        return self._queue.qsize()

    def attach(self, line: Line) -> SessionId:
        """A new session's id; what the state says to it goes over this line."""
        session = SessionId(next(self._ids))
        self._lines[session] = line
        return session

    def detach(self, session: SessionId) -> None:
        """The line is gone; the state hears of it even when the queue is full."""
        self._lines.pop(session, None)
        self._queue.put_nowait(_Posted(AgentLost(session), counted=False))

    async def post(self, event: Event) -> None:
        """Hand in an event; waits while too many are waiting."""
        await self._places.acquire()
        self._queue.put_nowait(_Posted(event, counted=True))

    async def settle(self, event: Event) -> None:
        """Hand in an event and wait until all that follows from it is stored and sent."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._places.acquire()
        self._queue.put_nowait(_Posted(event, counted=True, done=done))
        await done

    async def until(self, holds: Callable[[SchedulerState], bool], within_s: float) -> bool:
        """Wait until this holds of the state, at most so long; whether it holds."""
        if holds(self._state):
            return True
        change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (holds, change)
        self._waiting.append(entry)
        try:
            await asyncio.wait_for(change, within_s)
        except TimeoutError:
            return False
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)
        return True

    def watch(self) -> MoveWatch:
        """Watch the moves from now on."""
        watch = MoveWatch(self._unwatch)
        self._watches.append(watch)
        return watch

    def _unwatch(self, watch: MoveWatch) -> None:
        if watch in self._watches:
            self._watches.remove(watch)

    def hang_up(self) -> None:
        """The service stops: agents and watchers are told so, and need not be waited for."""
        for line in self._lines.values():
            line.close(CloseCause.STOPPING, "the scheduler stops; dial again")
        for watch in self._watches:
            watch.end()

    # The writer

    def stop(self) -> None:
        """End :meth:`run` after what was handed in until now."""
        self._queue.put_nowait(None)

    async def ended(self) -> None:
        """Wait until :meth:`run` has ended, well or not."""
        await self._ended.wait()

    async def run(self) -> None:
        """Handle events until stopped. Raises StoreError if the store fails for long; bugs of the state raise too."""
        try:
            running = True
            while running:
                turn = await self._gather()
                running = None not in turn
                await self._handle([posted for posted in turn if posted is not None])
        finally:
            self._ended.set()
            if self._timer is not None:
                self._timer.cancel()
            self.hang_up()

    async def _gather(self) -> list[_Posted | None]:
        turn = [await self._queue.get()]
        while len(turn) < EVENTS_PER_TURN_MAX and not self._queue.empty():
            turn.append(self._queue.get_nowait())
        return turn

    async def _handle(self, turn: Sequence[_Posted]) -> None:
        done: list[Instruction] = []
        for posted in turn:
            if posted.counted:
                self._places.release()
            self._observer.event(posted.event)
            done += self._state.handle(posted.event, self._clock.now_s())
        stored = [instruction for instruction in done if isinstance(instruction, _STORED)]
        if stored:
            await self._keep(stored)
        for instruction in done:
            self._carry_out(instruction)
        if self._timer is None:
            # A timer may fire a hair early: then the state still wants to be woken, and does not say so again.
            self._wake_at(self._wake_s)
        for posted in turn:
            if posted.done is not None and not posted.done.done():
                posted.done.set_result(None)
        self._tell_waiting()

    async def _keep(self, stored: Sequence[StoreInstruction]) -> None:
        loop = asyncio.get_running_loop()
        for attempt in itertools.count(1):
            try:
                await loop.run_in_executor(self._pool, partial(self._store.write, stored))
            except StoreBusyError as error:
                self._observer.store_failed(error)
                if attempt >= STORE_RETRIES_MAX:
                    raise
                await asyncio.sleep(STORE_RETRY_S)
            else:
                return

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case SendTo(session, message):
                line = self._lines.get(session)
                if line is not None:
                    line.send(message)
            case CloseSession(session, cause, words):
                line = self._lines.pop(session, None)
                if line is not None:
                    line.close(cause, words)
            case WakeAt(at_s):
                self._wake_at(at_s)
            case Publish(move):
                for watch in self._watches:
                    watch.put(move)
            case _:
                pass
        self._observer.instruction(instruction)

    def _wake_at(self, at_s: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._wake_s = None, at_s
        if at_s is not None:
            delay_s = max(0.0, at_s - self._clock.now_s())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._queue.put_nowait(_Posted(Tick(), counted=False))

    def _tell_waiting(self) -> None:
        for entry in tuple(self._waiting):
            holds, change = entry
            if not change.done() and holds(self._state):
                change.set_result(None)
                self._waiting.remove(entry)
