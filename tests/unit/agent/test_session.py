"""The session against a scheduler on loopback: what is said first, in which order, and what happens when it breaks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import pytest

from node_agent.core.events import Event, SessionClosed, SessionOpened, Told
from node_agent.rpc import session as session_module
from node_agent.rpc.session import Endpoint, SchedulerSession
from numaplace import wire
from numaplace.configured import ConfigurationError
from numaplace.model.ids import HostId, NodeId, TaskId
from numaplace.model.session import (
    Abilities,
    Hello,
    HostLoad,
    Instruction,
    Measure,
    PolicySet,
    Report,
    Resync,
    Snapshot,
    TaskGone,
    Welcome,
)
from numaplace.v1 import session_pb2
from tests.fakes.agent import HOST, order
from tests.fakes.scheduler import WITHIN_S, FakeScheduler

HELLO = Hello(HostId("host"), "instance-1", "boot-1", agent_version="1")
SNAPSHOT = Snapshot(HOST, Abilities(), ())


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off is tested by its lengths, not by waiting for them."""
    monkeypatch.setattr(session_module, "BACKOFF_S_MIN", 0.005)
    monkeypatch.setattr(session_module, "BACKOFF_S_MAX", 0.02)


class Core:
    """Stands for the core: keeps what it is told, and answers an opened session with a snapshot like it."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.session: SchedulerSession | None = None
        self.answers = True
        self.before_snapshot: Callable[[], Awaitable[None]] | None = None

    async def tell(self, event: Event) -> None:
        """An event comes in."""
        self.events.put_nowait(event)
        if isinstance(event, SessionOpened) and self.answers:
            if self.before_snapshot:
                await self.before_snapshot()
            self.send(SNAPSHOT)

    def send(self, report: Report) -> None:
        """The core reports something."""
        assert self.session is not None
        self.session.send(report)

    async def next(self) -> Event:
        """The next event."""
        async with asyncio.timeout(WITHIN_S):
            return await self.events.get()

    async def until(self, kind: type) -> list[Event]:
        """Events up to the first of a kind."""
        seen = [await self.next()]
        while not isinstance(seen[-1], kind):
            seen.append(await self.next())
        return seen


@asynccontextmanager
async def dialling(port: int, core: Core, outbox_max: int = 1000) -> AsyncIterator[SchedulerSession]:
    """An agent that keeps a session with this port."""
    session = core.session = SchedulerSession(Endpoint(f"127.0.0.1:{port}"), HELLO, core.tell, outbox_max)
    running = asyncio.create_task(session.run())
    try:
        yield session
        assert not running.done(), "the session gave up"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_hello_then_a_snapshot_then_deltas_numbered_without_gaps() -> None:
    """The scheduler rebuilds its view from a snapshot and what follows it, in order."""

    async def scenario() -> None:
        scheduler, core = FakeScheduler(), Core()
        async with scheduler.listening() as port, dialling(port, core):
            talk = await scheduler.session()
            assert await talk.next() == HELLO
            assert await talk.next() == SNAPSHOT
            assert await core.next() == Told(Welcome(PolicySet()))
            assert await core.next() == SessionOpened()
            for n in range(500):
                core.send(TaskGone(TaskId(f"t{n}")))
            assert [await talk.next() for _ in range(500)] == [TaskGone(TaskId(f"t{n}")) for n in range(500)]
            assert talk.numbers == list(range(1, 503))

    asyncio.run(scenario())


def test_what_the_core_said_before_its_snapshot_is_older_and_dropped() -> None:
    """Between the welcome and the snapshot the core may still work on older events: they are in the snapshot."""

    async def scenario() -> None:
        scheduler, core = FakeScheduler(), Core()

        async def older() -> None:
            core.send(TaskGone(TaskId("older")))

        core.before_snapshot = older
        async with scheduler.listening() as port, dialling(port, core):
            core.send(TaskGone(TaskId("without a session")))
            talk = await scheduler.session()
            await core.until(SessionOpened)
            core.send(TaskGone(TaskId("newer")))
            assert [await talk.next() for _ in range(3)] == [HELLO, SNAPSHOT, TaskGone(TaskId("newer"))]
            assert talk.numbers == [1, 2, 3]

    asyncio.run(scenario())


def test_instructions_reach_the_core_in_order() -> None:
    """Orders, questions and policies, as they were said."""

    async def scenario() -> None:
        scheduler, core = FakeScheduler(), Core()
        async with scheduler.listening() as port, dialling(port, core):
            talk = await scheduler.session()
            said: list[Instruction] = [order("m"), Measure(TaskId("t")), PolicySet(), Resync("lost one")]
            for each in said:
                await talk.say(each)
            await core.until(SessionOpened)
            assert [await core.next() for _ in said] == [Told(each) for each in said]

    asyncio.run(scenario())


def test_it_dials_again_and_says_everything_anew() -> None:
    """After an end, however it came, there is one SessionClosed, a new dial, Hello and a snapshot."""

    async def scenario() -> None:
        scheduler, core = FakeScheduler(), Core()
        async with scheduler.listening() as port, dialling(port, core) as session:
            for _ in range(3):
                talk = await scheduler.session()
                assert [await talk.next() for _ in range(2)] == [HELLO, SNAPSHOT]
                assert session.connected
                await talk.close()
                assert len(await core.until(SessionClosed)) == 3
                assert talk.numbers == [1, 2]

    asyncio.run(scenario())


def test_it_outlives_a_scheduler_that_is_killed_and_comes_back() -> None:
    """The agent starts before the scheduler, survives its death, and finds it again at the same address."""

    async def scenario() -> None:
        first, second, core = FakeScheduler(), FakeScheduler(), Core()
        async with first.listening() as port:
            pass
        async with dialling(port, core) as session:
            async with first.listening(port):
                await (await first.session()).next()
                await core.until(SessionOpened)
            await core.until(SessionClosed)
            assert not session.connected
            async with second.listening(port):
                talk = await second.session()
                assert [await talk.next() for _ in range(2)] == [HELLO, SNAPSHOT]

    asyncio.run(scenario())


UNKNOWN = session_pb2.SchedulerMessage.FromString(b"\xfa\x3f\x03abc")
BAD_ORDER = wire.instruction_to_proto(order("m"))
BAD_ORDER.start_move.home = "3-1,x"


@pytest.mark.parametrize("garbage", [session_pb2.SchedulerMessage(), UNKNOWN, BAD_ORDER])
def test_garbage_ends_the_session_and_not_the_agent(garbage: session_pb2.SchedulerMessage) -> None:
    """A message that cannot be read may have been an order: nothing after it is believed, and all is said anew."""

    async def scenario() -> None:
        scheduler, core = FakeScheduler(), Core()
        async with scheduler.listening() as port, dialling(port, core):
            talk = await scheduler.session()
            await talk.say_raw(garbage)
            # The agent may have hung up by now, and then there is nobody to say it to.
            await asyncio.gather(talk.say(Measure(TaskId("after"))), return_exceptions=True)
            seen = await core.until(SessionClosed)
            assert Told(Measure(TaskId("after"))) not in seen
            again = await scheduler.session()
            assert await again.next() == HELLO

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "welcome",
    [
        wire.instruction_to_proto(Welcome(PolicySet(), protocol=99)),
        wire.instruction_to_proto(Measure(TaskId("no welcome"))),
        session_pb2.SchedulerMessage(),
    ],
)
def test_without_the_right_welcome_there_is_no_session(welcome: session_pb2.SchedulerMessage) -> None:
    """Another protocol, or no welcome at all: the core hears nothing of it, and the agent dials again."""

    async def scenario() -> None:
        scheduler, core = FakeScheduler(), Core()
        scheduler.welcome = welcome
        async with scheduler.listening() as port, dialling(port, core) as session:
            async with asyncio.timeout(WITHIN_S):
                for _ in range(3):
                    await scheduler.dials.acquire()
            assert core.events.empty()
            assert not session.connected

    asyncio.run(scenario())


def test_a_scheduler_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A half-open peer takes the call and never answers; the agent does not wait for ever."""
    monkeypatch.setattr(session_module, "WELCOME_WITHIN_S", 0.05)

    async def scenario() -> None:
        scheduler, core = FakeScheduler(), Core()
        scheduler.welcome = None
        async with scheduler.listening() as port, dialling(port, core):
            for _ in range(2):
                await scheduler.session()
            assert core.events.empty()

    asyncio.run(scenario())


