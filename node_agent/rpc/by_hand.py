"""Moves by hand for local callers: what may be asked for, by whom, of what; and its story as a stream.

A pid means this process alone, as migratepages(8) has it; a tree is moved by the name under which it is followed. The
rest of the service shows whole trees. Pages that strangers map are theirs too: the kernel asks for CAP_SYS_NICE before
it moves them (MPOL_MF_MOVE_ALL), which the agent has and most of its callers have not, so only root may ask for them.
"""

import asyncio
import uuid
from collections.abc import Callable
from contextlib import aclosing

import grpc

from node_agent.core.agent import AgentCore
from node_agent.core.events import HandMoveAsked
from node_agent.core.facts import TaskFacts
from node_agent.core.legs import refusal
from node_agent.ports import MoveJob, NotNowError
from node_agent.rpc.hands import Hands
from node_agent.rpc.peers import may_see
from node_agent.rpc.places import Places
from node_agent.rpc.targets import NOT_FOLLOWED, Context, Targets, abort, turn
from node_agent.rpc.workers import TooManyCallsError
from numaplace import wire
from numaplace.kernel.errors import Denied, KernelCallError, ProcessGone
from numaplace.model.hand import HAND_PREFIX, HandMove, PickedPages, Transfer
from numaplace.model.ids import JobId, MoveId
from numaplace.model.move import MoveOrder
from numaplace.model.policy import Policy
from numaplace.model.topology import Topology
from numaplace.v1 import local_pb2

INVALID = grpc.StatusCode.INVALID_ARGUMENT
ROOT = 0


class ByHand:
    """What one uid may do by hand."""

    def __init__(self, uid: int, core: AgentCore, hands: Hands, places: Places) -> None:
        self._uid = uid
        self._core = core
        self._hands = hands
        self._places = places
        self._targets = Targets(uid, core, hands)

    async def move(self, request: local_pb2.HandMoveRequest, context: Context) -> None:
        """Move, and tell the order, progress and the outcome; ends the move when the caller goes away."""
        leave = await self._enter(context)
        try:
            asked = await self._asked(request, context)
        except BaseException:
            leave()
            raise
        try:
            async with aclosing(self._hands.move(asked, leave)) as story:
                async for what in story:
                    await context.write(wire.local_event_to_proto(what))
        except NotNowError as error:
            await abort(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))

    async def predict(self, request: local_pb2.HandMoveRequest, context: Context) -> local_pb2.Prediction:
        """What moving would take now."""
        leave = await self._enter(context)
        try:
            asked = await self._asked(request, context)
            job = MoveJob(asked.order, asked.task, self._core.topology, asked.what)
            return wire.prediction_to_proto(await turn(self._hands.predict(job), context))
        except KernelCallError as error:
            code = grpc.StatusCode.FAILED_PRECONDITION
            if isinstance(error, ProcessGone):
                code = grpc.StatusCode.NOT_FOUND
            elif isinstance(error, Denied):
                code = grpc.StatusCode.PERMISSION_DENIED
            await abort(context, code, str(error))
        finally:
            leave()

    def cancel(self, request: local_pb2.CancelLocalMoveRequest) -> local_pb2.CancelLocalMoveResponse:
        """End one of the caller's moves by hand early; others are not there for them."""
        move = MoveId(request.move)
        asked = self._core.by_hand.running.get(move)
        mine = asked is not None and may_see(self._uid, asked.task.uid)
        return local_pb2.CancelLocalMoveResponse(cancelled=mine and self._hands.cancel(move, "cancelled: as asked for"))

    def outcomes(self) -> local_pb2.ListLocalMovesResponse:
        """How the last moves of the caller's tasks ended, newest first."""
        ended = self._core.history.outcomes(lambda uid: may_see(self._uid, uid))
        return local_pb2.ListLocalMovesResponse(outcomes=map(wire.outcome_to_proto, ended))

    async def _enter(self, context: Context) -> Callable[[], None]:
        try:
            return self._places.enter(self._uid)
        except TooManyCallsError as error:
            await abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))

    async def _asked(self, request: local_pb2.HandMoveRequest, context: Context) -> HandMoveAsked:
        """The move as the caller means it, of what is the caller's; or the end of the call."""
        try:
            # A long list of pages takes a moment, which belongs to the callers of others.
            what, policy = await asyncio.to_thread(wire.hand_move_from_proto, request)
        except wire.WireError as error:
            await abort(context, INVALID, str(error))
        topology = self._core.topology
        if not topology.nodes:
            await abort(context, grpc.StatusCode.FAILED_PRECONDITION, "the agent has only just started; ask again")
        if isinstance(what, PickedPages) and what.shared and not may_see(self._uid, ROOT):
            words = "pages that strangers map move for root alone (MPOL_MF_MOVE_ALL): ask without them, or as root"
            await abort(context, grpc.StatusCode.PERMISSION_DENIED, words)
        facts = await self._target(request, context)
        try:
            order = await asyncio.to_thread(_order, what, facts, policy, topology)
        except ValueError as error:
            await abort(context, INVALID, str(error))
        return HandMoveAsked(order, facts, what)

    async def _target(self, request: local_pb2.HandMoveRequest, context: Context) -> TaskFacts:
        target = request.WhichOneof("target")
        if target is None or not getattr(request, target):
            await abort(context, INVALID, "name a pid, a cgroup or a job")
        if target == "job":
            facts = await self._task_of(JobId(request.job), context)
        else:
            facts = await self._targets.found(request.pid or None, request.cgroup or None, context, alone=True)
        await self._targets.demand(facts, context)
        return facts

    async def _task_of(self, job: JobId, context: Context) -> TaskFacts:
        tasks = self._targets.of_job(job)
        await self._targets.demand_job(job, context)
        if not tasks:
            await abort(context, grpc.StatusCode.NOT_FOUND, NOT_FOLLOWED)
        if len(tasks) > 1:
            words = f"{len(tasks)} tasks here are called so; name one of them by its pid or cgroup"
            await abort(context, INVALID, words)
        return tasks[0]


def _order(what: HandMove, facts: TaskFacts, policy: Policy, topology: Topology) -> MoveOrder:
    """The order of a move that can be tried. Raises ValueError, in words, for one that cannot."""
    refused = refusal(what, facts, topology)
    if refused is not None:
        raise ValueError(refused)
    move = MoveId(f"{HAND_PREFIX}{uuid.uuid4().hex[:12]}")
    match what:
        case Transfer(sources, targets):
            return MoveOrder(move, facts.id, targets, sources, 0, policy)
        case PickedPages():
            return MoveOrder(move, facts.id, frozenset(what.nodes), frozenset(), 0, policy)
