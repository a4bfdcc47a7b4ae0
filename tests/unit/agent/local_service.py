"""An agent with its local service on real Unix sockets, over fakes of all that it asks of the rest."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from node_agent.core.events import SessionOpened
from node_agent.core.facts import Measured, ProcessRef, TaskFacts
from node_agent.ports import MoveJob
from node_agent.rpc.hands import About, Hands, Located
from node_agent.rpc.local import LocalService
from node_agent.rpc.places import Places
from node_agent.rpc.publisher import Publisher
from node_agent.rpc.workers import TooManyCallsError
from node_agent.runtime.shell import HAND_MOVES_MAX, Outlets, Shell
from numaplace import wire
from numaplace.model.hand import Prediction
from numaplace.model.ids import JobId, MoveId, NodeId, TaskId
from numaplace.model.move import LeftReason
from numaplace.model.residency import Residency
from numaplace.model.session import Abilities
from numaplace.v1 import local_pb2_grpc
from tests.fakes.agent import GIB, Driven, FakeJournal, FakeMover, FakeTasks, facts

WITHIN_S = 60.0
ME = os.geteuid()
ALICE = 1234
"""A user who is not the one who runs the tests."""
UNFOLLOWED = facts(TaskId("cgroup:/unfollowed"), pid=77)
ALICES_UNFOLLOWED = facts(TaskId("cgroup:/alice/unfollowed"), pid=78, uid=ALICE)


class Bench:
    """An agent with three tasks (two of root, one of Alice), a shell around its core, and its local service."""

    def __init__(self) -> None:
        self.agent = Driven()
        self.agent.sweep(a=0, b=1, alices=0)
        self.agent.tell(SessionOpened())
        for task in self.agent.core.tasks.values():
            uid = ALICE if task.facts.id == "cgroup:/alices" else 0
            task.facts = facts(task.facts.id, min(task.home.nodes), uid=uid)
        followed = (task.facts for task in self.agent.core.tasks.values())
        self.tasks = FakeTasks(lambda: self.agent.now_s, *followed, UNFOLLOWED, ALICES_UNFOLLOWED)
        self.publisher = Publisher()
        self.fails: Exception | None = None
        self.before_adopting: Callable[[], None] = lambda: None
        self.servers: list[grpc.aio.Server] = []
        self.mover = FakeMover()
        outlets = Outlets(lambda _: None, self.publisher.publish)
        self.shell = Shell(self.agent.core, self.mover, FakeJournal(), self, outlets)
        self.places = Places(ME, HAND_MOVES_MAX)

    def now_s(self) -> float:
        """The shell's clock is the driver's."""
        return self.agent.now_s

    @asynccontextmanager
    async def moving(self) -> AsyncIterator[None]:
        """With the shell at work."""
        running = asyncio.create_task(self.shell.run(Abilities()))
        try:
            yield
            assert not running.done(), "the shell gave up"
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def at_work(self, count: int = 1) -> list[MoveId]:
        """Wait until so many movers have begun; their moves."""
        async with asyncio.timeout(WITHIN_S):
            while len(self.mover.jobs) < count:  # noqa: ASYNC110 - a thread sets it
                await asyncio.sleep(0.001)
        return [job.order.id for job in self.mover.jobs]

    async def at_rest(self) -> None:
        """Wait until no move by hand is at work, and each has left its place."""
        async with asyncio.timeout(WITHIN_S):
            while self.agent.core.by_hand.running or self.places.taken:  # noqa: ASYNC110 - a thread ends it
                await asyncio.sleep(0.001)

    async def _find(self, pid: int | None, cgroup: str | None, alone: bool) -> TaskFacts:  # noqa: FBT001 - see Hands
        if isinstance(self.fails, TooManyCallsError):
            raise self.fails
        return self.tasks.find(pid=pid, cgroup=cgroup, alone=alone)

    async def _locate(self, processes: tuple[ProcessRef, ...]) -> Located:
        size = GIB * len(processes)
        return Measured(Residency.of_nodes({NodeId(0): size, NodeId(1): size})), {LeftReason.PINNED: 4096}

    async def _adopt(self, by_uid: int, job: JobId, process: ProcessRef | None, cgroup: str | None) -> TaskFacts:
        self.before_adopting()
        if self.fails is not None:
            raise self.fails
        return self.tasks.adopt(job, process=process, cgroup=cgroup, by_uid=by_uid)

    async def _release(self, by_uid: int, job: JobId) -> int:
        if self.fails is not None:
            raise self.fails
        return self.tasks.release(job, by_uid=by_uid)

    async def _predict(self, job: MoveJob) -> Prediction:
        return await asyncio.to_thread(self.mover.predict, job)

    def service(self, uid: int) -> LocalService:
        """The service as one uid sees it."""
        adopt, release = partial(self._adopt, uid), partial(self._release, uid)
        hands = Hands(
            self.now_s, lambda: True, self._find, self._locate, adopt, release,
            self._predict, self.shell.move_by_hand, self.shell.cancel_by_hand,
        )  # fmt: skip
        about = About("host", "scheduler:1")
        return LocalService(uid, self.agent.core, hands, publisher=self.publisher, places=self.places, about=about)

    async def serve(self, uid: int, path: Path) -> object:
        """Serve one uid, as the bootstrap does."""
        server = grpc.aio.server(options=(("grpc.max_receive_message_length", wire.REQUEST_BYTES_MAX),))
        local_pb2_grpc.add_LocalServicer_to_server(self.service(uid), server)
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        self.servers.append(server)
        return server

    @asynccontextmanager
    async def calling(self, folder: Path, uid: int = ME) -> AsyncIterator[Any]:
        """A stub that speaks to the service of this uid, over a socket of its own."""
        path = folder / f"{uid}.sock"
        await self.serve(uid, path)
        try:
            async with grpc.aio.insecure_channel(f"unix:{path}") as channel, asyncio.timeout(WITHIN_S):
                yield local_pb2_grpc.LocalStub(channel)
        finally:
            for server in self.servers:
                await server.stop(None)


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:  # noqa: ANN401 - generated stubs carry no types
    """How a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""
