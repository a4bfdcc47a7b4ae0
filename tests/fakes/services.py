"""A scheduler and an agent as their callers see them: real gRPC servers over views that a test sets.

They keep what they are told (policies, cancellations, adoptions) and refuse as the real services do, with reasons.
"""

# ruff: noqa: N802 - gRPC chooses the names of methods

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import grpc

from numaplace import wire
from numaplace.model.hand import HandEvent, HandMove, Prediction
from numaplace.model.ids import HostId, JobId, MoveId
from numaplace.model.job import Task
from numaplace.model.move import MoveOrder, MoveOutcome, MoveState
from numaplace.model.policy import Policy
from numaplace.model.views import AgentStatus, Explanation, Host, Job, LocalEvent, Move, NamedPolicy, Shown
from numaplace.v1 import local_pb2 as local
from numaplace.v1 import local_pb2_grpc, numaplace_pb2_grpc, types_pb2
from numaplace.v1 import numaplace_pb2 as pb
from numaplace.wire import names

Context = Any
"""grpc.ServicerContext; its stubs differ between releases."""


@dataclass
class Cluster:
    """What the fake scheduler knows. ``calls``: the methods that were called; ``unavailable``: how many to refuse."""

    hosts: dict[HostId, Host] = field(default_factory=dict)
    jobs: dict[JobId, Job] = field(default_factory=dict)
    moves: dict[MoveId, Move] = field(default_factory=dict)
    explanations: dict[JobId, Explanation] = field(default_factory=dict)
    policies: dict[JobId | None, Policy] = field(default_factory=lambda: {None: Policy()})
    page_size: int = 500
    calls: list[str] = field(default_factory=list)
    unavailable: int = 0
    delay: threading.Event | None = None


def refuse(context: Context, code: grpc.StatusCode, words: str, reason: str) -> NoReturn:
    """End the call as the real services do."""
    context.set_trailing_metadata(((wire.DETAILS_KEY, wire.error_details(code.value[0], words, reason)),))
    context.abort(code, words)
    raise AssertionError("abort raises")


