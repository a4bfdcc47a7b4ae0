"""What is written can be read, and is the same; whatever else is read gives a value or a WireError."""

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from numaplace import wire
from numaplace.model import session as model
from numaplace.model.session import Instruction, Report
from numaplace.v1 import session_pb2
from numaplace.wire.session import _INSTRUCTION_FIELDS, _INSTRUCTIONS, _REPORT_FIELDS, _REPORTS
from numaplace.wire.stored import _FORMS, Storable
from tests import strategies


@given(st.integers(1, (1 << 63) - 1), strategies.reports)
def test_a_report_comes_back_from_bytes_as_it_was_sent(sequence: int, report: Report) -> None:
    """Every report survives the wire, with its number."""
    data = wire.report_to_proto(sequence, report).SerializeToString()
    assert wire.report_from_proto(session_pb2.AgentMessage.FromString(data)) == (sequence, report)


@given(strategies.instructions)
def test_an_instruction_comes_back_from_bytes_as_it_was_sent(instruction: Instruction) -> None:
    """Every instruction survives the wire."""
    data = wire.instruction_to_proto(instruction).SerializeToString()
    assert wire.instruction_from_proto(session_pb2.SchedulerMessage.FromString(data)) == instruction


storables = st.one_of(
    strategies.policies,
    strategies.policy_sets,
    strategies.orders,
    strategies.outcomes,
    strategies.progresses,
    strategies.tasks,
    strategies.home_changes,
    strategies.residencies,
    strategies.topologies(),
    strategies.loads,
    strategies.abilities,
    strategies.snapshots(),
)


@given(storables)
def test_a_stored_value_comes_back_as_it_was(value: Storable) -> None:
    """A journal gives back what it was given."""
    assert wire.from_bytes(type(value), wire.to_bytes(value)) == value


def test_every_report_and_instruction_has_a_place_on_the_wire() -> None:
    """The tables, the model's unions and the messages' oneofs name the same kinds."""
    assert set(_REPORT_FIELDS) == set(get_args(model.Report))
    assert set(_INSTRUCTION_FIELDS) == set(get_args(model.Instruction))
    assert set(_FORMS) == set(get_args(Storable))
    for message, fields, readers in (
        (session_pb2.AgentMessage, _REPORT_FIELDS, _REPORTS),
        (session_pb2.SchedulerMessage, _INSTRUCTION_FIELDS, _INSTRUCTIONS),
    ):
        body = {field.name for field in message.DESCRIPTOR.oneofs_by_name["body"].fields}
        assert {name for name, _ in fields.values()} == body == set(readers)
