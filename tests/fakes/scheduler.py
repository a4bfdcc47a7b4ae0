"""A scheduler's end of the session, over a real gRPC channel on loopback: it hears agents, and says anything.

It speaks messages, not values, so that it can say what no scheduler would.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc

from numaplace import wire
from numaplace.model.session import Instruction, PolicySet, Report, Welcome
from numaplace.v1 import session_pb2, session_pb2_grpc

WITHIN_S = 60.0
"""Nothing here takes long; a test that waits so long has failed."""

_Context = grpc.aio.ServicerContext[session_pb2.AgentMessage, session_pb2.SchedulerMessage]


@dataclass(slots=True)
class FakeSession:
    """One agent's session as the scheduler sees it."""

    context: _Context
    received: "asyncio.Queue[tuple[int, Report]]" = field(default_factory=asyncio.Queue)
    numbers: list[int] = field(default_factory=list)
    end: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    reading: asyncio.Event = field(default_factory=asyncio.Event)

    async def next(self) -> Report:
        """The next report."""
        async with asyncio.timeout(WITHIN_S):
            return (await self.received.get())[1]

    async def say(self, instruction: Instruction) -> None:
        """Say something a scheduler would."""
        await self.context.write(wire.instruction_to_proto(instruction))

    async def say_raw(self, message: session_pb2.SchedulerMessage) -> None:
        """Say anything."""
        await self.context.write(message)

    async def close(self) -> None:
        """End the session properly, and wait until the agent knows."""
        self.end.set()
        async with asyncio.timeout(WITHIN_S):
            await self.ended.wait()


class FakeScheduler(session_pb2_grpc.AgentSessionServicer):  # type: ignore[misc]  # generated stubs carry no types
    """Welcomes every agent, unless told otherwise; :meth:`session` waits for the next one."""

    def __init__(self) -> None:
        self.welcome: session_pb2.SchedulerMessage | None = wire.instruction_to_proto(Welcome(PolicySet()))
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self.reads = True
        self.dials = asyncio.Semaphore(0)
        self._sessions: asyncio.Queue[FakeSession] = asyncio.Queue()

    async def Session(  # noqa: N802 - gRPC names the methods
        self, messages: AsyncIterator[session_pb2.AgentMessage], context: _Context
    ) -> None:
        """One agent's session."""
        self.dials.release()
        session = FakeSession(context)
        if self.reads:
            session.reading.set()
        reader = asyncio.create_task(self._read(messages, session))
        try:
            if self.refusal is not None:
                await context.abort(*self.refusal)
            if self.welcome is not None:
                await context.write(self.welcome)
            await self._sessions.put(session)
            await session.end.wait()
        finally:
            reader.cancel()
            session.ended.set()

    @staticmethod
    async def _read(messages: AsyncIterator[session_pb2.AgentMessage], session: FakeSession) -> None:
        await session.reading.wait()
        async for message in messages:
            number, report = wire.report_from_proto(message)
            session.numbers.append(number)
            session.received.put_nowait((number, report))

    async def session(self) -> FakeSession:
        """The next agent's session."""
        async with asyncio.timeout(WITHIN_S):
            return await self._sessions.get()

    @asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[int]:
        """Listen on loopback; gives the port."""
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        session_pb2_grpc.add_AgentSessionServicer_to_server(self, server)
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        try:
            yield bound
        finally:
            await server.stop(None)
