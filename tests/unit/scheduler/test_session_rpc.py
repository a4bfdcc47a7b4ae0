"""The session over real gRPC on loopback: order, refusals, and what hostile bytes cannot do."""

import asyncio
import contextlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from numaplace import wire
from numaplace.model.ids import HostId
from numaplace.model.move import MoveOrder
from numaplace.model.session import AcknowledgeOutcome, Hello, HostLoad, MoveAccepted, Report, Resync, Welcome
from numaplace.v1 import session_pb2
from scheduler.rpc import session as session_module
from scheduler.rpc.errors import RefusalError
from scheduler.rpc.session import AgentLine
from tests.unit.scheduler.scene import home_change, make_snapshot, make_task, outcome_of
from tests.unit.scheduler.service import Hand, agent, dialled, service

# A failing case is small already, and every step of shrinking it would cost a session.
FUZZING = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


def run(play: Coroutine[Any, Any, None]) -> None:
    """Play it on a loop of its own."""
    asyncio.run(play)


def test_thread_end_to_end(tmp_path: Path) -> None:
    """Hello, snapshot, change, order, acceptance, outcome, acknowledgement."""

    async def play() -> None:
        async with service(tmp_path) as running, agent(running.address) as hand:
            await hand.say(make_snapshot([make_task()]))
            await hand.say(home_change())
            order = await hand.hear(MoveOrder)
            await hand.say(MoveAccepted(order.id))
            await hand.say(outcome_of(order))
            assert (await hand.hear(AcknowledgeOutcome)).move == order.id

    run(play())


def test_order_outlives_the_service(tmp_path: Path) -> None:
    """The order of a service that ended is sent by the next one on the same store, the same order."""

    async def play() -> None:
        async with service(tmp_path) as running, agent(running.address) as hand:
            await hand.say(make_snapshot([make_task()]))
            await hand.say(home_change())
            order = await hand.hear(MoveOrder)
        async with service(tmp_path) as running, agent(running.address) as hand:
            await hand.say(make_snapshot([make_task(home=1, version=2)]))
            assert await hand.hear(MoveOrder) == order

    run(play())


def test_gap_in_the_numbers_is_answered_with_resync(tmp_path: Path) -> None:
    """A number that does not follow asks for a snapshot, and the session goes on."""

    async def play() -> None:
        async with service(tmp_path) as running, agent(running.address) as hand:
            await hand.say(make_snapshot([make_task()]))
            hand.sequence += 1
            await hand.say(home_change())
            await hand.hear(Resync)
            await hand.say(make_snapshot([make_task(home=1, version=2)]))
            await hand.hear(MoveOrder)

    run(play())


def test_second_agent_of_a_host_takes_over(tmp_path: Path) -> None:
    """The older session ends with words that say why."""

    async def play() -> None:
        async with service(tmp_path) as running, agent(running.address) as old, agent(running.address):
            error = await ended(old)
            assert error.code() is grpc.StatusCode.ABORTED
            assert "newer session" in (error.details() or "")

    run(play())


async def ended(hand: Hand) -> grpc.aio.AioRpcError:
    """How a session ended."""
    return await hand.error()


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (wire.report_to_proto(1, HostLoad()), "begins with hello"),
        (wire.report_to_proto(2, Hello(HostId("h1"), "i", "b")), "as message 1"),
        (session_pb2.AgentMessage(sequence=1), "body"),
        (session_pb2.AgentMessage(sequence=1, hello=session_pb2.Hello()), "host"),
    ],
)
def test_bad_beginning_is_an_invalid_argument(tmp_path: Path, first: session_pb2.AgentMessage, words: str) -> None:
    """A session that does not begin with a sound hello ends with a reason that programs can read."""

    async def play() -> None:
        async with service(tmp_path) as running, dialled(running.address) as hand:
            await hand.call.write(first)
            error = await ended(hand)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert words in (error.details() or "")
            details = dict(await hand.call.trailing_metadata())[wire.DETAILS_KEY]
            assert wire.error_reason(details) == "INVALID_REQUEST"  # type: ignore[arg-type] # binary metadata is bytes

    run(play())


def test_wrong_protocol_is_refused(tmp_path: Path) -> None:
    """The words say which side to upgrade."""

    async def play() -> None:
        async with service(tmp_path) as running, dialled(running.address) as hand:
            await hand.say(Hello(HostId("h1"), "i", "b", protocol=9))
            error = await ended(hand)
            assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert "protocol" in (error.details() or "")

    run(play())


