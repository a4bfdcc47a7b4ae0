"""A reader takes nothing on trust: bad fields are named, and no bytes lead to anything but a value or a WireError."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

from numaplace import wire
from numaplace.model.ids import JobId, MoveId, NodeId, TaskId
from numaplace.model.job import Home, Task
from numaplace.model.move import LeftReason, MoveOrder, MoveOutcome, MoveState
from numaplace.model.policy import Policy
from numaplace.model.residency import Residency
from numaplace.model.session import Abilities, Report, Snapshot
from numaplace.model.topology import Topology
from numaplace.v1 import session_pb2, types_pb2
from numaplace.wire import checks
from numaplace.wire.stored import _FORMS, Storable
from tests import strategies

HOME = frozenset({NodeId(1)})
TASK = Task(
    id=TaskId("cgroup:/a"),
    job=JobId("a"),
    command="a",
    cpus=frozenset(),
    mems=HOME,
    home=Home(HOME, 1),
    previous_home=frozenset(),
    processes=1,
    threads=1,
    age_s=1.0,
)
ORDER = MoveOrder(MoveId("m"), TASK.id, HOME, frozenset(), 1, Policy())
OUTCOME = MoveOutcome(MoveId("m"), TASK.id, MoveState.COMPLETED, "done")


@given(st.binary(max_size=200))
def test_random_bytes_give_a_value_or_a_wire_error(data: bytes) -> None:
    """No bytes that the decoder accepts can raise anything but WireError in the readers."""
    for parse in (_read_report, _read_instruction):
        try:
            parse(data)
        except (wire.WireError, DecodeError):
            continue


def _read_report(data: bytes) -> object:
    return wire.report_from_proto(session_pb2.AgentMessage.FromString(data))


def _read_instruction(data: bytes) -> object:
    return wire.instruction_from_proto(session_pb2.SchedulerMessage.FromString(data))


@given(strategies.reports, st.data())
def test_a_damaged_report_gives_a_value_or_a_wire_error(report: Report, data: st.DataObject) -> None:
    """Flipping, cutting and adding bytes of a real message never raises anything but WireError."""
    damaged = bytearray(wire.report_to_proto(1, report).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    try:
        _read_report(bytes(damaged[:cut]) + data.draw(st.binary(max_size=8)))
    except (wire.WireError, DecodeError):
        return


def fill(message: Message, draw: st.DrawFn, depth: int = 0) -> None:
    """Give a message any content that its schema allows: hostile numbers, texts and enums."""
    for field in message.DESCRIPTOR.fields:
        if not draw(st.booleans()) or depth > 3:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        values = [_any_scalar(field, draw) for _ in range(draw(st.integers(0, 2)))]
        if field.message_type is not None:
            parts = [getattr(message, field.name).add() for _ in values] if _repeated(field) else [None]
            for part in parts:
                target = getattr(message, field.name) if part is None else part
                target.SetInParent()
                fill(target, draw, depth + 1)
        elif _repeated(field):
            getattr(message, field.name).extend(values)
        elif values:
            setattr(message, field.name, values[0])


def _repeated(field: Any) -> bool:  # noqa: ANN401 - descriptors differ between protobuf's runtimes
    # FieldDescriptor.label is deprecated in newer runtimes, is_repeated missing in older ones.
    return hasattr(getattr(field.containing_type._concrete_class(), field.name), "extend")


def _any_scalar(field: Any, draw: st.DrawFn) -> object:  # noqa: ANN401 - descriptors differ between protobuf's runtimes
    if field.cpp_type == field.CPPTYPE_STRING:
        lists = st.sampled_from(["", "0", "0-3,8", "3-1", "0,0", "99999999", "0-65535", "-", "0-", "٣", "a\x1b[2J"])
        return draw(lists | st.text(st.characters(codec="utf-8"), max_size=5))
    if field.cpp_type == field.CPPTYPE_DOUBLE:
        return draw(st.floats() | st.sampled_from([0.0, -0.0, -1.0, 0.5]))
    if field.cpp_type == field.CPPTYPE_BOOL:
        return draw(st.booleans())
    if field.cpp_type == field.CPPTYPE_ENUM:
        return draw(st.integers(-1, 15))
    most = (1 << 32) - 1 if field.cpp_type == field.CPPTYPE_UINT32 else (1 << 64) - 1
    return draw(st.sampled_from([0, 1, 2, most]) | st.integers(0, 40))


@st.composite
def hostile(draw: st.DrawFn, message: type[Message]) -> Message:
    """Any content of a message."""
    made = message()
    fill(made, draw)
    return made


@pytest.mark.parametrize("kind", list(_FORMS), ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_any_content_gives_a_value_that_can_be_written_or_a_wire_error(
    kind: type[Storable], data: st.DataObject
) -> None:
    """What is accepted is sound: it can be written and read again, and is the same."""
    form = _FORMS[kind]
    message = data.draw(hostile(form.message))
    try:
        value = form.from_proto(message)
    except wire.WireError:
        return
    assert form.from_proto(form.to_proto(value)) == value


def _changed(message: Message, **fields: object) -> Any:  # noqa: ANN401 - each case reads its own message
    for path, value in fields.items():
        target: Any = message
        *parents, last = path.split("__")
        for parent in parents:
            target = getattr(target, parent)
        if value is None:
            target.ClearField(last)
        elif isinstance(value, list):
            getattr(target, last).extend(value)
        elif isinstance(value, dict):
            getattr(target, last).update(value)
        else:
            setattr(target, last, value)
    return message


def _order(**fields: object) -> Callable[[], object]:
    return lambda: wire.order_from_proto(_changed(wire.order_to_proto(ORDER), **fields), "order")


def _task(**fields: object) -> Callable[[], object]:
    return lambda: wire.task_from_proto(_changed(wire.task_to_proto(TASK), **fields))


def _outcome(**fields: object) -> Callable[[], object]:
    return lambda: wire.outcome_from_proto(_changed(wire.outcome_to_proto(OUTCOME), **fields), "outcome")


def _topology(*nodes: types_pb2.Node) -> Callable[[], object]:
    return lambda: wire.topology_from_proto(types_pb2.Topology(nodes=nodes))


def _snapshot(**fields: object) -> Callable[[], object]:
    plain = Snapshot(Topology(()), Abilities(), ())
    return lambda: wire.snapshot_from_proto(_changed(wire.snapshot_to_proto(plain), **fields))


_CELL = types_pb2.ResidencyCell(node=0, size="PAGE_SIZE_BASE", kind="PAGE_KIND_ANON", bytes=4096)
_LEFT = types_pb2.Left(reason="LEFT_REASON_BUSY", bytes=1)

BAD = [
    ("order.id", _order(id="")),
    ("order.id", _order(id="x" * (checks.ID_CHARS_MAX + 1))),
    ("order.id", _order(id="a\nb")),
    ("order.home", _order(home="")),
    ("order.home", _order(home="1024")),
    ("order.home", _order(home="3-1")),
    ("order.home", _order(home="0,0")),
    ("order.home", _order(home="0-3,2")),
    ("order.home", _order(home="0-")),
    ("order.home", _order(home=" 1")),
    ("order.home", _order(home="٣")),
    ("order.home_version", _order(home_version=1 << 63)),
    ("order.policy", _order(policy=None)),
    ("order.policy.budget", _order(policy__budget=None)),
    ("order.policy.budget", _order(policy__budget__stall_ms_max=0.0)),
    ("order.policy.budget.stall_ms_max", _order(policy__budget__stall_ms_max=float("nan"))),
    ("order.policy.mode", _order(policy__mode=0)),
    ("order.policy.mode", _order(policy__mode=99)),
    ("order.policy", _order(policy__kinds=None)),
    ("order.policy.kinds", _order(policy__kinds=[1] * 17)),
    ("order.policy.kinds", _order(policy__kinds=[0])),
    ("order.policy.settle_s", _order(policy__settle_s=float("inf"))),
    ("order.policy.settle_s", _order(policy__settle_s=-1.0)),
    ("order.policy", _order(policy__min_locality_gain=1.5)),
    ("order.policy.min_remote_bytes", _order(policy__min_remote_bytes=1 << 60)),
    ("task.job", _task(job="")),
    ("task.home", _task(home=None)),
    ("task.cpus", _task(cpus="0-8192")),
    ("task.cpus", _task(cpus="0," * checks.LIST_CHARS_MAX)),
    ("task.age_s", _task(age_s=float("-inf"))),
    ("task.memory_policy", _task(memory_policy=0)),
    ("task.command", _task(command="x" * (checks.TEXT_CHARS_MAX + 1))),
    ("task.residency.cells", _task(residency__cells=[_CELL, _CELL])),
    ("task.residency.cells", _task(residency__cells=[_CELL] * 16_385)),
    ("task.residency.cells.size", _task(residency__cells=[types_pb2.ResidencyCell(node=0, kind="PAGE_KIND_ANON")])),
    ("task.residency.cells.node", _task(residency__cells=[types_pb2.ResidencyCell(node=5000)])),
    ("outcome.state", _outcome(state=2)),
    ("outcome.state", _outcome(state=0)),
    ("outcome.strategy", _outcome(strategy=77)),
    ("outcome.left.reason", _outcome(left=[_LEFT, _LEFT])),
    ("outcome.left", _outcome(left=[_LEFT] * (len(LeftReason) + 1))),
    ("outcome.first_page_s", _outcome(first_page_s=-0.5)),
    ("outcome.counters.ours.pgmigrate_fail", _outcome(counters__ours__pgmigrate_fail=1 << 63)),
    ("topology", _topology(types_pb2.Node(id=1), types_pb2.Node(id=0))),
    ("topology.nodes[1].cpus", _topology(types_pb2.Node(id=0, cpus="0-3"), types_pb2.Node(id=1, cpus="3"))),
    ("topology.nodes[0].distances", _topology(types_pb2.Node(id=0, distances={0: 0}))),
    ("topology.nodes", _topology(*[types_pb2.Node()] * 1025)),
    ("snapshot.topology", _snapshot(topology=None)),
    ("snapshot.load", _snapshot(load=None)),
    ("snapshot.load.free_bytes", _snapshot(load__free_bytes={4000: 1})),
    ("snapshot.tasks.id", _snapshot(tasks=[wire.task_to_proto(TASK)] * 2)),
    ("snapshot", _snapshot(open_moves=[wire.order_to_proto(ORDER)], outcomes=[wire.outcome_to_proto(OUTCOME)])),
]


@pytest.mark.parametrize(("field", "read"), BAD, ids=[f"{n}-{field}" for n, (field, _) in enumerate(BAD)])
def test_the_error_names_the_field(field: str, read: Callable[[], object]) -> None:
    """Whoever sent a bad message can find what was wrong with it."""
    with pytest.raises(wire.WireError) as caught:
        read()
    assert caught.value.field == field
    assert caught.value.words in str(caught.value)


def test_the_examples_are_good_before_they_are_changed() -> None:
    """The cases above fail for what they change, not for something else."""
    for read in (_order(), _task(), _outcome(), _topology(), _snapshot()):
        read()


def test_a_snapshot_cannot_stand_for_more_memory_than_it_may() -> None:
    """Short texts that expand to many CPUs each are refused in time."""
    tasks = [
        types_pb2.Task(
            id=f"t{n}", job="j", cpus=f"{n}-8191", home=types_pb2.Home(), memory_policy="MEMORY_POLICY_DEFAULT"
        )
        for n in range(600)
    ]
    with pytest.raises(wire.WireError, match="CPUs in all"):
        _snapshot(tasks=tasks)()


def test_words_are_safe_to_print_in_both_directions() -> None:
    """A process that names itself with terminal escapes or bytes that are no UTF-8 does no harm."""
    assert wire.clean("a\x1b[2J\udcff") == "a\ufffd[2J\ufffd"
    sent = wire.task_to_proto(replace(TASK, command="\x1b\udcff"))
    assert wire.task_from_proto(sent).command == "\ufffd\ufffd"
    sent.command = "a\x07"
    assert wire.task_from_proto(sent).command == "a\ufffd"


def test_damaged_bytes_are_a_wire_error() -> None:
    """A journal that was cut says so."""
    data = wire.to_bytes(OUTCOME)
    with pytest.raises(wire.WireError, match="damaged"):
        wire.from_bytes(MoveOutcome, data[:-1])
    with pytest.raises(wire.WireError):
        wire.from_bytes(Residency, b"\xff\xff\xff")


def test_a_negative_zero_is_zero() -> None:
    """So that nobody reads ``-0``."""
    assert str(checks.number(-0.0, "x")) == "0.0"
