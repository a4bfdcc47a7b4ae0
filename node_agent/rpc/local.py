"""What the agent offers the processes of its own host: see protos/numaplace/v1/local.proto.

One instance serves one uid (see peers.py). Reads go to the core's state, which lives on the same event loop; whatever
asks the kernel goes through :class:`Hands`, which the bootstrap fills and which work on threads of their own. What a
caller sends is checked like any message: a name that the scheduler would not take would cost the host its session.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NoReturn, TypeVar

import grpc

from node_agent.core.agent import AgentCore
from node_agent.core.facts import Measured, ProcessRef, TaskFacts
from node_agent.ports import NotYoursError
from node_agent.rpc.peers import may_see
from node_agent.rpc.workers import TooManyCallsError
from numaplace import __version__, wire
from numaplace.model.ids import JobId, MoveId, TaskId
from numaplace.model.job import Home, HomeChange, Task
from numaplace.model.move import LeftReason, MoveOrder, MoveOutcome, MoveProgress
from numaplace.model.session import Report
from numaplace.v1 import local_pb2, local_pb2_grpc, types_pb2
from numaplace.wire import checks

WATCHERS_OF_UID_MAX = 16
"""Streams of one user; peers.py bounds the users, so that nobody can keep others from watching."""
EVENTS_MAX = 1024
OWNERS_MAX = 4096
"""Moves whose task's owner one watcher remembers; the events of an older one may go unseen by its owner."""

Answer = TypeVar("Answer")
Located = tuple[Measured, Mapping[LeftReason, int]]


