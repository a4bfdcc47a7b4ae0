"""Moves on the wire: the order, how far it is, and the account of how it ended."""

from collections.abc import Mapping, Sequence

from numaplace.model.cpuset import format_id_list
from numaplace.model.ids import MoveId, Nodes, TaskId
from numaplace.model.move import (
    CounterAccount,
    LeftReason,
    MigrationCounters,
    MoveOrder,
    MoveOutcome,
    MoveProgress,
    MoveState,
    Strategy,
)
from numaplace.v1 import types_pb2 as pb
from numaplace.wire import checks
from numaplace.wire.checks import EnumTable, WireError
from numaplace.wire.policy import policy_from_proto, policy_to_proto
from numaplace.wire.task import residency_from_proto, residency_to_proto

MOVE_STATES = EnumTable(MoveState, pb.MoveState, "MOVE_STATE_")
STRATEGIES = EnumTable(Strategy, pb.Strategy, "STRATEGY_")
LEFT_REASONS = EnumTable(LeftReason, pb.LeftReason, "LEFT_REASON_")


def left_to_proto(left: Mapping[LeftReason, int]) -> list[pb.Left]:
    """Bytes left by reason as they are sent; reasons without bytes are left out."""
    return [pb.Left(reason=LEFT_REASONS.to_proto(reason), bytes=size) for reason, size in left.items() if size]


def left_from_proto(sent: Sequence[pb.Left], at: str = "left") -> Mapping[LeftReason, int]:
    """Bytes left by reason as they were sent; raises WireError. A reason is named once."""
    checks.entries(sent, at, len(LeftReason))
    left: dict[LeftReason, int] = {}
    for entry in sent:
        reason = LEFT_REASONS.from_proto(entry.reason, f"{at}.reason")
        if reason in left:
            raise WireError(f"{at}.reason", f"names {reason.value} twice")
        left[reason] = checks.size_bytes(entry.bytes, f"{at}.bytes")
    return {reason: size for reason, size in left.items() if size}


def order_to_proto(order: MoveOrder) -> pb.MoveOrder:
    """An order as it is sent."""
    return pb.MoveOrder(
        id=order.id,
        task=order.task,
        home=format_id_list(order.home),
        previous_home=format_id_list(order.previous_home),
        home_version=order.home_version,
        policy=policy_to_proto(order.policy),
    )


def order_from_proto(message: pb.MoveOrder, at: str = "start_move") -> MoveOrder:
    """An order as it was sent; raises WireError. It must name a home to go to."""
    checks.present(message, "policy", at)
    return MoveOrder(
        id=MoveId(checks.name(message.id, f"{at}.id")),
        task=TaskId(checks.name(message.task, f"{at}.task")),
        home=_some_nodes(message.home, f"{at}.home"),
        previous_home=checks.nodes(message.previous_home, f"{at}.previous_home"),
        home_version=checks.count(message.home_version, f"{at}.home_version"),
        policy=policy_from_proto(message.policy, f"{at}.policy"),
    )


def _some_nodes(text: str, at: str) -> Nodes:
    nodes = checks.nodes(text, at)
    if not nodes:
        raise WireError(at, "names no node")
    return nodes


def progress_to_proto(progress: MoveProgress) -> pb.MoveProgress:
    """A move's progress as it is sent."""
    return pb.MoveProgress(
        move=progress.move,
        moved_bytes=progress.moved_bytes,
        todo_bytes=progress.todo_bytes,
        pace_bytes_per_s=progress.pace_bytes_per_s,
        residency=residency_to_proto(progress.residency),
        left=left_to_proto(progress.left),
    )


def progress_from_proto(message: pb.MoveProgress, at: str = "move_progress") -> MoveProgress:
    """A move's progress as it was sent; raises WireError."""
    return MoveProgress(
        move=MoveId(checks.name(message.move, f"{at}.move")),
        moved_bytes=checks.size_bytes(message.moved_bytes, f"{at}.moved_bytes"),
        todo_bytes=checks.size_bytes(message.todo_bytes, f"{at}.todo_bytes"),
        pace_bytes_per_s=checks.number(message.pace_bytes_per_s, f"{at}.pace_bytes_per_s", checks.RATE_MAX),
        residency=residency_from_proto(message.residency, f"{at}.residency"),
        left=left_from_proto(message.left, f"{at}.left"),
    )