class FakeScheduler(
    numaplace_pb2_grpc.HostsServicer,  # type: ignore[misc]  # generated stubs carry no types
    numaplace_pb2_grpc.JobsServicer,  # type: ignore[misc]  # the same
    numaplace_pb2_grpc.MovesServicer,  # type: ignore[misc]  # the same
    numaplace_pb2_grpc.PoliciesServicer,  # type: ignore[misc]  # the same
):
    """Hosts, jobs, moves and policies of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def _called(self, method: str, context: Context) -> None:
        self._cluster.calls.append(method)
        if self._cluster.unavailable > 0:
            self._cluster.unavailable -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "starting")
        if self._cluster.delay is not None:
            self._cluster.delay.wait(10)

    def _page(self, items: list[Any], request: Any) -> tuple[list[Any], str]:  # noqa: ANN401 - any list, any request
        start = int(request.page_token or 0)
        end = start + min(request.page_size, self._cluster.page_size)
        return items[start:end], str(end) if end < len(items) else ""

    def ListHosts(self, request: pb.ListHostsRequest, context: Context) -> pb.ListHostsResponse:
        """All hosts."""
        self._called("ListHosts", context)
        page, token = self._page(list(self._cluster.hosts.values()), request)
        return pb.ListHostsResponse(hosts=map(wire.host_to_proto, page), next_page_token=token)

    def GetHost(self, request: pb.GetHostRequest, context: Context) -> pb.Host:
        """One host."""
        self._called("GetHost", context)
        host = names.host_id(request.name, "name")
        if host not in self._cluster.hosts:
            refuse(context, grpc.StatusCode.NOT_FOUND, f"no host is called {host}", "HOST_NOT_FOUND")
        return wire.host_to_proto(self._cluster.hosts[host])

    def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        """All jobs, or those on one host."""
        self._called("ListJobs", context)
        on = names.parent(request.host, "host")
        jobs = [j for j in self._cluster.jobs.values() if on is None or any(t.host == on for t in j.tasks)]
        page, token = self._page(jobs, request)
        return pb.ListJobsResponse(jobs=map(wire.job_to_proto, page), next_page_token=token)

    def _job(self, name: str, context: Context) -> JobId:
        job = names.job_id(name, "name")
        if job not in self._cluster.jobs:
            refuse(context, grpc.StatusCode.NOT_FOUND, f"no job is called {job}", "JOB_NOT_FOUND")
        return job

    def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.Job:
        """One job."""
        self._called("GetJob", context)
        return wire.job_to_proto(self._cluster.jobs[self._job(request.name, context)])

    def ExplainJob(self, request: pb.ExplainJobRequest, context: Context) -> pb.ExplainJobResponse:
        """Why a job is, or is not, moved."""
        self._called("ExplainJob", context)
        job = self._cluster.jobs[self._job(request.name, context)]
        moves = tuple(move for move in self._cluster.moves.values() if move.job == job.id)
        return wire.explanation_to_proto(
            self._cluster.explanations.get(job.id, Explanation(job, moves, (f"{job.id} is at home.",)))
        )

    def _moves(self, parent: str) -> list[Move]:
        on = names.parent(parent, "parent")
        return [move for move in self._cluster.moves.values() if on is None or on in {move.host, move.job}]

    def ListMoves(self, request: pb.ListMovesRequest, context: Context) -> pb.ListMovesResponse:
        """All moves, or some."""
        self._called("ListMoves", context)
        moves = [move for move in self._moves(request.parent) if not (request.only_open and move.state.final)]
        page, token = self._page(moves, request)
        return pb.ListMovesResponse(moves=map(wire.move_to_proto, page), next_page_token=token)

    def _move(self, name: str, context: Context) -> Move:
        move = self._cluster.moves.get(names.move_id(name, "name"))
        if move is None:
            refuse(context, grpc.StatusCode.NOT_FOUND, f"no move is called {name}", "MOVE_NOT_FOUND")
        return move

    def GetMove(self, request: pb.GetMoveRequest, context: Context) -> pb.Move:
        """One move."""
        self._called("GetMove", context)
        return wire.move_to_proto(self._move(request.name, context))

    def CancelMove(self, request: pb.CancelMoveRequest, context: Context) -> pb.Move:
        """End an open move."""
        self._called("CancelMove", context)
        move = self._move(request.name, context)
        if move.state.final:
            words = f"{move.id} has ended already: {move.state.value}"
            refuse(context, grpc.StatusCode.FAILED_PRECONDITION, words, "MOVE_ENDED")
        self._cluster.moves[move.id] = replace(move, state=MoveState.CANCELLING)
        return wire.move_to_proto(self._cluster.moves[move.id])

    def WatchMoves(self, request: pb.WatchMovesRequest, context: Context) -> Iterator[pb.Move]:
        """The moves there are; then the stream ends, which the real one does only when it stops."""
        self._called("WatchMoves", context)
        yield from map(wire.move_to_proto, self._moves(request.parent))

    def ListPolicies(self, request: pb.ListPoliciesRequest, context: Context) -> pb.ListPoliciesResponse:
        """All policies."""
        self._called("ListPolicies", context)
        page, token = self._page([NamedPolicy(*item) for item in self._cluster.policies.items()], request)
        return pb.ListPoliciesResponse(policies=map(wire.named_policy_to_proto, page), next_page_token=token)

    def _policy(self, name: str, context: Context) -> JobId | None:
        job = names.policy_job(name, "name")
        if job not in self._cluster.policies:
            refuse(context, grpc.StatusCode.NOT_FOUND, f"{job} has no policy of its own", "POLICY_NOT_FOUND")
        return job

    def GetPolicy(self, request: pb.GetPolicyRequest, context: Context) -> pb.NamedPolicy:
        """One policy."""
        self._called("GetPolicy", context)
        job = self._policy(request.name, context)
        return wire.named_policy_to_proto(NamedPolicy(job, self._cluster.policies[job]))

    def UpdatePolicy(self, request: pb.UpdatePolicyRequest, context: Context) -> pb.NamedPolicy:
        """Change a policy; a new one starts from the default."""
        self._called("UpdatePolicy", context)
        job = names.policy_job(request.policy.name, "policy.name")
        present = self._cluster.policies.get(job, self._cluster.policies[None])
        try:
            self._cluster.policies[job] = wire.updated_policy(present, request)
        except wire.WireError as error:
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error), "INVALID_POLICY")
        return wire.named_policy_to_proto(NamedPolicy(job, self._cluster.policies[job]))

    def DeletePolicy(self, request: pb.DeletePolicyRequest, context: Context) -> pb.DeletePolicyResponse:
        """Remove a job's policy."""
        self._called("DeletePolicy", context)
        del self._cluster.policies[self._policy(request.name, context)]
        return pb.DeletePolicyResponse()


@dataclass
class Machine:
    """What the fake agent knows: tasks by any of their names, and the events to tell.

    ``story`` is told of each move by hand, up to its outcome; one without an outcome waits for its cancellation, as a
    long move does, and then ends as cancelled: unless the agent is ``cut`` off there, or ``deaf`` to cancellations.
    ``by_hand`` keeps what was asked for, ``not_now`` refuses it.
    """

    status: AgentStatus
    shown: dict[str | int, Shown] = field(default_factory=dict)
    events: list[LocalEvent] = field(default_factory=list)
    adopted: dict[JobId, str | int] = field(default_factory=dict)
    story: list[HandEvent] = field(default_factory=list)
    prediction: Prediction = field(default_factory=lambda: Prediction(0, 0.0, 0.0))
    ended: list[MoveOutcome] = field(default_factory=list)
    not_now: str = ""
    by_hand: list[tuple[HandMove, Policy, str | int]] = field(default_factory=list)
    cancelled: dict[MoveId, threading.Event] = field(default_factory=dict)
    cut: bool = False
    deaf: bool = False


