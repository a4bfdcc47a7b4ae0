"""The session with one agent: its reports become events, what the state says to it goes out in order.

A session is the agent's stream. It ends when either side ends it, when the agent says something that cannot be
understood, or when it takes its instructions so slowly that more than a bound of them wait.
"""

import asyncio
from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import DecodeError

from numaplace import wire
from numaplace.model.session import Hello, Report
from numaplace.model.session import Instruction as Message
from numaplace.v1 import session_pb2
from scheduler.ports import Desk, Observer
from scheduler.rpc.errors import RefusalError, abort, closed, invalid
from scheduler.rpc.identity import caller_of, require_host
from scheduler.state.events import AgentConnected, AgentReported, SessionId
from scheduler.state.instructions import CloseCause

INSTRUCTIONS_WAITING_MAX = 20_000
HELLO_WITHIN_S = 10.0
LAST_WRITE_WITHIN_S = 5.0
SERVICE = session_pb2.DESCRIPTOR.services_by_name["AgentSession"].full_name

if TYPE_CHECKING:
    _Context = grpc.aio.ServicerContext[bytes, session_pb2.SchedulerMessage]


class AgentLine:
    """What is to be said to one agent, and the end of it."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Message | RefusalError | None] = asyncio.Queue()
        self._ended = False
        self._hung_up = False

    def send(self, message: Message) -> None:
        """Say this, or end the session if the agent takes too little of what was said."""
        if self._ended:
            return
        if self._queue.qsize() >= INSTRUCTIONS_WAITING_MAX:
            words = f"more than {INSTRUCTIONS_WAITING_MAX} instructions wait for this agent; dial again"
            self._end(RefusalError(grpc.StatusCode.RESOURCE_EXHAUSTED, "AGENT_TOO_SLOW", words))
        else:
            self._queue.put_nowait(message)

    def close(self, cause: CloseCause, words: str) -> None:
        """Say what was said so far, then end the session."""
        self._end(closed(cause, words))

    def _end(self, refusal: RefusalError) -> None:
        if not self._ended:
            self._ended = True
            self._queue.put_nowait(refusal)

    def hang_up(self) -> None:
        """Nothing more is to be said, not even what waits."""
        self._ended = self._hung_up = True
        self._queue.put_nowait(None)

    async def next(self) -> Message | None:
        """The next instruction, None after hanging up; raises RefusalError at the end."""
        item = await self._queue.get()
        if self._hung_up:
            return None
        if isinstance(item, RefusalError):
            raise item
        return item


class AgentSessions:
    """The service that agents dial; ``tls``: whether they show certificates."""

    def __init__(self, desk: Desk, observer: Observer, *, tls: bool) -> None:
        self._desk = desk
        self._observer = observer
        self._tls = tls

    async def Session(self, _requests: object, context: "_Context") -> None:
        """One agent's session, from its hello to its end."""
        try:
            hello = await self._hello(context)
            line = AgentLine()
            session = self._desk.attach(line)
            try:
                await self._desk.post(AgentConnected(session, hello))
                await self._talk(session, line, context)
            finally:
                self._desk.detach(session)
        except wire.WireError as error:
            self._observer.refused(context.peer(), str(error))
            await abort(context, invalid(str(error)))
        except RefusalError as refusal:
            self._observer.refused(context.peer(), refusal.words)
            await abort(context, refusal)

    async def _hello(self, context: "_Context") -> Hello:
        try:
            message = await asyncio.wait_for(_read(context), HELLO_WITHIN_S)
        except TimeoutError:
            raise invalid(f"no hello came within {HELLO_WITHIN_S:.0f} s") from None
        if message is None:
            raise invalid("the session ended before its hello")
        sequence, report = message
        if not isinstance(report, Hello) or sequence != 1:
            raise invalid("a session begins with hello, as message 1")
        require_host(caller_of(context, tls=self._tls), report.host)
        return report

    async def _talk(self, session: SessionId, line: AgentLine, context: "_Context") -> None:
        """Listen and speak at once, until either ends."""
        listening = asyncio.create_task(self._listen(session, context))
        speaking = asyncio.create_task(self._speak(line, context))
        try:
            await asyncio.wait({listening, speaking}, return_when=asyncio.FIRST_COMPLETED)
            # A write must not be cancelled half-way: gRPC could then send no status, and the agent would wait for it.
            line.hang_up()
            await asyncio.wait({speaking}, timeout=LAST_WRITE_WITHIN_S)
            for task in (listening, speaking):
                if task.done():
                    task.result()
        finally:
            for task in (listening, speaking):
                task.cancel()
            await asyncio.gather(listening, speaking, return_exceptions=True)

    async def _listen(self, session: SessionId, context: "_Context") -> None:
        while (message := await _read(context)) is not None:
            await self._desk.post(AgentReported(session, *message))

    async def _speak(self, line: AgentLine, context: "_Context") -> None:
        while (message := await line.next()) is not None:
            await context.write(wire.instruction_to_proto(message))


async def _read(context: "_Context") -> tuple[int, Report] | None:
    """The agent's next report and its number, None at the end; raises WireError for what is neither."""
    sent = await context.read()
    if not isinstance(sent, bytes):
        return None
    try:
        message = session_pb2.AgentMessage.FromString(sent)
    except DecodeError as error:
        raise wire.WireError("message", f"{len(sent)} bytes are no AgentMessage: {error}") from error
    return wire.report_from_proto(message)


def add_to(server: grpc.aio.Server, sessions: AgentSessions) -> None:
    """Serve sessions. Messages arrive as bytes, for gRPC has no status for those that it cannot read itself."""
    handler: grpc.RpcMethodHandler[bytes, session_pb2.SchedulerMessage] = grpc.stream_stream_rpc_method_handler(
        sessions.Session, request_deserializer=None, response_serializer=session_pb2.SchedulerMessage.SerializeToString
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Session": handler}),))
