"""The session to the scheduler: the agent dials, says hello, sends reports in order and hears instructions.

A session that ends, for whatever reason, is dialled anew with jittered exponential back-off; what was not sent by
then is dropped, because the snapshot that opens the next session holds the whole truth.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import grpc
import structlog

from node_agent.core.events import Event, SessionClosed, SessionOpened, Told
from numaplace import wire
from numaplace.model.session import PROTOCOL, Hello, Instruction, Report, Welcome
from numaplace.telemetry import keys
from numaplace.v1 import session_pb2, session_pb2_grpc

log = structlog.get_logger(__name__)

BACKOFF_S_MIN = 0.1
BACKOFF_S_MAX = 5.0
WELCOME_WITHIN_S = 10.0
OUTBOX_MAX = 20_000
"""Reports waiting for a slow network; beyond them the session is given up and opened anew with a snapshot."""
MESSAGE_BYTES_MAX = 64 << 20

_KEEPALIVE = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the scheduler listens, ``HOST:PORT``, and with which credentials; None is plaintext."""

    target: str
    credentials: grpc.ChannelCredentials | None = None


class ProtocolError(Exception):
    """The scheduler said something that a session does not allow."""


_Call = grpc.aio.StreamStreamCall[session_pb2.AgentMessage, session_pb2.SchedulerMessage]


class SchedulerSession:
    """Keeps one session open for as long as it runs."""

    def __init__(self, endpoint: Endpoint, hello: Hello, tell: Callable[[Event], Awaitable[None]]) -> None:
        self._endpoint = endpoint
        self._hello = hello
        self._tell = tell
        self._outbox: asyncio.Queue[Report] | None = None
        self._overflown = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether a session is open now."""
        return self._outbox is not None

    def send(self, report: Report) -> None:
        """Report to the scheduler; dropped without a session."""
        if self._outbox is None:
            return
        try:
            self._outbox.put_nowait(report)
        except asyncio.QueueFull:
            self._overflown.set()

    async def run(self) -> None:
        """Dial, talk, and dial again, until cancelled."""
        backoff_s = BACKOFF_S_MIN
        while True:
            try:
                await self._talk()
            except (grpc.aio.AioRpcError, wire.WireError, ProtocolError, TimeoutError) as error:
                log.warning("session ended", **{keys.ADDRESS: self._endpoint.target, keys.ERROR: _words(error)})
            if self._outbox is not None:
                self._outbox, backoff_s = None, BACKOFF_S_MIN
                log.info("session closed", **{keys.ADDRESS: self._endpoint.target})
                await self._tell(SessionClosed())
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            backoff_s = min(BACKOFF_S_MAX, 2 * backoff_s)

    async def _talk(self) -> None:
        async with self._channel() as channel:
            self._overflown.clear()
            outbox: asyncio.Queue[Report] = asyncio.Queue(OUTBOX_MAX)
            call = session_pb2_grpc.AgentSessionStub(channel).Session(_numbered(self._hello, outbox))
            try:
                first = await asyncio.wait_for(_next(call), WELCOME_WITHIN_S)
                if not isinstance(first, Welcome) or first.protocol != PROTOCOL:
                    raise ProtocolError(f"expected a welcome of protocol {PROTOCOL}, got {first!r:.200}")
                log.info("session opened", **{keys.ADDRESS: self._endpoint.target})
                self._outbox = outbox
                await self._tell(Told(first))
                await self._tell(SessionOpened())
                await self._listen(call)
            finally:
                call.cancel()

    async def _listen(self, call: _Call) -> None:
        overflow = asyncio.create_task(self._overflown.wait())
        try:
            while True:
                reading = asyncio.create_task(_next(call))
                await asyncio.wait({reading, overflow}, return_when=asyncio.FIRST_COMPLETED)
                if overflow.done():
                    reading.cancel()
                    raise ProtocolError(f"more than {OUTBOX_MAX} reports wait for the scheduler")
                instruction = await reading
                if instruction is None:
                    return
                await self._tell(Told(instruction))
        finally:
            overflow.cancel()

    def _channel(self) -> grpc.aio.Channel:
        if self._endpoint.credentials is None:
            return grpc.aio.insecure_channel(self._endpoint.target, options=_KEEPALIVE)
        return grpc.aio.secure_channel(self._endpoint.target, self._endpoint.credentials, options=_KEEPALIVE)


async def _numbered(hello: Hello, outbox: "asyncio.Queue[Report]") -> AsyncIterator[session_pb2.AgentMessage]:
    """Hello and then every report, numbered from 1 without a gap."""
    yield wire.report_to_proto(1, hello)
    for sequence in itertools.count(2):
        yield wire.report_to_proto(sequence, await outbox.get())


async def _next(call: _Call) -> Instruction | None:
    """The next instruction, or None at the end of the session."""
    message = await call.read()
    return None if message is grpc.aio.EOF else wire.instruction_from_proto(message)


def _words(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__