def test_a_peer_that_is_no_grpc_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's port: accepts, and says nothing or nonsense."""
    monkeypatch.setattr(session_module, "WELCOME_WITHIN_S", 0.05)

    async def scenario() -> None:
        callers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

        async def nonsense(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example ESMTP\r\n")
            callers.put_nowait(writer)

        server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
        core = Core()
        async with server, asyncio.timeout(WITHIN_S):
            async with dialling(server.sockets[0].getsockname()[1], core):
                called = [await callers.get() for _ in range(2)]
                assert core.events.empty()
            while not callers.empty():
                called.append(callers.get_nowait())
            for writer in called:
                writer.close()

    asyncio.run(scenario())


def test_a_refusal_is_told_and_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown certificate or a host name in use: the scheduler's words are in the log, once."""

    async def scenario() -> None:
        scheduler, core = FakeScheduler(), Core()
        scheduler.refusal = (grpc.StatusCode.PERMISSION_DENIED, "this host is called otherwise")
        async with scheduler.listening() as port, dialling(port, core), asyncio.timeout(WITHIN_S):
            for _ in range(4):
                await scheduler.dials.acquire()
            assert core.events.empty()

    asyncio.run(scenario())
    told = capsys.readouterr().out
    assert "PERMISSION_DENIED: this host is called otherwise" in told
    assert told.count("warning") == 1


def test_a_scheduler_that_stops_reading_costs_the_session_not_the_memory() -> None:
    """Reports that nobody takes are bounded; beyond the bound the session ends, and a snapshot heals the loss."""

    async def scenario() -> None:
        scheduler, core = FakeScheduler(), Core()
        scheduler.reads = False
        async with scheduler.listening() as port, dialling(port, core, outbox_max=50):
            await core.until(SessionOpened)
            load = HostLoad({NodeId(n): 1 << 50 for n in range(1000)})
            for _ in range(60):  # more than the outbox takes, before the writer had a turn
                core.send(load)
            await core.until(SessionClosed)
            scheduler.reads = True
            await scheduler.session()
            talk = await scheduler.session()
            assert [await talk.next() for _ in range(2)] == [HELLO, SNAPSHOT]

    asyncio.run(scenario())


def test_a_stuck_scheduler_is_left_although_the_writer_hangs() -> None:
    """The writer waits for a window that never opens; the overflow is seen all the same."""

    async def scenario() -> None:
        scheduler, core = FakeScheduler(), Core()
        scheduler.reads = False
        async with scheduler.listening() as port, dialling(port, core, outbox_max=20), asyncio.timeout(WITHIN_S):
            await core.until(SessionOpened)
            load = HostLoad({NodeId(n): 1 << 50 for n in range(1000)})
            while core.events.empty():
                core.send(load)
                await asyncio.sleep(0)
            assert await core.next() == SessionClosed()

    asyncio.run(scenario())


def test_a_report_that_cannot_be_written_ends_the_session_and_not_the_agent() -> None:
    """A lone surrogate in a name would be a bug of ours; it must not take the local following down with it."""

    async def scenario() -> None:
        scheduler, core = FakeScheduler(), Core()
        async with scheduler.listening() as port, dialling(port, core):
            await core.until(SessionOpened)
            core.send(TaskGone(TaskId("bad\udcff")))
            await core.until(SessionClosed)
            await scheduler.session()
            assert await (await scheduler.session()).next() == HELLO

    asyncio.run(scenario())


def test_a_bug_of_ours_is_not_taken_for_the_network() -> None:
    """What the core raises ends the agent; it is no reason to dial again."""

    async def scenario() -> None:
        scheduler = FakeScheduler()

        async def broken(_event: Event) -> None:
            raise KeyError("a bug")

        async with scheduler.listening() as port, asyncio.timeout(WITHIN_S):
            with pytest.raises(KeyError):
                await SchedulerSession(Endpoint(f"127.0.0.1:{port}"), HELLO, broken).run()

    asyncio.run(scenario())


def _pauses(monkeypatch: pytest.MonkeyPatch, lived_s: list[float]) -> list[float]:
    """The pauses between dials when sessions lived so long, without living or pausing."""
    pauses: list[float] = []
    lives = iter(lived_s)
    now_s = 0.0

    class StopError(Exception):
        pass

    async def scenario() -> None:
        nonlocal now_s
        loop = asyncio.get_running_loop()
        session = SchedulerSession(Endpoint("nowhere:1"), HELLO, Core().tell)

        async def talk() -> str:
            nonlocal now_s
            life_s = next(lives, None)
            if life_s is None:
                raise StopError
            now_s += life_s
            return "over"

        async def pause(seconds: float) -> None:
            pauses.append(seconds)

        with monkeypatch.context() as patched:
            patched.setattr(loop, "time", lambda: now_s)
            patched.setattr(session, "_talk", talk)
            patched.setattr(asyncio, "sleep", pause)
            with pytest.raises(StopError):
                await session.run()

    asyncio.run(scenario())
    return pauses


def test_back_off_doubles_to_its_bound_and_a_lasting_session_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pause lies within half of its bound; a session that broke at once does not make the next dial soon."""
    monkeypatch.setattr(session_module, "BACKOFF_S_MIN", 0.1)
    monkeypatch.setattr(session_module, "BACKOFF_S_MAX", 5.0)
    pauses = _pauses(monkeypatch, [0.0, 0.1, 0.0, 0.2, 9.0, 0.0, 0.0, 0.0, 60.0, 0.0])
    bounds = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 0.1, 0.2]
    assert len(pauses) == len(bounds)
    for pause, bound in zip(pauses, bounds, strict=True):
        assert bound / 2 <= pause <= bound


def test_each_dial_asks_for_the_credentials_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewed certificate needs no restart, and one that is just being replaced costs one dial."""
    monkeypatch.setattr(session_module, "BACKOFF_S_MIN", 0.001)
    asked = 0
    enough = asyncio.Event()

    def credentials() -> grpc.ChannelCredentials:
        nonlocal asked
        asked += 1
        if asked >= 4:
            enough.set()
        if asked % 2:
            raise ConfigurationError("the key is not there")
        return grpc.ssl_channel_credentials()

    async def scenario() -> None:
        session = SchedulerSession(Endpoint("127.0.0.1:1", credentials), HELLO, Core().tell)
        running = asyncio.create_task(session.run())
        async with asyncio.timeout(WITHIN_S):
            await enough.wait()
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