def _counters_to_proto(counters: MigrationCounters) -> pb.MigrationCounters:
    return pb.MigrationCounters(
        pgmigrate_success=counters.pgmigrate_success,
        pgmigrate_fail=counters.pgmigrate_fail,
        thp_migration_success=counters.thp_migration_success,
        thp_migration_fail=counters.thp_migration_fail,
        thp_migration_split=counters.thp_migration_split,
    )


def _counters_from_proto(message: pb.MigrationCounters, at: str) -> MigrationCounters:
    return MigrationCounters(
        pgmigrate_success=checks.count(message.pgmigrate_success, f"{at}.pgmigrate_success"),
        pgmigrate_fail=checks.count(message.pgmigrate_fail, f"{at}.pgmigrate_fail"),
        thp_migration_success=checks.count(message.thp_migration_success, f"{at}.thp_migration_success"),
        thp_migration_fail=checks.count(message.thp_migration_fail, f"{at}.thp_migration_fail"),
        thp_migration_split=checks.count(message.thp_migration_split, f"{at}.thp_migration_split"),
    )


def _account_to_proto(account: CounterAccount) -> pb.CounterAccount:
    ours = None if account.ours is None else _counters_to_proto(account.ours)
    return pb.CounterAccount(host=_counters_to_proto(account.host), ours=ours)


def _account_from_proto(message: pb.CounterAccount, at: str) -> CounterAccount:
    ours = _counters_from_proto(message.ours, f"{at}.ours") if message.HasField("ours") else None
    return CounterAccount(_counters_from_proto(message.host, f"{at}.host"), ours)


def outcome_to_proto(outcome: MoveOutcome) -> pb.MoveOutcome:
    """An outcome as it is sent."""
    return pb.MoveOutcome(
        move=outcome.move,
        task=outcome.task,
        state=MOVE_STATES.to_proto(outcome.state),
        words=checks.clean(outcome.words),
        strategy=None if outcome.strategy is None else STRATEGIES.to_proto(outcome.strategy),
        strategy_reason=checks.clean(outcome.strategy_reason),
        moved_bytes=outcome.moved_bytes,
        left=left_to_proto(outcome.left),
        seconds=outcome.seconds,
        first_page_s=outcome.first_page_s,
        call_ms_max=outcome.call_ms_max,
        stall_ms_max=outcome.stall_ms_max,
        calls=outcome.calls,
        counters=_account_to_proto(outcome.counters),
        residency=residency_to_proto(outcome.residency),
        new_pages=checks.clean(outcome.new_pages),
    )


def outcome_from_proto(message: pb.MoveOutcome, at: str = "move_finished") -> MoveOutcome:
    """An outcome as it was sent; raises WireError. Its state must be a final one."""
    state = MOVE_STATES.from_proto(message.state, f"{at}.state")
    if not state.final:
        raise WireError(f"{at}.state", f"is {state.value}, which is not an end")
    first = message.first_page_s if message.HasField("first_page_s") else None
    return MoveOutcome(
        move=MoveId(checks.name(message.move, f"{at}.move")),
        task=TaskId(checks.name(message.task, f"{at}.task")),
        state=state,
        words=checks.words(message.words, f"{at}.words"),
        strategy=STRATEGIES.optional_from_proto(message.strategy, f"{at}.strategy"),
        strategy_reason=checks.words(message.strategy_reason, f"{at}.strategy_reason"),
        moved_bytes=checks.size_bytes(message.moved_bytes, f"{at}.moved_bytes"),
        left=left_from_proto(message.left, f"{at}.left"),
        seconds=checks.number(message.seconds, f"{at}.seconds"),
        first_page_s=None if first is None else checks.number(first, f"{at}.first_page_s"),
        call_ms_max=checks.number(message.call_ms_max, f"{at}.call_ms_max"),
        stall_ms_max=checks.number(message.stall_ms_max, f"{at}.stall_ms_max"),
        calls=checks.count(message.calls, f"{at}.calls"),
        counters=_account_from_proto(message.counters, f"{at}.counters"),
        residency=residency_from_proto(message.residency, f"{at}.residency"),
        new_pages=checks.words(message.new_pages, f"{at}.new_pages"),
    )
