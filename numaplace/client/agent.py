"""The client of this host's agent, over its Unix socket; the agent knows the caller by the socket's credentials."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from pathlib import Path

from numaplace.client import calls
from numaplace.client.channel import AsyncChannel, Channel
from numaplace.client.target import AGENT_SOCKET, agent_target
from numaplace.model.hand import HandEvent, HandMove, Prediction
from numaplace.model.ids import JobId, MoveId, TaskId
from numaplace.model.job import Task
from numaplace.model.move import MoveOutcome
from numaplace.model.policy import Policy
from numaplace.model.views import AgentStatus, LocalEvent, Shown


class AgentClient(Channel):
    """Asks the agent; every method raises NumaplaceError and what derives from it. Safe for threads.

    Root may ask for anything, others for tasks whose processes are all theirs.
    """

    def __init__(self, socket: Path = AGENT_SOCKET) -> None:
        super().__init__(agent_target(socket))

    def status(self) -> AgentStatus:
        """What the agent is and does."""
        return self.run(calls.get_status())

    def tasks(self) -> tuple[Task, ...]:
        """The followed tasks that are the caller's."""
        return self.run(calls.list_tasks())

    def show(
        self, *, task: TaskId | None = None, pid: int | None = None, cgroup: str | None = None, job: JobId | None = None
    ) -> Shown:
        """Locate a task's pages now, followed or not; give exactly one name. Raises NotFound, NotAllowed."""
        return self.run(calls.show_task(task=task, pid=pid, cgroup=cgroup, job=job))

    def adopt(self, job: JobId, *, pid: int | None = None, cgroup: str | None = None) -> Task:
        """Follow a process tree or a cgroup under this name. Raises NotFound, NotAllowed, NotNow."""
        return self.run(calls.adopt(job, pid=pid, cgroup=cgroup))

    def release(self, job: JobId) -> int:
        """Stop following what was adopted under this name: how many tasks that were."""
        return self.run(calls.release(job))

    def watch(self) -> Iterator[LocalEvent]:
        """What happens to the caller's tasks from now on."""
        return self.stream(calls.watch_local_moves())

    def move(
        self,
        what: HandMove,
        *,
        pid: int | None = None,
        cgroup: str | None = None,
        job: JobId | None = None,
        policy: Policy | None = None,
    ) -> Generator[HandEvent, None, None]:
        """Move pages by hand: the order once accepted, progress some times a second, exactly one outcome, the end.

        Closing the iterator, or ending this process, ends the move after its current batch; so does :meth:`cancel`
        with the order's id, which gets its outcome. A pid is this process alone; give exactly one name. Of the policy
        (Policy() if None) count budget, kinds and keep_interleave. A followed task goes on being followed: what is
        taken from its home by hand is brought home again, unless its policy says never.

        Raises NotFound, NotAllowed, InvalidRequest, Busy, Unavailable, and NotNow if the task is being moved already.
        """
        return self.stream(calls.move_by_hand(what, policy or Policy(), pid=pid, cgroup=cgroup, job=job))

    def predict(
        self,
        what: HandMove,
        *,
        pid: int | None = None,
        cgroup: str | None = None,
        job: JobId | None = None,
        policy: Policy | None = None,
    ) -> Prediction:
        """What :meth:`move` would do and take, from what is resident now; moves nothing, raises the same."""
        return self.run(calls.predict_move(what, policy or Policy(), pid=pid, cgroup=cgroup, job=job))

    def cancel(self, move: MoveId) -> bool:
        """End a move by hand after its current batch; False if nothing such is running."""
        return self.run(calls.cancel_local_move(move))

    def moves(self) -> tuple[MoveOutcome, ...]:
        """How the last moves of the caller's tasks ended, following or by hand, newest first."""
        return self.run(calls.list_local_moves())


class AsyncAgentClient(AsyncChannel):
    """The same from asyncio."""

    def __init__(self, socket: Path = AGENT_SOCKET) -> None:
        super().__init__(agent_target(socket))

    async def status(self) -> AgentStatus:
        """What the agent is and does."""
        return await self.run(calls.get_status())

    async def tasks(self) -> tuple[Task, ...]:
        """The followed tasks that are the caller's."""
        return await self.run(calls.list_tasks())

    async def show(
        self, *, task: TaskId | None = None, pid: int | None = None, cgroup: str | None = None, job: JobId | None = None
    ) -> Shown:
        """Locate a task's pages now, followed or not; give exactly one name. Raises NotFound, NotAllowed."""
        return await self.run(calls.show_task(task=task, pid=pid, cgroup=cgroup, job=job))

    async def adopt(self, job: JobId, *, pid: int | None = None, cgroup: str | None = None) -> Task:
        """Follow a process tree or a cgroup under this name. Raises NotFound, NotAllowed, NotNow."""
        return await self.run(calls.adopt(job, pid=pid, cgroup=cgroup))

    async def release(self, job: JobId) -> int:
        """Stop following what was adopted under this name: how many tasks that were."""
        return await self.run(calls.release(job))

    def watch(self) -> AsyncIterator[LocalEvent]:
        """What happens to the caller's tasks from now on."""
        return self.stream(calls.watch_local_moves())

    def move(
        self,
        what: HandMove,
        *,
        pid: int | None = None,
        cgroup: str | None = None,
        job: JobId | None = None,
        policy: Policy | None = None,
    ) -> AsyncGenerator[HandEvent, None]:
        """Move pages by hand, see :meth:`AgentClient.move`."""
        return self.stream(calls.move_by_hand(what, policy or Policy(), pid=pid, cgroup=cgroup, job=job))

    async def predict(
        self,
        what: HandMove,
        *,
        pid: int | None = None,
        cgroup: str | None = None,
        job: JobId | None = None,
        policy: Policy | None = None,
    ) -> Prediction:
        """What :meth:`move` would do and take, from what is resident now; moves nothing, raises the same."""
        return await self.run(calls.predict_move(what, policy or Policy(), pid=pid, cgroup=cgroup, job=job))

    async def cancel(self, move: MoveId) -> bool:
        """End a move by hand after its current batch; False if nothing such is running."""
        return await self.run(calls.cancel_local_move(move))

    async def moves(self) -> tuple[MoveOutcome, ...]:
        """How the last moves of the caller's tasks ended, following or by hand, newest first."""
        return await self.run(calls.list_local_moves())