@dataclass(frozen=True, slots=True)
class Hands:
    """What the service of one uid asks of the rest of the agent.

    ``find`` and ``adopt`` raise LookupError or ValueError, ``adopt`` and ``release`` NotYoursError, and all that wait
    for the kernel TooManyCallsError. What is adopted is the process that was looked at, not its pid.
    """

    now_s: Callable[[], float]
    connected: Callable[[], bool]
    find: Callable[[int | None, str | None], Awaitable[TaskFacts]]
    locate: Callable[[tuple[ProcessRef, ...]], Awaitable[Located]]
    adopt: Callable[[JobId, ProcessRef | None, str | None], Awaitable[TaskFacts]]
    release: Callable[[JobId], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class About:
    """The host's name and the scheduler's address, for the status."""

    host: str
    scheduler: str


class Publisher:
    """Hands every change, order, progress and outcome to whoever watches; a watcher that is too slow loses some."""

    def __init__(self) -> None:
        self._watchers: dict[asyncio.Queue[Report | MoveOrder], int] = {}

    def publish(self, what: Report | MoveOrder) -> None:
        """Tell all watchers."""
        for queue in self._watchers:
            if not queue.full():
                queue.put_nowait(what)

    @contextmanager
    def watch(self, uid: int) -> Iterator[asyncio.Queue[Report | MoveOrder]]:
        """A queue of everything from now on. Raises OverflowError if too many of this user watch already."""
        if sum(owner == uid for owner in self._watchers.values()) >= WATCHERS_OF_UID_MAX:
            raise OverflowError(f"{WATCHERS_OF_UID_MAX} watchers of one user are the limit")
        queue: asyncio.Queue[Report | MoveOrder] = asyncio.Queue(EVENTS_MAX)
        self._watchers[queue] = uid
        try:
            yield queue
        finally:
            del self._watchers[queue]


class LocalService(local_pb2_grpc.LocalServicer):  # type: ignore[misc]  # generated stubs carry no types
    """The service as one uid sees it."""

    def __init__(self, uid: int, core: AgentCore, hands: Hands, publisher: Publisher, about: About) -> None:
        self._uid = uid
        self._core = core
        self._hands = hands
        self._publisher = publisher
        self._about = about

    async def GetStatus(self, _request: local_pb2.GetStatusRequest, _context: object) -> local_pb2.AgentStatus:
        """What the agent is and does."""
        core = self._core
        return local_pb2.AgentStatus(
            host=self._about.host,
            version=__version__,
            topology=wire.topology_to_proto(core.topology),
            abilities=wire.abilities_to_proto(core.abilities),
            load=wire.load_to_proto(core.load),
            connected=self._hands.connected(),
            scheduler=self._about.scheduler,
            tasks=len(core.tasks),
            threads=sum(task.facts.threads for task in core.tasks.values()),
            moves_open=len(core.orders.open_orders),
            outcomes_unacknowledged=len(core.orders.unacknowledged),
        )

    async def ListTasks(self, _request: local_pb2.ListTasksRequest, _context: object) -> local_pb2.ListTasksResponse:
        """The caller's tasks."""
        now_s = self._hands.now_s()
        mine = [task.as_task(now_s) for task in self._core.tasks.values() if may_see(self._uid, task.facts.uid)]
        return local_pb2.ListTasksResponse(tasks=[wire.task_to_proto(task) for task in mine])

    async def ShowTask(self, request: local_pb2.ShowTaskRequest, context: "_Context") -> local_pb2.ShowTaskResponse:
        """Locate a task's pages now; anything that runs may be asked for, followed or not."""
        target = request.WhichOneof("target")
        if target is None or not getattr(request, target):
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, "name a task, a job, a cgroup or a pid")
        facts = self._followed(request) or await self._found(request.pid or None, request.cgroup or None, context)
        await self._demand(facts, context)
        measured, stuck = await _turn(self._hands.locate(facts.processes), context)
        task = self._described(facts, measured)
        return local_pb2.ShowTaskResponse(
            task=wire.task_to_proto(task),
            locality=task.residency.locality(task.home.nodes),
            stuck=wire.left_to_proto(stuck),
        )

    async def Adopt(self, request: local_pb2.AdoptRequest, context: "_Context") -> types_pb2.Task:
        """Follow from now on what the caller names, if all of it is the caller's."""
        pid, cgroup = request.pid or None, request.cgroup or None
        try:
            job = JobId(checks.name(request.job, "job", checks.NAME_CHARS_MAX))
        except wire.WireError as error:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, f"give the job another name: it {error.words}")
        if (pid is None) == (cgroup is None):
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, "name a pid or a cgroup")
        await self._demand_job(job, context)  # else its owner's policy would be ours, and its release not theirs
        found = await self._found(pid, cgroup, context)
        await self._demand(found, context)
        process = next((ref for ref in found.processes if ref.pid == pid), None)
        if process is None and pid is not None:
            await _abort(context, grpc.StatusCode.NOT_FOUND, f"there is no process {pid} any more")
        await self._demand_job(job, context)  # again: while we looked, another's task may have appeared under it
        try:
            facts = await _turn(self._hands.adopt(job, process, cgroup), context)
        except NotYoursError as error:
            await _abort(context, grpc.StatusCode.PERMISSION_DENIED, str(error))
        except (LookupError, ValueError, OSError) as error:
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return wire.task_to_proto(self._described(facts, None))

    async def Release(self, request: local_pb2.ReleaseRequest, context: "_Context") -> local_pb2.ReleaseResponse:
        """Stop following what the caller adopted under this name; root, what anybody did."""
        try:
            released = await _turn(self._hands.release(JobId(request.job)), context)
            return local_pb2.ReleaseResponse(released=released)
        except NotYoursError as error:
            await _abort(context, grpc.StatusCode.PERMISSION_DENIED, str(error))
        except OSError as error:
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))

    async def WatchMoves(
        self, _request: local_pb2.WatchLocalMovesRequest, context: "_Context"
    ) -> AsyncIterator[local_pb2.LocalMoveEvent]:
        """What happens to the caller's tasks."""
        seen = _Owners(self._core)
        try:
            with self._publisher.watch(self._uid) as queue:
                await context.send_initial_metadata(())  # tells the caller that nothing is missed from now on
                while True:
                    what = await queue.get()
                    event = _event(what)
                    if event is not None and may_see(self._uid, seen.owner_uid(what)):
                        yield event
        except OverflowError as error:
            await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))

    def _followed(self, request: local_pb2.ShowTaskRequest) -> TaskFacts | None:
        target = request.WhichOneof("target")
        for facts in (task.facts for task in self._core.tasks.values()):
            named = {"task": facts.id, "job": facts.job, "cgroup": facts.cgroup}.get(target or "")
            if named is not None and named == getattr(request, target or "task"):
                return facts
            if target == "pid" and any(process.pid == request.pid for process in facts.processes):
                return facts
        return None

    async def _found(self, pid: int | None, cgroup: str | None, context: "_Context") -> TaskFacts:
        if (pid is None) == (cgroup is None):
            await _abort(context, grpc.StatusCode.NOT_FOUND, "not followed here; name a pid or a cgroup instead")
        try:
            return await _turn(self._hands.find(pid, cgroup), context)
        except (LookupError, ValueError, OSError) as error:
            await _abort(context, grpc.StatusCode.NOT_FOUND, str(error))

    async def _demand_job(self, job: JobId, context: "_Context") -> None:
        for task in tuple(self._core.tasks.values()):
            if task.facts.job == job:
                await self._demand(task.facts, context)

    async def _demand(self, facts: TaskFacts, context: "_Context") -> None:
        if not may_see(self._uid, facts.uid):
            await _abort(context, grpc.StatusCode.PERMISSION_DENIED, "some of its processes belong to another user")

    def _described(self, facts: TaskFacts, measured: Measured | None) -> Task:
        followed = self._core.tasks.get(facts.id)
        if followed is not None:
            task = followed.as_task(self._hands.now_s())
        else:
            home = self._core.topology.home_of(facts.cpus)
            age_s = max(0.0, self._hands.now_s() - facts.started_s)
            task = Task(
                facts.id, facts.job, facts.command, facts.cpus, facts.mems, Home(home, 1), home,
                len(facts.processes), facts.threads, age_s, cgroup=facts.cgroup, uid=facts.uid,
            )  # fmt: skip
        if measured is None:
            return task
        return replace(
            task,
            residency=measured.residency,
            memory_policy=measured.memory_policy,
            policy_nodes=measured.policy_nodes,
        )


