"""The client of this host's agent, over its Unix socket; the agent knows the caller by the socket's credentials."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from numaplace.client import calls
from numaplace.client.channel import AsyncChannel, Channel
from numaplace.client.target import AGENT_SOCKET, agent_target
from numaplace.model.ids import JobId, TaskId
from numaplace.model.job import Task
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
