"""The session's messages: numbered reports of an agent, instructions of the scheduler."""

from collections.abc import Callable, Mapping
from typing import Any

from numaplace.model.ids import Cpus, HostId, MoveId, TaskId
from numaplace.model.job import HomeChange, Task
from numaplace.model.move import MoveOrder, MoveOutcome, MoveProgress
from numaplace.model.session import (
    AcknowledgeOutcome,
    CancelMove,
    Hello,
    HostLoad,
    Instruction,
    Measure,
    MoveAccepted,
    PolicySet,
    Report,
    ResidencyMeasured,
    Resync,
    Snapshot,
    TaskGone,
    Welcome,
)
from numaplace.v1 import session_pb2 as pb
from numaplace.wire import checks, host, move, policy, task
from numaplace.wire.checks import WireError

TASKS_MAX = 50_000
MOVES_MAX = 50_000
CPUS_IN_SNAPSHOT_MAX = 4_000_000
"""The members of all distinct CPU sets together: one text of nine characters may stand for 8192 CPUs."""


def report_to_proto(sequence: int, report: Report) -> pb.AgentMessage:
    """A report under its number in the session (1, 2, 3, …)."""
    field, convert = _REPORT_FIELDS[type(report)]
    return pb.AgentMessage(sequence=sequence, **{field: convert(report)})


def report_from_proto(message: pb.AgentMessage) -> tuple[int, Report]:
    """A report and its number in the session; raises WireError."""
    number = checks.count(message.sequence, "sequence", 1)
    field = message.WhichOneof("body")
    if field is None:
        raise WireError("body", "is missing, or of a kind that this version does not know")
    return number, _REPORTS[field](getattr(message, field), field)


def instruction_to_proto(instruction: Instruction) -> pb.SchedulerMessage:
    """An instruction as it is sent."""
    field, convert = _INSTRUCTION_FIELDS[type(instruction)]
    return pb.SchedulerMessage(**{field: convert(instruction)})


def instruction_from_proto(message: pb.SchedulerMessage) -> Instruction:
    """An instruction as it was sent; raises WireError."""
    field = message.WhichOneof("body")
    if field is None:
        raise WireError("body", "is missing, or of a kind that this version does not know")
    return _INSTRUCTIONS[field](getattr(message, field), field)


def _hello_to_proto(hello: Hello) -> pb.Hello:
    return pb.Hello(
        host=hello.host,
        instance=hello.instance,
        boot_id=hello.boot_id,
        protocol=hello.protocol,
        agent_version=hello.agent_version,
    )


def _hello_from_proto(message: pb.Hello, at: str) -> Hello:
    return Hello(
        host=HostId(checks.name(message.host, f"{at}.host", checks.NAME_CHARS_MAX)),
        instance=checks.name(message.instance, f"{at}.instance", checks.NAME_CHARS_MAX),
        boot_id=checks.name(message.boot_id, f"{at}.boot_id", checks.NAME_CHARS_MAX),
        protocol=message.protocol,
        agent_version=checks.optional_name(message.agent_version, f"{at}.agent_version", checks.NAME_CHARS_MAX),
    )


def snapshot_to_proto(snapshot: Snapshot) -> pb.Snapshot:
    """A snapshot as it is sent."""
    return pb.Snapshot(
        topology=host.topology_to_proto(snapshot.topology),
        abilities=host.abilities_to_proto(snapshot.abilities),
        tasks=[task.task_to_proto(each) for each in snapshot.tasks],
        load=host.load_to_proto(snapshot.load),
        open_moves=[move.order_to_proto(order) for order in snapshot.open_moves],
        outcomes=[move.outcome_to_proto(outcome) for outcome in snapshot.outcomes],
    )


def snapshot_from_proto(message: pb.Snapshot, at: str = "snapshot") -> Snapshot:
    """A snapshot as it was sent; raises WireError. No task and no move is named twice."""
    for field in ("topology", "abilities", "load"):
        checks.present(message, field, at)
    checks.entries(message.open_moves, f"{at}.open_moves", MOVES_MAX)
    checks.entries(message.outcomes, f"{at}.outcomes", MOVES_MAX)
    orders = tuple(move.order_from_proto(order, f"{at}.open_moves") for order in message.open_moves)
    outcomes = tuple(move.outcome_from_proto(outcome, f"{at}.outcomes") for outcome in message.outcomes)
    moves = [order.id for order in orders] + [outcome.move for outcome in outcomes]
    if len(moves) != len(set(moves)):
        raise WireError(at, "names a move twice")
    return Snapshot(
        topology=host.topology_from_proto(message.topology, f"{at}.topology"),
        abilities=host.abilities_from_proto(message.abilities, f"{at}.abilities"),
        tasks=_tasks_from_proto(message, f"{at}.tasks"),
        load=host.load_from_proto(message.load, f"{at}.load"),
        open_moves=orders,
        outcomes=outcomes,
    )