_Context = grpc.aio.ServicerContext[object, object]


async def _abort(context: _Context, code: grpc.StatusCode, words: str) -> NoReturn:
    await context.abort(code, words)
    raise AssertionError("abort raises")


async def _turn(asked: Awaitable[Answer], context: _Context) -> Answer:
    """What was asked of the hands, or the end of the call if its user asks for too much at once."""
    try:
        return await asked
    except TooManyCallsError as error:
        await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))


class _Owners:
    """Whose task an event is about, also after the task is gone; unknown ones are root's."""

    def __init__(self, core: AgentCore) -> None:
        self._core = core
        self._of_move: dict[MoveId, int] = {}
        for order in core.orders.open_orders:
            self._remember(order.id, order.task)

    def owner_uid(self, what: Report | MoveOrder) -> int:
        """The owner's uid; each event in turn."""
        match what:
            case MoveOrder(move, task):
                return self._remember(move, task)
            case MoveProgress(move):
                return self._of_move.get(move, 0)
            case MoveOutcome(move, task):
                known = self._of_move.pop(move, None)
                return self._uid_of(task) if known is None else known
            case HomeChange(task):
                return self._uid_of(task)
        return 0

    def _remember(self, move: MoveId, task: TaskId) -> int:
        uid = self._of_move[move] = self._uid_of(task)
        if len(self._of_move) > OWNERS_MAX:
            del self._of_move[next(iter(self._of_move))]
        return uid

    def _uid_of(self, task: TaskId) -> int:
        followed = self._core.tasks.get(task)
        return followed.facts.uid if followed else 0


def _event(what: Report | MoveOrder) -> local_pb2.LocalMoveEvent | None:
    match what:
        case MoveOrder():
            return local_pb2.LocalMoveEvent(accepted=wire.order_to_proto(what))
        case MoveProgress():
            return local_pb2.LocalMoveEvent(progress=wire.progress_to_proto(what))
        case MoveOutcome():
            return local_pb2.LocalMoveEvent(finished=wire.outcome_to_proto(what))
        case HomeChange():
            return local_pb2.LocalMoveEvent(changed=wire.change_to_proto(what))
    return None
