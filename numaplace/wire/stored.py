"""Values as bytes, for journals and stores: the wire's messages, so that an upgrade can read what is on disk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from google.protobuf.message import DecodeError, Message

from numaplace.model.job import HomeChange, Task
from numaplace.model.move import MoveOrder, MoveOutcome, MoveProgress
from numaplace.model.policy import Policy
from numaplace.model.residency import Residency
from numaplace.model.session import Abilities, HostLoad, PolicySet, Snapshot
from numaplace.model.topology import Topology
from numaplace.v1 import session_pb2, types_pb2
from numaplace.wire import host, move, policy, session, task
from numaplace.wire.checks import WireError

Storable = (
    Policy | PolicySet | MoveOrder | MoveOutcome | MoveProgress | Task | HomeChange | Residency | Topology | HostLoad
    | Abilities | Snapshot
)  # fmt: skip
"""What can be stored."""

S = TypeVar("S", bound=Storable)


def to_bytes(value: Storable) -> bytes:
    """The value as bytes; equal values may give different bytes, so compare values."""
    return _FORMS[type(value)].to_proto(value).SerializeToString()


def from_bytes(kind: type[S], data: bytes) -> S:
    """The value that was stored; raises WireError if the bytes are damaged."""
    form = _FORMS[kind]
    try:
        message = form.message.FromString(data)
    except DecodeError as error:
        raise WireError(kind.__name__, f"the {len(data)} bytes are damaged: {error}") from error
    return cast("S", form.from_proto(message))


@dataclass(frozen=True, slots=True)
class _Form:
    message: type[Message]
    to_proto: Callable[[Any], Message]
    from_proto: Callable[[Any], Storable]


_FORMS: Mapping[type[Any], _Form] = {
    Policy: _Form(types_pb2.Policy, policy.policy_to_proto, policy.policy_from_proto),
    PolicySet: _Form(session_pb2.SetPolicies, policy.policies_to_proto, policy.policies_from_proto),
    MoveOrder: _Form(types_pb2.MoveOrder, move.order_to_proto, move.order_from_proto),
    MoveOutcome: _Form(types_pb2.MoveOutcome, move.outcome_to_proto, move.outcome_from_proto),
    MoveProgress: _Form(types_pb2.MoveProgress, move.progress_to_proto, move.progress_from_proto),
    Task: _Form(types_pb2.Task, task.task_to_proto, task.task_from_proto),
    HomeChange: _Form(types_pb2.HomeChange, task.change_to_proto, task.change_from_proto),
    Residency: _Form(types_pb2.Residency, task.residency_to_proto, task.residency_from_proto),
    Topology: _Form(types_pb2.Topology, host.topology_to_proto, host.topology_from_proto),
    HostLoad: _Form(types_pb2.HostLoad, host.load_to_proto, host.load_from_proto),
    Abilities: _Form(types_pb2.Abilities, host.abilities_to_proto, host.abilities_from_proto),
    Snapshot: _Form(session_pb2.Snapshot, session.snapshot_to_proto, session.snapshot_from_proto),
}