class FakeAgent(local_pb2_grpc.LocalServicer):  # type: ignore[misc]  # generated stubs carry no types
    """The local service of one host."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def GetStatus(self, _request: local.GetStatusRequest, _context: Context) -> local.AgentStatus:
        """The status."""
        return wire.status_to_proto(self._machine.status)

    def _tasks(self) -> list[Task]:
        return list({shown.task.id: shown.task for shown in self._machine.shown.values()}.values())

    def ListTasks(self, _request: local.ListTasksRequest, _context: Context) -> local.ListTasksResponse:
        """All tasks."""
        return local.ListTasksResponse(tasks=map(wire.task_to_proto, self._tasks()))

    def _shown(self, request: Any, context: Context) -> tuple[str | int, Shown]:  # noqa: ANN401 - two kinds of request
        target = request.WhichOneof("target")
        name: str | int = getattr(request, target)
        if name not in self._machine.shown:
            refuse(context, grpc.StatusCode.NOT_FOUND, f"nothing here is called {name}", "TASK_NOT_FOUND")
        return name, self._machine.shown[name]

    def ShowTask(self, request: local.ShowTaskRequest, context: Context) -> local.ShowTaskResponse:
        """One task."""
        return wire.shown_to_proto(self._shown(request, context)[1])

    def Adopt(self, request: local.AdoptRequest, context: Context) -> types_pb2.Task:
        """Follow one task."""
        name, shown = self._shown(request, context)
        self._machine.adopted[JobId(request.job)] = name
        return wire.task_to_proto(replace(shown.task, job=JobId(request.job)))

    def Release(self, request: local.ReleaseRequest, _context: Context) -> local.ReleaseResponse:
        """Follow it no longer."""
        return local.ReleaseResponse(released=int(self._machine.adopted.pop(JobId(request.job), None) is not None))

    def WatchMoves(self, _request: local.WatchLocalMovesRequest, _context: Context) -> Iterator[local.LocalMoveEvent]:
        """The events there are; then the stream ends, which the real one does only when it stops."""
        yield from map(wire.local_event_to_proto, self._machine.events)

    def _asked(self, request: local.HandMoveRequest, context: Context) -> None:
        name = self._shown(request, context)[0]
        try:
            what, policy = wire.hand_move_from_proto(request)
        except wire.WireError as error:
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error), "INVALID_MOVE")
        if self._machine.not_now:
            refuse(context, grpc.StatusCode.FAILED_PRECONDITION, self._machine.not_now, "BEING_MOVED")
        self._machine.by_hand.append((what, policy, name))

    def Move(self, request: local.HandMoveRequest, context: Context) -> Iterator[local.LocalMoveEvent]:
        """The story that a test wrote."""
        self._asked(request, context)
        story = self._machine.story
        for event in story:
            if isinstance(event, MoveOrder):
                self._machine.cancelled[event.id] = threading.Event()
                context.add_callback(self._machine.cancelled[event.id].set)
            yield wire.local_event_to_proto(event)
        if self._machine.cut:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the agent stops")
        if story and not isinstance(story[-1], MoveOutcome):
            order = next(event for event in story if isinstance(event, MoveOrder))
            self._machine.cancelled[order.id].wait(10)
            ended = MoveOutcome(order.id, order.task, MoveState.CANCELLED, "cancelled: as asked for")
            yield wire.local_event_to_proto(ended)

    def PredictMove(self, request: local.HandMoveRequest, context: Context) -> local.Prediction:
        """The prediction that a test wrote."""
        self._asked(request, context)
        return wire.prediction_to_proto(self._machine.prediction)

    def CancelMove(self, request: local.CancelLocalMoveRequest, _context: Context) -> local.CancelLocalMoveResponse:
        """End a story that waits."""
        waiting = self._machine.cancelled.get(MoveId(request.move))
        if waiting is None or waiting.is_set():
            return local.CancelLocalMoveResponse(cancelled=False)
        if not self._machine.deaf:
            waiting.set()
        return local.CancelLocalMoveResponse(cancelled=True)

    def ListMoves(self, _request: local.ListLocalMovesRequest, _context: Context) -> local.ListLocalMovesResponse:
        """The outcomes that a test wrote."""
        return local.ListLocalMovesResponse(outcomes=map(wire.outcome_to_proto, self._machine.ended))


@contextlib.contextmanager
def scheduler(cluster: Cluster, credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
    """A scheduler on a free port of this machine: its address."""
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        service = FakeScheduler(cluster)
        for add in (
            numaplace_pb2_grpc.add_HostsServicer_to_server,
            numaplace_pb2_grpc.add_JobsServicer_to_server,
            numaplace_pb2_grpc.add_MovesServicer_to_server,
            numaplace_pb2_grpc.add_PoliciesServicer_to_server,
        ):
            add(service, server)
        port = (
            server.add_secure_port("127.0.0.1:0", credentials)
            if credentials
            else server.add_insecure_port("127.0.0.1:0")
        )
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


@contextlib.contextmanager
def agent(machine: Machine, socket: Path) -> Iterator[Path]:
    """An agent on a Unix socket: its path."""
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        local_pb2_grpc.add_LocalServicer_to_server(FakeAgent(machine), server)
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        try:
            yield socket
        finally:
            server.stop(None).wait()
