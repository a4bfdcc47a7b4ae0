"""What a local caller names (a task, a job, a cgroup, a pid), looked up, and whether the caller may ask about it.

Whatever cannot be is the end of the call, with the status code and the words that its caller gets.
"""

from collections.abc import Awaitable
from typing import NoReturn, TypeVar

import grpc

from node_agent.core.agent import AgentCore
from node_agent.core.facts import TaskFacts
from node_agent.rpc.hands import Hands
from node_agent.rpc.peers import may_see
from node_agent.rpc.workers import TooManyCallsError
from numaplace.model.ids import JobId
from numaplace.v1 import local_pb2

Context = grpc.aio.ServicerContext[object, object]
Answer = TypeVar("Answer")

NOT_FOLLOWED = "nothing of this name is followed here; name a pid or a cgroup instead"


async def abort(context: Context, code: grpc.StatusCode, words: str) -> NoReturn:
    """End the call so."""
    await context.abort(code, words)
    raise AssertionError("abort raises")


async def turn(asked: Awaitable[Answer], context: Context) -> Answer:
    """What was asked of the hands, or the end of the call if its user asks for too much at once."""
    try:
        return await asked
    except TooManyCallsError as error:
        await abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))


class Targets:
    """Looks up for one uid."""

    def __init__(self, uid: int, core: AgentCore, hands: Hands) -> None:
        self._uid = uid
        self._core = core
        self._hands = hands

    def followed(self, request: local_pb2.ShowTaskRequest) -> TaskFacts | None:
        """The followed task that is named, by whatever name."""
        target = request.WhichOneof("target")
        for facts in (task.facts for task in self._core.tasks.values()):
            named = {"task": facts.id, "job": facts.job, "cgroup": facts.cgroup}.get(target or "")
            if named is not None and named == getattr(request, target or "task"):
                return facts
            if target == "pid" and any(process.pid == request.pid for process in facts.processes):
                return facts
        return None

    def of_job(self, job: JobId) -> tuple[TaskFacts, ...]:
        """The followed tasks of this name."""
        return tuple(task.facts for task in self._core.tasks.values() if task.facts.job == job)

    async def found(self, pid: int | None, cgroup: str | None, context: Context, *, alone: bool = False) -> TaskFacts:
        """What runs there now, followed or not: a process with its descendants, or a cgroup with all below it.

        ``alone``: without its descendants.
        """
        if (pid is None) == (cgroup is None):
            await abort(context, grpc.StatusCode.NOT_FOUND, NOT_FOLLOWED)
        try:
            return await turn(self._hands.find(pid, cgroup, alone), context)
        except (LookupError, ValueError, OSError) as error:
            await abort(context, grpc.StatusCode.NOT_FOUND, str(error))

    async def demand(self, facts: TaskFacts, context: Context) -> None:
        """The caller's own, or the end of the call."""
        if not may_see(self._uid, facts.uid):
            await abort(context, grpc.StatusCode.PERMISSION_DENIED, "some of its processes belong to another user")

    async def demand_job(self, job: JobId, context: Context) -> None:
        """All tasks of this name are the caller's own, or the end of the call."""
        for facts in self.of_job(job):
            await self.demand(facts, context)
