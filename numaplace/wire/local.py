"""What an agent tells the processes of its own host, both ways: its status, a task shown, events of moves."""

from numaplace.model.ids import HostId
from numaplace.model.job import HomeChange
from numaplace.model.move import MoveOrder, MoveOutcome, MoveProgress
from numaplace.model.views import AgentStatus, LocalEvent, Shown
from numaplace.v1 import local_pb2 as pb
from numaplace.wire import checks, host, move, task
from numaplace.wire.checks import WireError


def status_to_proto(status: AgentStatus) -> pb.AgentStatus:
    """An agent's status as it is told."""
    return pb.AgentStatus(
        host=status.host,
        version=status.version,
        topology=host.topology_to_proto(status.topology),
        abilities=host.abilities_to_proto(status.abilities),
        load=host.load_to_proto(status.load),
        connected=status.connected,
        scheduler=checks.clean(status.scheduler),
        tasks=status.tasks,
        threads=status.threads,
        moves_open=status.moves_open,
        outcomes_unacknowledged=status.outcomes_unacknowledged,
    )


def status_from_proto(message: pb.AgentStatus, at: str = "status") -> AgentStatus:
    """An agent's status as it was told; raises WireError."""
    return AgentStatus(
        host=HostId(checks.name(message.host, f"{at}.host", checks.NAME_CHARS_MAX)),
        version=checks.words(message.version, f"{at}.version", checks.NAME_CHARS_MAX),
        topology=host.topology_from_proto(message.topology, f"{at}.topology"),
        abilities=host.abilities_from_proto(message.abilities, f"{at}.abilities"),
        load=host.load_from_proto(message.load, f"{at}.load"),
        connected=message.connected,
        scheduler=checks.words(message.scheduler, f"{at}.scheduler"),
        tasks=message.tasks,
        threads=message.threads,
        moves_open=message.moves_open,
        outcomes_unacknowledged=message.outcomes_unacknowledged,
    )


def shown_to_proto(shown: Shown) -> pb.ShowTaskResponse:
    """A task and its pages as they are told."""
    return pb.ShowTaskResponse(
        task=task.task_to_proto(shown.task), locality=shown.locality, stuck=move.left_to_proto(shown.stuck)
    )


def shown_from_proto(message: pb.ShowTaskResponse, at: str = "shown") -> Shown:
    """A task and its pages as they were told; raises WireError."""
    checks.present(message, "task", at)
    return Shown(
        task.task_from_proto(message.task, f"{at}.task"),
        checks.number(message.locality, f"{at}.locality", 1.0),
        move.left_from_proto(message.stuck, f"{at}.stuck"),
    )


def local_event_to_proto(event: LocalEvent) -> pb.LocalMoveEvent:
    """An event as it is told."""
    match event:
        case MoveOrder():
            return pb.LocalMoveEvent(accepted=move.order_to_proto(event))
        case MoveProgress():
            return pb.LocalMoveEvent(progress=move.progress_to_proto(event))
        case MoveOutcome():
            return pb.LocalMoveEvent(finished=move.outcome_to_proto(event))
        case HomeChange():
            return pb.LocalMoveEvent(changed=task.change_to_proto(event))


def local_event_from_proto(message: pb.LocalMoveEvent, at: str = "event") -> LocalEvent:
    """An event as it was told; raises WireError."""
    match message.WhichOneof("event"):
        case "accepted":
            return move.order_from_proto(message.accepted, f"{at}.accepted")
        case "progress":
            return move.progress_from_proto(message.progress, f"{at}.progress")
        case "finished":
            return move.outcome_from_proto(message.finished, f"{at}.finished")
        case "changed":
            return task.change_from_proto(message.changed, f"{at}.changed")
        case _:
            raise WireError(at, "is missing, or of a kind that this version does not know")