def test_malformed_report_ends_the_session_and_nothing_else(tmp_path: Path) -> None:
    """Another agent does not notice."""

    async def play() -> None:
        async with service(tmp_path) as running, agent(running.address, "h2") as other:
            async with agent(running.address) as hand:
                await hand.call.write(session_pb2.AgentMessage(sequence=2, snapshot=session_pb2.Snapshot()))
                assert (await ended(hand)).code() is grpc.StatusCode.INVALID_ARGUMENT
            await other.say(make_snapshot([make_task()]))
            await other.say(home_change())
            await other.hear(MoveOrder)

    run(play())


def test_agent_that_takes_nothing_loses_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for one agent is bounded; the end comes after what was said before."""

    async def play() -> None:
        monkeypatch.setattr(session_module, "INSTRUCTIONS_WAITING_MAX", 3)
        line = AgentLine()
        for _ in range(10):
            line.send(Resync("again"))
        assert [await line.next() for _ in range(3)] == [Resync("again")] * 3
        with pytest.raises(RefusalError, match="more than 3 instructions"):
            await line.next()

    run(play())


@FUZZING
@given(messages=st.lists(st.binary(max_size=200), min_size=1, max_size=20))
def test_random_bytes_never_harm_the_service(fuzzed: "Fuzzed", messages: list[bytes]) -> None:
    """Whatever bytes an agent sends as messages, its session ends with a status and the service lives."""
    fuzzed.loop.run_until_complete(fuzzed.throw(messages))


@FUZZING
@given(data=st.data())
def test_mutated_messages_never_harm_the_service(fuzzed: "Fuzzed", data: st.DataObject) -> None:
    """Sound messages with some bytes changed, cut or doubled, after a sound hello."""
    reports: list[Report] = [make_snapshot([make_task()]), home_change(), HostLoad()]
    sound = [wire.report_to_proto(i + 2, report).SerializeToString() for i, report in enumerate(reports)]
    mutated = []
    for message in sound:
        at = data.draw(st.integers(0, len(message) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "double", "keep"]))
        flipped = message[:at] + bytes([data.draw(st.integers(0, 255))]) + message[at + 1 :]
        mutated.append({"flip": flipped, "cut": message[:at], "double": message + message[at:], "keep": message}[kind])
    hello = wire.report_to_proto(1, Hello(HostId("fuzz"), "i", "b")).SerializeToString()
    fuzzed.loop.run_until_complete(fuzzed.throw([hello, *mutated]))


class Fuzzed:
    """One service for many attempts, and a way to send raw bytes to it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: str) -> None:
        self.loop = loop
        self._address = address

    async def throw(self, messages: list[bytes]) -> None:
        """Send these, wait for the end, and see that a sound agent is still welcomed."""
        async with grpc.aio.insecure_channel(self._address) as channel:
            call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(
                "/numaplace.v1.AgentSession/Session"
            )()
            try:
                for message in messages:
                    await call.write(message)
                await call.done_writing()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                pass
            async with asyncio.timeout(20):
                # gRPC tells the status only to whoever has taken the messages before it.
                with contextlib.suppress(grpc.aio.AioRpcError):
                    while await call.read() is not grpc.aio.EOF:
                        pass
                # UNKNOWN is what an exception in the service turns into; INTERNAL is this client writing too late.
                assert await call.code() is not grpc.StatusCode.UNKNOWN
        async with agent(self._address, "sound") as hand:
            assert isinstance(hand.heard[0], Welcome)


@pytest.fixture
def fuzzed(tmp_path: Path) -> Any:  # noqa: ANN401 - a generator of Fuzzed
    """A service on a loop that the test drives."""
    loop = asyncio.new_event_loop()
    context = service(tmp_path)
    running = loop.run_until_complete(context.__aenter__())
    yield Fuzzed(loop, running.address)
    loop.run_until_complete(context.__aexit__(None, None, None))
    loop.close()


def test_health_and_reflection(tmp_path: Path) -> None:
    """Probes and grpcurl find what they look for."""

    async def play() -> None:
        async with service(tmp_path) as running, grpc.aio.insecure_channel(running.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for name in ("", "numaplace.v1.AgentSession", "numaplace.v1.Jobs"):
                answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]))
            async for answer in call:
                names = {each.name for each in answer.list_services_response.service}
                assert {"numaplace.v1.AgentSession", "numaplace.v1.Policies"} <= names

    run(play())
