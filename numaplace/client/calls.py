"""Every call of the scheduler and of the agent once, as a value: method, request, and how its answer is read.

The synchronous and the asynchronous client both carry these out, so that there is one truth about each call.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from numaplace import wire
from numaplace.model.hand import HandEvent, HandMove, Prediction
from numaplace.model.ids import HostId, JobId, MoveId
from numaplace.model.job import HomeChange, Task
from numaplace.model.move import MoveOutcome
from numaplace.model.policy import Policy
from numaplace.model.views import AgentStatus, Explanation, Host, Job, LocalEvent, Move, NamedPolicy, Shown
from numaplace.v1 import local_pb2, numaplace_pb2, types_pb2
from numaplace.wire import names

DEADLINE_S = 10.0
MEASURE_DEADLINE_S = 60.0
"""Locating the pages of a large job takes seconds."""
PAGE_SIZE = 500
PAGES_MAX = 10_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call: ``read`` makes a value of the answer and raises WireError; ``deadline_s`` None lasts until closed."""

    method: str
    request: Message
    answer: type[Message]
    read: Callable[[Any], T]
    deadline_s: float | None = DEADLINE_S


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list; an empty ``next_token`` says that it was the last."""

    items: tuple[T, ...]
    next_token: str


def list_hosts(page_token: str = "") -> Call[Page[Host]]:
    """A page of all hosts."""
    return Call(
        "/numaplace.v1.Hosts/ListHosts",
        numaplace_pb2.ListHostsRequest(page_size=PAGE_SIZE, page_token=page_token),
        numaplace_pb2.ListHostsResponse,
        lambda answer: Page(tuple(map(wire.host_from_proto, answer.hosts)), answer.next_page_token),
    )


def get_host(host: HostId) -> Call[Host]:
    """One host."""
    request = numaplace_pb2.GetHostRequest(name=f"{names.HOSTS}{host}")
    return Call("/numaplace.v1.Hosts/GetHost", request, numaplace_pb2.Host, wire.host_from_proto)


def list_jobs(page_token: str = "", host: HostId | None = None) -> Call[Page[Job]]:
    """A page of all jobs, or of those with a task on one host."""
    on = f"{names.HOSTS}{host}" if host else ""
    return Call(
        "/numaplace.v1.Jobs/ListJobs",
        numaplace_pb2.ListJobsRequest(page_size=PAGE_SIZE, page_token=page_token, host=on),
        numaplace_pb2.ListJobsResponse,
        lambda answer: Page(tuple(map(wire.job_from_proto, answer.jobs)), answer.next_page_token),
    )


def get_job(job: JobId, *, measure: bool = False) -> Call[Job]:
    """One job; with ``measure`` its pages are located anew first."""
    return Call(
        "/numaplace.v1.Jobs/GetJob",
        numaplace_pb2.GetJobRequest(name=f"{names.JOBS}{job}", measure=measure),
        numaplace_pb2.Job,
        wire.job_from_proto,
        MEASURE_DEADLINE_S if measure else DEADLINE_S,
    )


def explain_job(job: JobId) -> Call[Explanation]:
    """Why a job is, or is not, moved."""
    return Call(
        "/numaplace.v1.Jobs/ExplainJob",
        numaplace_pb2.ExplainJobRequest(name=f"{names.JOBS}{job}"),
        numaplace_pb2.ExplainJobResponse,
        wire.explanation_from_proto,
    )


def _parent(host: HostId | None, job: JobId | None) -> str:
    assert not (host and job), "a list is narrowed to a host or to a job"  # noqa: S101 - a caller's bug
    if host:
        return f"{names.HOSTS}{host}"
    return f"{names.JOBS}{job}" if job else ""


def list_moves(
    page_token: str = "", *, host: HostId | None = None, job: JobId | None = None, only_open: bool = False
) -> Call[Page[Move]]:
    """A page of all moves, or of those on one host or of one job."""
    return Call(
        "/numaplace.v1.Moves/ListMoves",
        numaplace_pb2.ListMovesRequest(
            page_size=PAGE_SIZE, page_token=page_token, parent=_parent(host, job), only_open=only_open
        ),
        numaplace_pb2.ListMovesResponse,
        lambda answer: Page(tuple(map(wire.move_from_proto, answer.moves)), answer.next_page_token),
    )


def get_move(move: MoveId) -> Call[Move]:
    """One move."""
    request = numaplace_pb2.GetMoveRequest(name=f"{names.MOVES}{move}")
    return Call("/numaplace.v1.Moves/GetMove", request, numaplace_pb2.Move, wire.move_from_proto)


def cancel_move(move: MoveId) -> Call[Move]:
    """End a move early."""
    request = numaplace_pb2.CancelMoveRequest(name=f"{names.MOVES}{move}")
    return Call("/numaplace.v1.Moves/CancelMove", request, numaplace_pb2.Move, wire.move_from_proto)


def watch_moves(*, host: HostId | None = None, job: JobId | None = None) -> Call[Move]:
    """Every change of a move from now on (a stream)."""
    request = numaplace_pb2.WatchMovesRequest(parent=_parent(host, job))
    return Call("/numaplace.v1.Moves/WatchMoves", request, numaplace_pb2.Move, wire.move_from_proto, None)


def list_policies(page_token: str = "") -> Call[Page[NamedPolicy]]:
    """A page of all policies: the default first."""
    return Call(
        "/numaplace.v1.Policies/ListPolicies",
        numaplace_pb2.ListPoliciesRequest(page_size=PAGE_SIZE, page_token=page_token),
        numaplace_pb2.ListPoliciesResponse,
        lambda answer: Page(tuple(map(wire.named_policy_from_proto, answer.policies)), answer.next_page_token),
    )


def get_policy(job: JobId | None) -> Call[NamedPolicy]:
    """A job's own policy, or for None the default."""
    request = numaplace_pb2.GetPolicyRequest(name=names.policy_name(job))
    return Call("/numaplace.v1.Policies/GetPolicy", request, numaplace_pb2.NamedPolicy, wire.named_policy_from_proto)


