"""The scheduler's answers on the wire, both ways: hosts, jobs, moves, explanations and policies.

The service writes them and the client reads them. References are resource names (:mod:`numaplace.wire.names`).
"""

from collections.abc import Iterable

from google.protobuf.field_mask_pb2 import FieldMask

from numaplace.model.ids import JobId
from numaplace.model.policy import Policy
from numaplace.model.views import Decision, Explanation, Host, HostState, Job, Move, NamedPolicy, TaskOnHost
from numaplace.model.worth import Action
from numaplace.v1 import numaplace_pb2 as pb
from numaplace.v1 import types_pb2
from numaplace.wire import checks, host, move, names, policy, task
from numaplace.wire.checks import EnumTable, WireError

TASKS_MAX = 50_000
MOVES_MAX = 10_000
SENTENCES_MAX = 1_000
MASK_PATHS_MAX = 64

HOST_STATES = EnumTable(HostState, pb.Host.State, "")
ACTIONS = EnumTable(Action, pb.Decision.Action, "")


def host_to_proto(view: Host) -> pb.Host:
    """A host as it is shown."""
    return pb.Host(
        name=f"{names.HOSTS}{view.id}",
        state=HOST_STATES.to_proto(view.state),
        topology=host.topology_to_proto(view.topology),
        abilities=host.abilities_to_proto(view.abilities),
        load=host.load_to_proto(view.load),
        agent_version=checks.clean(view.agent_version, checks.NAME_CHARS_MAX),
        last_seen_time=names.timestamp(view.last_seen),
        tasks=view.tasks,
        moves_running=view.moves_running,
        move_bytes_per_s=view.move_bytes_per_s,
    )


def host_from_proto(message: pb.Host, at: str = "host") -> Host:
    """A host as it was shown; raises WireError."""
    seen = names.time_of(message.last_seen_time, f"{at}.last_seen_time") if message.HasField("last_seen_time") else None
    return Host(
        id=names.host_id(message.name, f"{at}.name"),
        state=HOST_STATES.from_proto(message.state, f"{at}.state"),
        topology=host.topology_from_proto(message.topology, f"{at}.topology"),
        abilities=host.abilities_from_proto(message.abilities, f"{at}.abilities"),
        load=host.load_from_proto(message.load, f"{at}.load"),
        agent_version=checks.words(message.agent_version, f"{at}.agent_version", checks.NAME_CHARS_MAX),
        last_seen=seen,
        tasks=message.tasks,
        moves_running=message.moves_running,
        move_bytes_per_s=checks.number(message.move_bytes_per_s, f"{at}.move_bytes_per_s", checks.RATE_MAX),
    )


def decision_to_proto(view: Decision) -> pb.Decision:
    """A decision as it is shown."""
    return pb.Decision(
        action=ACTIONS.to_proto(view.action),
        reason=view.reason,
        words=checks.clean(view.words),
        would_move_bytes=view.would_move_bytes,
        predicted_seconds=view.predicted_s,
        not_before_time=names.timestamp(view.not_before),
    )


def decision_from_proto(message: pb.Decision, at: str = "decision") -> Decision:
    """A decision as it was shown; raises WireError. A newer scheduler may have reasons that we do not know."""
    later = message.not_before_time if message.HasField("not_before_time") else None
    return Decision(
        action=ACTIONS.from_proto(message.action, f"{at}.action"),
        reason=checks.name(message.reason, f"{at}.reason", checks.NAME_CHARS_MAX),
        words=checks.words(message.words, f"{at}.words"),
        would_move_bytes=checks.size_bytes(message.would_move_bytes, f"{at}.would_move_bytes"),
        predicted_s=checks.number(message.predicted_seconds, f"{at}.predicted_seconds"),
        not_before=None if later is None else names.time_of(later, f"{at}.not_before_time"),
    )


def task_on_host_to_proto(view: TaskOnHost) -> pb.TaskOnHost:
    """A job's task as it is shown."""
    return pb.TaskOnHost(
        host=f"{names.HOSTS}{view.host}",
        task=task.task_to_proto(view.task),
        locality=view.locality,
        remote_bytes=view.remote_bytes,
        last_change=None if view.last_change is None else task.change_to_proto(view.last_change),
        last_change_time=names.timestamp(view.last_changed),
        decision=None if view.decision is None else decision_to_proto(view.decision),
    )


def task_on_host_from_proto(message: pb.TaskOnHost, at: str = "task") -> TaskOnHost:
    """A job's task as it was shown; raises WireError."""
    checks.present(message, "task", at)
    changed = message.last_change_time if message.HasField("last_change_time") else None
    change = message.last_change if message.HasField("last_change") else None
    decision = message.decision if message.HasField("decision") else None
    return TaskOnHost(
        host=names.host_id(message.host, f"{at}.host"),
        task=task.task_from_proto(message.task, f"{at}.task"),
        locality=checks.number(message.locality, f"{at}.locality", 1.0),
        remote_bytes=checks.size_bytes(message.remote_bytes, f"{at}.remote_bytes"),
        last_change=None if change is None else task.change_from_proto(change, f"{at}.last_change"),
        last_changed=None if changed is None else names.time_of(changed, f"{at}.last_change_time"),
        decision=None if decision is None else decision_from_proto(decision, f"{at}.decision"),
    )


def job_to_proto(view: Job) -> pb.Job:
    """A job as it is shown."""
    return pb.Job(
        name=f"{names.JOBS}{view.id}",
        tasks=[task_on_host_to_proto(each) for each in view.tasks],
        policy=policy.policy_to_proto(view.policy),
        own_policy=view.own_policy,
    )