def _tasks_from_proto(message: pb.Snapshot, at: str) -> tuple[Task, ...]:
    checks.entries(message.tasks, at, TASKS_MAX)
    tasks: dict[TaskId, Task] = {}
    kept: set[Cpus] = set()
    members = 0
    for sent in message.tasks:
        each = task.task_from_proto(sent, at)
        if each.id in tasks:
            raise WireError(f"{at}.id", "names a task twice")
        members += 0 if each.cpus in kept else len(each.cpus)
        kept.add(each.cpus)
        if members > CPUS_IN_SNAPSHOT_MAX:
            raise WireError(f"{at}.cpus", f"stand for more than {CPUS_IN_SNAPSHOT_MAX} CPUs in all")
        tasks[each.id] = each
    return tuple(tasks.values())


def _measured_to_proto(measured: ResidencyMeasured) -> pb.ResidencyMeasured:
    return pb.ResidencyMeasured(
        task=measured.task,
        residency=task.residency_to_proto(measured.residency),
        stuck=move.left_to_proto(measured.stuck),
    )


def _measured_from_proto(message: pb.ResidencyMeasured, at: str) -> ResidencyMeasured:
    return ResidencyMeasured(
        TaskId(checks.name(message.task, f"{at}.task")),
        task.residency_from_proto(message.residency, f"{at}.residency"),
        move.left_from_proto(message.stuck, f"{at}.stuck"),
    )


def _welcome_from_proto(message: pb.Welcome, at: str) -> Welcome:
    checks.present(message, "policies", at)
    return Welcome(policy.policies_from_proto(message.policies, f"{at}.policies"), message.protocol)


def _task_id(text: str, at: str) -> TaskId:
    return TaskId(checks.name(text, f"{at}.task"))


def _move_id(text: str, at: str) -> MoveId:
    return MoveId(checks.name(text, f"{at}.move"))


_REPORT_FIELDS: Mapping[type[Report], tuple[str, Callable[[Any], Any]]] = {
    Hello: ("hello", _hello_to_proto),
    Snapshot: ("snapshot", snapshot_to_proto),
    Task: ("task_appeared", task.task_to_proto),
    TaskGone: ("task_gone", lambda gone: pb.TaskGone(task=gone.task)),
    HomeChange: ("home_changed", task.change_to_proto),
    ResidencyMeasured: ("residency_measured", _measured_to_proto),
    MoveAccepted: ("move_accepted", lambda accepted: pb.MoveAccepted(move=accepted.move)),
    MoveProgress: ("move_progress", move.progress_to_proto),
    MoveOutcome: ("move_finished", move.outcome_to_proto),
    HostLoad: ("load", host.load_to_proto),
}

_REPORTS: Mapping[str, Callable[[Any, str], Report]] = {
    "hello": _hello_from_proto,
    "snapshot": snapshot_from_proto,
    "task_appeared": task.task_from_proto,
    "task_gone": lambda message, at: TaskGone(_task_id(message.task, at)),
    "home_changed": task.change_from_proto,
    "residency_measured": _measured_from_proto,
    "move_accepted": lambda message, at: MoveAccepted(_move_id(message.move, at)),
    "move_progress": move.progress_from_proto,
    "move_finished": move.outcome_from_proto,
    "load": host.load_from_proto,
}

_INSTRUCTION_FIELDS: Mapping[type[Instruction], tuple[str, Callable[[Any], Any]]] = {
    Welcome: (
        "welcome",
        lambda w: pb.Welcome(protocol=w.protocol, policies=policy.policies_to_proto(w.policies)),
    ),
    Resync: ("resync", lambda resync: pb.Resync(reason=checks.clean(resync.reason))),
    MoveOrder: ("start_move", move.order_to_proto),
    CancelMove: ("cancel_move", lambda cancel: pb.CancelMove(move=cancel.move, reason=checks.clean(cancel.reason))),
    PolicySet: ("set_policies", policy.policies_to_proto),
    AcknowledgeOutcome: ("acknowledge_outcome", lambda ack: pb.AcknowledgeOutcome(move=ack.move)),
    Measure: ("measure", lambda measure: pb.Measure(task=measure.task)),
}

_INSTRUCTIONS: Mapping[str, Callable[[Any, str], Instruction]] = {
    "welcome": _welcome_from_proto,
    "resync": lambda message, at: Resync(checks.words(message.reason, f"{at}.reason")),
    "start_move": move.order_from_proto,
    "cancel_move": lambda message, at: CancelMove(
        _move_id(message.move, at), checks.words(message.reason, f"{at}.reason")
    ),
    "set_policies": policy.policies_from_proto,
    "acknowledge_outcome": lambda message, at: AcknowledgeOutcome(_move_id(message.move, at)),
    "measure": lambda message, at: Measure(_task_id(message.task, at)),
}
