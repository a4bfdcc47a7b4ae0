"""The shell: what is stored before what is said, and what happens when the store or a watcher does not keep up."""

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from numaplace.model.ids import HostId
from numaplace.model.move import MoveOrder
from numaplace.model.policy import Policy
from numaplace.model.session import Hello
from numaplace.model.session import Instruction as Message
from scheduler.ports import StoreBusyError, StoreCorruptError, StoreError, WatchOverflowError
from scheduler.runtime import shell as shell_module
from scheduler.runtime.clock import SystemClock
from scheduler.runtime.logbook import Logbook
from scheduler.runtime.metrics import Metrics
from scheduler.runtime.shell import MoveWatch, Shell
from scheduler.state.events import AgentConnected, AgentReported, PolicyChanged, SessionId
from scheduler.state.instructions import CloseCause, StoreInstruction, StoreOrder
from scheduler.state.machine import Restored, SchedulerState
from tests.unit.scheduler.scene import home_change, make_snapshot, make_task
from tests.unit.scheduler.test_book import make_move


class Recorder:
    """A store and a line in one, that note what happens in which order; ``failures`` come before success."""

    def __init__(self, failures: Sequence[StoreError] = ()) -> None:
        self.log: list[str] = []
        self.failures = list(failures)
        self.ordered = asyncio.Event()

    def load(self, default: Policy) -> Restored:
        """Nothing."""
        del default
        return Restored()

    def write(self, records: Sequence[StoreInstruction]) -> None:
        """Fail, or note."""
        if self.failures:
            self.log.append("failed")
            raise self.failures.pop(0)
        self.log += [f"stored {type(record).__name__}" for record in records if isinstance(record, StoreOrder)]

    def close(self, *_: object) -> None:
        """Note nothing: both a store and a line are closed."""

    def send(self, message: Message) -> None:
        """Note."""
        if isinstance(message, MoveOrder):
            self.log.append("sent order")
            self.ordered.set()


class Line(Recorder):
    """A line alone, which notes how it was closed."""

    def close(self, *cause: object) -> None:
        """Note."""
        self.log.append(f"closed {cause[0]}")


def play(recorder: Recorder, act: Any) -> Shell:  # noqa: ANN401 - an async callable
    """Run a shell around the recorder while ``act`` plays."""

    async def playing() -> Shell:
        clock = SystemClock()
        with ThreadPoolExecutor(1) as pool:
            shell = Shell(SchedulerState("run", clock.now_s()), recorder, clock, Logbook(Metrics()), pool)
            writer = asyncio.create_task(shell.run())
            try:
                async with asyncio.timeout(20):
                    await act(shell)
            finally:
                shell.stop()
                await writer
            return shell

    return asyncio.run(playing())


async def drift(shell: Shell, recorder: Recorder) -> SessionId:
    """An agent whose task's home changes."""
    session = shell.attach(recorder)
    await shell.post(AgentConnected(session, Hello(HostId("h1"), "i", "b")))
    await shell.post(AgentReported(session, 2, make_snapshot([make_task()])))
    await shell.post(AgentReported(session, 3, home_change()))
    return session


def ordering(recorder: Recorder) -> Any:  # noqa: ANN401 - an async callable
    """Wait for the order."""

    async def act(shell: Shell) -> None:
        await drift(shell, recorder)
        await recorder.ordered.wait()

    return act


def test_order_is_stored_before_it_is_sent() -> None:
    """The store has it first; the wake-up that gives it needs nobody's help."""

    async def act() -> Recorder:
        return Recorder()

    recorder = asyncio.run(act())
    play(recorder, ordering(recorder))
    assert recorder.log == ["stored StoreOrder", "sent order"]


def test_store_that_is_busy_holds_the_order_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is said that might be forgotten; when the store works again, it is said."""
    monkeypatch.setattr(shell_module, "STORE_RETRY_S", 0.001)
    recorder = Recorder([StoreBusyError("full", "free some")] * 3)
    play(recorder, ordering(recorder))
    assert recorder.log == ["failed"] * 3 + ["stored StoreOrder", "sent order"]


@pytest.mark.parametrize("error", [StoreBusyError("full", "free some"), StoreCorruptError("bad", "look")])
def test_store_that_stays_broken_ends_the_service(monkeypatch: pytest.MonkeyPatch, error: StoreError) -> None:
    """After some tries, or at once where trying again is senseless; and nothing was sent."""
    monkeypatch.setattr(shell_module, "STORE_RETRY_S", 0.001)
    monkeypatch.setattr(shell_module, "STORE_RETRIES_MAX", 4)
    recorder = Recorder([error] * 100)

    async def act(shell: Shell) -> None:
        await drift(shell, recorder)
        await shell.ended()

    with pytest.raises(type(error)):
        play(recorder, act)
    assert recorder.log == ["failed"] * (4 if isinstance(error, StoreBusyError) else 1)


def test_service_that_stops_says_so() -> None:
    """Every line is closed with the reason."""
    line = Line()

    async def act(shell: Shell) -> None:
        shell.attach(line)

    play(line, act)
    assert line.log == [f"closed {CloseCause.STOPPING}"]


def test_waiting_for_what_never_holds_ends_in_time() -> None:
    """until() is bounded, and says whether it holds."""

    async def act(shell: Shell) -> None:
        assert not await shell.until(lambda _: False, 0.01)
        waiting = asyncio.create_task(shell.until(lambda state: bool(state.world.policies.by_job), 10))
        await shell.settle(PolicyChanged("job", Policy()))  # type: ignore[arg-type] # a job's name
        assert await waiting

    play(Recorder(), act)


def test_wake_up_that_comes_too_early_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer may fire a hair before its time; then the order must not wait for the next event."""
    recorder = Recorder()
    plain = Shell._wake_at

    def early(self: Shell, at_s: float | None) -> None:
        plain(self, None if at_s is None else at_s - 0.005)
        self._wake_s = at_s

    monkeypatch.setattr(Shell, "_wake_at", early)
    play(recorder, ordering(recorder))
    assert recorder.log == ["stored StoreOrder", "sent order"]


def test_lost_line_is_told_to_the_state() -> None:
    """A session that ends leaves its host unconnected."""
    recorder = Recorder()

    async def act(shell: Shell) -> None:
        session = await drift(shell, recorder)
        await shell.until(lambda state: bool(state.world.hosts), 10)
        shell.detach(session)
        assert await shell.until(lambda state: not state.world.hosts[HostId("h1")].connected, 10)

    play(recorder, act)


def test_slow_watcher_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for one watcher is bounded: it gets what was kept, and then the error."""
    monkeypatch.setattr(shell_module, "WATCHED_MAX", 3)

    async def act() -> None:
        watch = MoveWatch(lambda _: None)
        for i in range(10):
            watch.put(make_move(f"m{i}"))
        changes = aiter(watch)
        assert [(await anext(changes)).id for _ in range(3)] == ["m0", "m1", "m2"]
        with pytest.raises(WatchOverflowError):
            await anext(changes)

    asyncio.run(act())


def test_events_of_a_full_queue_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever posts too fast is slowed down, not dropped."""
    monkeypatch.setattr(shell_module, "EVENTS_WAITING_MAX", 2)

    async def act(shell: Shell) -> None:
        events: list[Coroutine[Any, Any, None]] = [
            shell.post(PolicyChanged(None, Policy(settle_s=float(i)))) for i in range(50)
        ]
        await asyncio.gather(*events)
        assert await shell.until(lambda state: state.world.policies.default.settle_s == 49.0, 10)

    play(Recorder(), act)