def update_policy(job: JobId | None, policy: Policy, fields: Iterable[str] = ()) -> Call[NamedPolicy]:
    """Set the named fields of a job's policy, or for None of the default; all fields if none is named."""
    request = wire.policy_update_to_proto(job, policy, fields)
    return Call("/numaplace.v1.Policies/UpdatePolicy", request, numaplace_pb2.NamedPolicy, wire.named_policy_from_proto)


def delete_policy(job: JobId) -> Call[None]:
    """Let the job follow by the default again."""
    request = numaplace_pb2.DeletePolicyRequest(name=names.policy_name(job))
    return Call("/numaplace.v1.Policies/DeletePolicy", request, numaplace_pb2.DeletePolicyResponse, lambda _: None)


def get_status() -> Call[AgentStatus]:
    """What the agent is and does."""
    request = local_pb2.GetStatusRequest()
    return Call("/numaplace.v1.Local/GetStatus", request, local_pb2.AgentStatus, wire.status_from_proto)


def list_tasks() -> Call[tuple[Task, ...]]:
    """The caller's followed tasks on this host."""
    return Call(
        "/numaplace.v1.Local/ListTasks",
        local_pb2.ListTasksRequest(),
        local_pb2.ListTasksResponse,
        lambda answer: tuple(map(wire.task_from_proto, answer.tasks)),
    )


def show_task(
    *, task: str | None = None, pid: int | None = None, cgroup: str | None = None, job: str | None = None
) -> Call[Shown]:
    """Locate the pages of one task now, by exactly one of its names."""
    return Call(
        "/numaplace.v1.Local/ShowTask",
        local_pb2.ShowTaskRequest(task=task, pid=pid, cgroup=cgroup, job=job),
        local_pb2.ShowTaskResponse,
        wire.shown_from_proto,
        MEASURE_DEADLINE_S,
    )


def adopt(job: JobId, *, pid: int | None = None, cgroup: str | None = None) -> Call[Task]:
    """Follow a process tree or a cgroup under this name."""
    request = local_pb2.AdoptRequest(job=job, pid=pid, cgroup=cgroup)
    return Call("/numaplace.v1.Local/Adopt", request, types_pb2.Task, wire.task_from_proto)


def release(job: JobId) -> Call[int]:
    """Stop following what was adopted under this name: how many tasks that were."""
    request = local_pb2.ReleaseRequest(job=job)
    return Call("/numaplace.v1.Local/Release", request, local_pb2.ReleaseResponse, lambda answer: int(answer.released))


def watch_local_moves() -> Call[LocalEvent]:
    """What happens to the caller's tasks on this host from now on (a stream)."""
    request = local_pb2.WatchLocalMovesRequest()
    return Call("/numaplace.v1.Local/WatchMoves", request, local_pb2.LocalMoveEvent, wire.local_event_from_proto, None)


def move_by_hand(
    what: HandMove, policy: Policy, *, pid: int | None = None, cgroup: str | None = None, job: str | None = None
) -> Call[HandEvent]:
    """Move pages by hand, of exactly one of these (a stream that ends with the outcome)."""
    request = wire.hand_move_to_proto(what, policy, pid=pid, cgroup=cgroup, job=job)
    return Call("/numaplace.v1.Local/Move", request, local_pb2.LocalMoveEvent, _hand_event, None)


def _hand_event(message: local_pb2.LocalMoveEvent) -> HandEvent:
    event = wire.local_event_from_proto(message)
    if isinstance(event, HomeChange):
        raise wire.WireError("event", "is a change of home, which is none of a move")
    return event


def predict_move(
    what: HandMove, policy: Policy, *, pid: int | None = None, cgroup: str | None = None, job: str | None = None
) -> Call[Prediction]:
    """What a move by hand would take now."""
    return Call(
        "/numaplace.v1.Local/PredictMove",
        wire.hand_move_to_proto(what, policy, pid=pid, cgroup=cgroup, job=job),
        local_pb2.Prediction,
        wire.prediction_from_proto,
        MEASURE_DEADLINE_S,
    )


def cancel_local_move(move: MoveId) -> Call[bool]:
    """End a move by hand early: whether it was running."""
    return Call(
        "/numaplace.v1.Local/CancelMove",
        local_pb2.CancelLocalMoveRequest(move=move),
        local_pb2.CancelLocalMoveResponse,
        lambda answer: bool(answer.cancelled),
    )


def list_local_moves() -> Call[tuple[MoveOutcome, ...]]:
    """How the last moves of the caller's tasks on this host ended, newest first."""
    return Call(
        "/numaplace.v1.Local/ListMoves",
        local_pb2.ListLocalMovesRequest(),
        local_pb2.ListLocalMovesResponse,
        lambda answer: tuple(map(wire.outcome_from_proto, answer.outcomes)),
    )
