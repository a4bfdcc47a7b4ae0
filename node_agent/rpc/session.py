"""The session to the scheduler: the agent dials, says hello, sends reports in order and hears instructions.

Rules it keeps:
- A session that ends, for whatever reason, is dialled anew with jittered exponential back-off, and only one that lasted
  makes the next dial soon again. What was not sent by then is dropped: the next snapshot holds the whole truth.
- The first report after Hello is a snapshot. What the core reports between the dial and its snapshot is older than
  that and dropped.
"""

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
import structlog

from node_agent.core.events import Event, SessionClosed, SessionOpened, Told
from numaplace import wire
from numaplace.configured import ConfigurationError
from numaplace.model.session import PROTOCOL, Hello, Instruction, Report, Snapshot, Welcome
from numaplace.telemetry import events, keys
from numaplace.v1 import session_pb2, session_pb2_grpc

log = structlog.get_logger(__name__)

BACKOFF_S_MIN = 0.1
BACKOFF_S_MAX = 5.0
LASTING_S = 10.0
"""A session that lived so long was a good one; one that ended sooner may well end so again."""
WELCOME_WITHIN_S = 10.0
OUTBOX_MAX = 20_000
"""Reports waiting for a slow network; beyond them the session is given up and opened anew with a snapshot."""
MESSAGE_BYTES_MAX = 64 << 20

_OPTIONS = (
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
    """Where the scheduler listens, ``HOST:PORT``, and with which credentials; None is plaintext.

    They are asked for at each dial, so that a renewed certificate needs no restart; ConfigurationError if they cannot
    be had just now.
    """

    target: str
    credentials: Callable[[], grpc.ChannelCredentials] | None = None


class ProtocolError(Exception):
    """The scheduler said something that a session does not allow."""


_Call = grpc.aio.StreamStreamCall[session_pb2.AgentMessage, session_pb2.SchedulerMessage]


class Outbox:
    """Reports of one session on their way out. Bounded: one that overflows ends the session."""

    def __init__(self, reports_max: int) -> None:
        self._reports: asyncio.Queue[Report] = asyncio.Queue(reports_max)
        self._in_step = False
        self._overflown = asyncio.Event()

    def put(self, report: Report) -> None:
        """Send this report, unless the session cannot use it: before its snapshot, or after it has lost one."""
        self._in_step = self._in_step or isinstance(report, Snapshot)
        if not self._in_step or self._overflown.is_set():
            return
        try:
            self._reports.put_nowait(report)
        except asyncio.QueueFull:
            self._overflown.set()

    async def get(self) -> Report:
        """The next report."""
        return await self._reports.get()

    async def watch(self) -> None:
        """Raises ProtocolError once a report was lost, however stuck the writer is."""
        await self._overflown.wait()
        raise ProtocolError(f"more than {self._reports.maxsize} reports wait for the scheduler")


class SchedulerSession:
    """Keeps one session open for as long as it runs."""

    def __init__(
        self, endpoint: Endpoint, hello: Hello, tell: Callable[[Event], Awaitable[None]], outbox_max: int = OUTBOX_MAX
    ) -> None:
        self._endpoint = endpoint
        self._hello = hello
        self._tell = tell
        self._outbox_max = outbox_max
        self._outbox: Outbox | None = None

    @property
    def connected(self) -> bool:
        """Whether a session is open now."""
        return self._outbox is not None

    def send(self, report: Report) -> None:
        """Report to the scheduler; dropped without a session."""
        if self._outbox is not None:
            self._outbox.put(report)

    async def run(self) -> None:
        """Dial, talk, and dial again, until cancelled."""
        backoff_s, known = BACKOFF_S_MIN, ""
        while True:
            began_s = asyncio.get_running_loop().time()
            why = await self._talk()
            # A scheduler that stays away for days is one line, not one for every dial.
            level = logging.WARNING if self.connected or why != known else logging.DEBUG
            log.log(level, events.SESSION_ENDED, **{keys.ADDRESS: self._endpoint.target, keys.ERROR: why})
            known = why
            if self._outbox is not None:
                self._outbox = None
                await self._tell(SessionClosed())
            if asyncio.get_running_loop().time() - began_s >= LASTING_S:
                backoff_s = BACKOFF_S_MIN
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            backoff_s = min(BACKOFF_S_MAX, 2 * backoff_s)

    async def _talk(self) -> str:
        """One session from the dial to its end; returns why it ended."""
        outbox = Outbox(self._outbox_max)
        try:
            dialled = self._channel()
        except ConfigurationError as error:
            return str(error)
        async with dialled as channel:
            call = session_pb2_grpc.AgentSessionStub(channel).Session()
            parts = (outbox.watch(), self._listen(call, outbox), self._write(call, outbox))
            ends = [asyncio.create_task(part) for part in parts]
            try:
                done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                call.cancel()
                for end in ends:
                    end.cancel()
                await asyncio.gather(*ends, return_exceptions=True)
        return _why(next(end for end in ends if end in done))

    async def _write(self, call: _Call, outbox: Outbox) -> None:
        """Hello and then every report, numbered from 1 without a gap."""
        try:
            await call.write(wire.report_to_proto(1, self._hello))
            for sequence in itertools.count(2):
                await call.write(wire.report_to_proto(sequence, await outbox.get()))
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await asyncio.Event().wait()  # the call has ended, and only who reads from it is told why

    async def _listen(self, call: _Call, outbox: Outbox) -> None:
        first = await asyncio.wait_for(_next(call), WELCOME_WITHIN_S)
        if not isinstance(first, Welcome) or first.protocol != PROTOCOL:
            raise ProtocolError(f"expected a welcome of protocol {PROTOCOL}, got {first!r:.200}")
        log.info(events.SESSION_OPENED, **{keys.ADDRESS: self._endpoint.target})
        self._outbox = outbox
        await self._tell(Told(first))
        await self._tell(SessionOpened())
        while (instruction := await _next(call)) is not None:
            await self._tell(Told(instruction))

    def _channel(self) -> grpc.aio.Channel:
        if self._endpoint.credentials is None:
            return grpc.aio.insecure_channel(self._endpoint.target, options=_OPTIONS)
        return grpc.aio.secure_channel(self._endpoint.target, self._endpoint.credentials(), options=_OPTIONS)


async def _next(call: _Call) -> Instruction | None:
    """The next instruction, or None at the end of the session."""
    message = await call.read()
    return wire.instruction_from_proto(message) if isinstance(message, session_pb2.SchedulerMessage) else None


def _why(end: "asyncio.Task[None]") -> str:
    """Why a session ended, in words. Raises what is no fault of the scheduler or the network but ours."""
    if end.cancelled():
        return "the call was cancelled"
    match end.exception():
        case None:
            return "the scheduler closed it"
        case grpc.aio.AioRpcError() as error:
            return f"{error.code().name}: {error.details()}"
        case TimeoutError():
            return f"no welcome within {WELCOME_WITHIN_S:.0f} s"
        case ProtocolError() | ValueError() as error:  # a message that cannot be read, or one that cannot be written
            return str(error)
        case error:
            raise error
