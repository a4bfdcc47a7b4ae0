"""The real service for tests, in this process: shell, SQLite and gRPC on a free loopback port; and an agent's hand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc

from numaplace import wire
from numaplace.configuration import load_settings
from numaplace.model.ids import HostId
from numaplace.model.session import Hello, Report, Welcome
from numaplace.model.session import Instruction as Message
from numaplace.v1 import session_pb2, session_pb2_grpc
from scheduler.bootstrap import running
from scheduler.runtime.shell import Shell
from scheduler.settings import SchedulerSettings

M = TypeVar("M")
WITHIN_S = 60.0


@dataclass(slots=True)
class Service:
    """A running scheduler."""

    shell: Shell
    port: int

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"localhost:{self.port}"


@contextlib.asynccontextmanager
async def service(folder: Path, **flags: Any) -> AsyncIterator[Service]:  # noqa: ANN401 - settings of any section
    """A scheduler with its database in this folder, from start to stop."""
    wanted = {"listen": "127.0.0.1:0", "drain_s": 0, "store": {"path": folder / "scheduler.db"}, **flags}
    settings = load_settings(SchedulerSettings, None, wanted)
    async with running(settings) as scheduler:
        yield Service(scheduler.shell, scheduler.port)


@dataclass(slots=True)
class Hand:
    """An agent's end of a session, moved by a test."""

    channel: grpc.aio.Channel
    call: "grpc.aio.StreamStreamCall[session_pb2.AgentMessage, session_pb2.SchedulerMessage]"
    heard: list[Message] = field(default_factory=list)
    sequence: int = 0

    async def say(self, report: Report) -> None:
        """Report."""
        self.sequence += 1
        await self.call.write(wire.report_to_proto(self.sequence, report))

    async def hear(self, kind: type[M], holds: Callable[[M], bool] = lambda _: True) -> M:
        """The next instruction of this kind; those before it are noted in ``heard``."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                message = await self.call.read()
                if not isinstance(message, session_pb2.SchedulerMessage):
                    raise await self.error()
                instruction = wire.instruction_from_proto(message)
                self.heard.append(instruction)
                if isinstance(instruction, kind) and holds(instruction):
                    return instruction

    async def error(self) -> grpc.aio.AioRpcError:
        """How the session ended."""
        async with asyncio.timeout(WITHIN_S):
            code, words = await self.call.code(), await self.call.details()
        return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), words)


@contextlib.asynccontextmanager
async def agent(
    address: str, host: str = "h1", boot_id: str = "b1", credentials: grpc.ChannelCredentials | None = None
) -> AsyncIterator[Hand]:
    """An agent that has said hello and been welcomed."""
    async with dialled(address, credentials) as hand:
        await hand.say(Hello(HostId(host), "i1", boot_id))
        await hand.hear(Welcome)
        yield hand


@contextlib.asynccontextmanager
async def dialled(address: str, credentials: grpc.ChannelCredentials | None = None) -> AsyncIterator[Hand]:
    """A session on which nothing was said yet."""
    channel = (
        grpc.aio.insecure_channel(address) if credentials is None else grpc.aio.secure_channel(address, credentials)
    )
    async with channel:
        hand = Hand(channel, session_pb2_grpc.AgentSessionStub(channel).Session())
        try:
            yield hand
        finally:
            hand.call.cancel()