def job_from_proto(message: pb.Job, at: str = "job") -> Job:
    """A job as it was shown; raises WireError."""
    checks.present(message, "policy", at)
    checks.entries(message.tasks, f"{at}.tasks", TASKS_MAX)
    return Job(
        id=names.job_id(message.name, f"{at}.name"),
        tasks=tuple(task_on_host_from_proto(each, f"{at}.tasks") for each in message.tasks),
        policy=policy.policy_from_proto(message.policy, f"{at}.policy"),
        own_policy=message.own_policy,
    )


def move_to_proto(view: Move) -> pb.Move:
    """A move as it is shown."""
    return pb.Move(
        name=f"{names.MOVES}{view.id}",
        host=f"{names.HOSTS}{view.host}",
        job=f"{names.JOBS}{view.job}",
        order=None if view.order is None else move.order_to_proto(view.order),
        state=move.MOVE_STATES.to_proto(view.state),
        reason=checks.clean(view.reason),
        create_time=names.timestamp(view.created),
        end_time=names.timestamp(view.ended),
        progress=None if view.progress is None else move.progress_to_proto(view.progress),
        outcome=None if view.outcome is None else move.outcome_to_proto(view.outcome),
        by_agent_alone=view.by_agent_alone,
    )


def move_from_proto(message: pb.Move, at: str = "move") -> Move:
    """A move as it was shown; raises WireError."""
    order = message.order if message.HasField("order") else None
    progress = message.progress if message.HasField("progress") else None
    outcome = message.outcome if message.HasField("outcome") else None
    created = message.create_time if message.HasField("create_time") else None
    ended = message.end_time if message.HasField("end_time") else None
    return Move(
        id=names.move_id(message.name, f"{at}.name"),
        host=names.host_id(message.host, f"{at}.host"),
        job=names.job_id(message.job, f"{at}.job"),
        state=move.MOVE_STATES.from_proto(message.state, f"{at}.state"),
        order=None if order is None else move.order_from_proto(order, f"{at}.order"),
        reason=checks.words(message.reason, f"{at}.reason"),
        created=None if created is None else names.time_of(created, f"{at}.create_time"),
        ended=None if ended is None else names.time_of(ended, f"{at}.end_time"),
        progress=None if progress is None else move.progress_from_proto(progress, f"{at}.progress"),
        outcome=None if outcome is None else move.outcome_from_proto(outcome, f"{at}.outcome"),
        by_agent_alone=message.by_agent_alone,
    )


def explanation_to_proto(view: Explanation) -> pb.ExplainJobResponse:
    """An explanation as it is shown."""
    return pb.ExplainJobResponse(
        job=job_to_proto(view.job),
        moves=[move_to_proto(each) for each in view.moves],
        words=[checks.clean(sentence) for sentence in view.words],
    )


def explanation_from_proto(message: pb.ExplainJobResponse, at: str = "explanation") -> Explanation:
    """An explanation as it was shown; raises WireError."""
    checks.entries(message.moves, f"{at}.moves", MOVES_MAX)
    checks.entries(message.words, f"{at}.words", SENTENCES_MAX)
    return Explanation(
        job=job_from_proto(message.job, f"{at}.job"),
        moves=tuple(move_from_proto(each, f"{at}.moves") for each in message.moves),
        words=tuple(checks.words(sentence, f"{at}.words") for sentence in message.words),
    )


def named_policy_to_proto(view: NamedPolicy) -> pb.NamedPolicy:
    """A policy and whose it is, as it is shown."""
    return pb.NamedPolicy(name=names.policy_name(view.job), policy=policy.policy_to_proto(view.policy))


def named_policy_from_proto(message: pb.NamedPolicy, at: str = "policy") -> NamedPolicy:
    """A policy and whose it is, as it was shown; raises WireError."""
    checks.present(message, "policy", at)
    job = names.policy_job(message.name, f"{at}.name")
    return NamedPolicy(job, policy.policy_from_proto(message.policy, f"{at}.policy"))


def policy_update_to_proto(job: JobId | None, wanted: Policy, paths: Iterable[str]) -> pb.UpdatePolicyRequest:
    """Ask for these fields of a policy ("mode", "budget.stall_ms_max"); for all of them if no path is given."""
    request = pb.UpdatePolicyRequest(policy=named_policy_to_proto(NamedPolicy(job, wanted)))
    mask = sorted(paths)
    if mask:
        request.update_mask.paths.extend(mask)
    return request


def updated_policy(present: Policy, request: pb.UpdatePolicyRequest) -> Policy:
    """The policy that results from an update of the present one; raises WireError."""
    checks.present(request, "policy", "update")
    paths = list(request.update_mask.paths)
    checks.entries(paths, "update_mask", MASK_PATHS_MAX)
    if not paths:
        return policy.policy_from_proto(request.policy.policy)
    unknown = [path for path in paths if path not in _PATHS]
    if unknown:
        raise WireError("update_mask", f"{checks.clean(unknown[0], 80)!r} is no field of a policy: {', '.join(_PATHS)}")
    merged = policy.policy_to_proto(present)
    # Lists are replaced, not joined: kinds = anon means anon alone.
    FieldMask(paths=paths).MergeMessage(
        request.policy.policy, merged, replace_message_field=True, replace_repeated_field=True
    )
    return policy.policy_from_proto(merged)


_PATHS = (
    *(field.name for field in types_pb2.Policy.DESCRIPTOR.fields),
    *(f"budget.{field.name}" for field in types_pb2.Budget.DESCRIPTOR.fields),
)
