"""The session with one agent: its reports become events, what the state says to it goes out in order.

A session is the agent's stream. It ends when either side ends it, when the agent says something that cannot be
understood, or when it takes its instructions so slowly that more than a bound of them wait.
"""

import asyncio
from typing import TYPE_CHECKING

import grpc

from numaplace import wire
from numaplace.model.session import Hello
from numaplace.model.session import Instruction as Message
from numaplace.v1 import session_pb2, session_pb2_grpc
from scheduler.ports import Desk, Observer
from scheduler.rpc.errors import RefusalError, abort, closed, invalid
from scheduler.rpc.identity import caller_of, require_host
from scheduler.state.events import AgentConnected, AgentReported, SessionId
from scheduler.state.instructions import CloseCause

INSTRUCTIONS_WAITING_MAX = 20_000
HELLO_WITHIN_S = 10.0

if TYPE_CHECKING:
    _Context = grpc.aio.ServicerContext[session_pb2.AgentMessage, session_pb2.SchedulerMessage]


class AgentLine:
    """What is to be said to one agent, and the end of it."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Message | RefusalError] = asyncio.Queue()
        self._ended = False

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

    async def next(self) -> Message:
        """The next instruction; raises RefusalError at the end."""
        item = await self._queue.get()
        if isinstance(item, RefusalError):
            raise item
        return item


class AgentSessions(session_pb2_grpc.AgentSessionServicer):  # type: ignore[misc] # generated code is untyped
    """The service that agents dial."""

    def __init__(self, desk: Desk, observer: Observer) -> None:
        self._desk = desk
        self._observer = observer

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
            message = await asyncio.wait_for(context.read(), HELLO_WITHIN_S)
        except TimeoutError:
            raise invalid(f"no hello came within {HELLO_WITHIN_S:.0f} s") from None
        if not isinstance(message, session_pb2.AgentMessage):
            raise invalid("the session ended before its hello")
        sequence, report = wire.report_from_proto(message)
        if not isinstance(report, Hello) or sequence != 1:
            raise invalid("a session begins with hello, as message 1")
        require_host(caller_of(context), report.host)
        return report

    async def _talk(self, session: SessionId, line: AgentLine, context: "_Context") -> None:
        """Listen and speak at once, until either ends."""
        listening = asyncio.create_task(self._listen(session, context))
        speaking = asyncio.create_task(self._speak(line, context))
        try:
            done, _ = await asyncio.wait({listening, speaking}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (listening, speaking):
                task.cancel()
            await asyncio.gather(listening, speaking, return_exceptions=True)

    async def _listen(self, session: SessionId, context: "_Context") -> None:
        while isinstance(message := await context.read(), session_pb2.AgentMessage):
            sequence, report = wire.report_from_proto(message)
            await self._desk.post(AgentReported(session, sequence, report))

    async def _speak(self, line: AgentLine, context: "_Context") -> None:
        while True:
            await context.write(wire.instruction_to_proto(await line.next()))
