"""What the agent offers the processes of its own host: see protos/numaplace/v1/local.proto.

One instance serves one uid (see peers.py). Reads go to the core's state, which lives on the same event loop; whatever
asks the kernel goes through :class:`Hands`, which the bootstrap fills and which work on threads of their own. What a
caller sends is checked like any message: a name that the scheduler would not take would cost the host its session.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

import grpc

from node_agent.core.agent import AgentCore
from node_agent.core.facts import Measured, TaskFacts
from node_agent.ports import NotYoursError
from node_agent.rpc.by_hand import ByHand
from node_agent.rpc.hands import About, Hands
from node_agent.rpc.peers import may_see
from node_agent.rpc.places import Places
from node_agent.rpc.publisher import Publisher
from node_agent.rpc.targets import Context, Targets, abort, turn
from numaplace import __version__, wire
from numaplace.model.ids import JobId
from numaplace.model.job import Home, Task
from numaplace.v1 import local_pb2, local_pb2_grpc, types_pb2
from numaplace.wire import checks


class LocalService(local_pb2_grpc.LocalServicer):  # type: ignore[misc]  # generated stubs carry no types
    """The service as one uid sees it."""

    def __init__(
        self, uid: int, core: AgentCore, hands: Hands, *, publisher: Publisher, places: Places, about: About
    ) -> None:
        self._uid = uid
        self._core = core
        self._hands = hands
        self._publisher = publisher
        self._about = about
        self._targets = Targets(uid, core, hands)
        self._by_hand = ByHand(uid, core, hands, places)

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
            moves_open=len(core.orders.open_orders) + len(core.by_hand.running),
            outcomes_unacknowledged=len(core.orders.unacknowledged),
        )

    async def ListTasks(self, _request: local_pb2.ListTasksRequest, _context: object) -> local_pb2.ListTasksResponse:
        """The caller's tasks."""
        now_s = self._hands.now_s()
        mine = [task.as_task(now_s) for task in self._core.tasks.values() if may_see(self._uid, task.facts.uid)]
        return local_pb2.ListTasksResponse(tasks=[wire.task_to_proto(task) for task in mine])

    async def ShowTask(self, request: local_pb2.ShowTaskRequest, context: Context) -> local_pb2.ShowTaskResponse:
        """Locate a task's pages now; anything that runs may be asked for, followed or not."""
        target = request.WhichOneof("target")
        if target is None or not getattr(request, target):
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, "name a task, a job, a cgroup or a pid")
        facts = self._targets.followed(request) or await self._targets.found(
            request.pid or None, request.cgroup or None, context
        )
        await self._targets.demand(facts, context)
        measured, stuck = await turn(self._hands.locate(facts.processes), context)
        task = self._described(facts, measured)
        return local_pb2.ShowTaskResponse(
            task=wire.task_to_proto(task),
            locality=task.residency.locality(task.home.nodes),
            stuck=wire.left_to_proto(stuck),
        )

    async def Adopt(self, request: local_pb2.AdoptRequest, context: Context) -> types_pb2.Task:
        """Follow from now on what the caller names, if all of it is the caller's."""
        pid, cgroup = request.pid or None, request.cgroup or None
        try:
            job = JobId(checks.name(request.job, "job", checks.NAME_CHARS_MAX))
        except wire.WireError as error:
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, f"give the job another name: it {error.words}")
        if (pid is None) == (cgroup is None):
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, "name a pid or a cgroup")
        # Else its owner's policy would be ours, and its release not theirs.
        await self._targets.demand_job(job, context)
        found = await self._targets.found(pid, cgroup, context)
        await self._targets.demand(found, context)
        process = next((ref for ref in found.processes if ref.pid == pid), None)
        if process is None and pid is not None:
            await abort(context, grpc.StatusCode.NOT_FOUND, f"there is no process {pid} any more")
        # Again: while we looked, another's task may have appeared under it.
        await self._targets.demand_job(job, context)
        try:
            facts = await turn(self._hands.adopt(job, process, cgroup), context)
        except NotYoursError as error:
            await abort(context, grpc.StatusCode.PERMISSION_DENIED, str(error))
        except (LookupError, ValueError, OSError) as error:
            await abort(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))
        # One that was followed already is known by its old name until the next sweep.
        return wire.task_to_proto(replace(self._described(facts, None), job=facts.job))

    async def Release(self, request: local_pb2.ReleaseRequest, context: Context) -> local_pb2.ReleaseResponse:
        """Stop following what the caller adopted under this name; root, what anybody did."""
        try:
            released = await turn(self._hands.release(JobId(request.job)), context)
            return local_pb2.ReleaseResponse(released=released)
        except NotYoursError as error:
            await abort(context, grpc.StatusCode.PERMISSION_DENIED, str(error))
        except OSError as error:
            await abort(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))

    async def WatchMoves(
        self, _request: local_pb2.WatchLocalMovesRequest, context: Context
    ) -> AsyncIterator[local_pb2.LocalMoveEvent]:
        """What happens to the caller's tasks."""
        try:
            with self._publisher.watch(self._uid) as queue:
                await context.send_initial_metadata(())  # tells the caller that nothing is missed from now on
                while True:
                    yield wire.local_event_to_proto(await queue.get())
        except OverflowError as error:
            await abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))

    async def Move(self, request: local_pb2.HandMoveRequest, context: Context) -> None:
        """Move pages by hand; see by_hand.py."""
        await self._by_hand.move(request, context)

    async def PredictMove(self, request: local_pb2.HandMoveRequest, context: Context) -> local_pb2.Prediction:
        """What a move by hand would take now."""
        return await self._by_hand.predict(request, context)

    async def CancelMove(
        self, request: local_pb2.CancelLocalMoveRequest, _context: Context
    ) -> local_pb2.CancelLocalMoveResponse:
        """End a move by hand early."""
        return self._by_hand.cancel(request)

    async def ListMoves(
        self, _request: local_pb2.ListLocalMovesRequest, _context: Context
    ) -> local_pb2.ListLocalMovesResponse:
        """How the last moves of the caller's tasks ended."""
        return self._by_hand.outcomes()

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
