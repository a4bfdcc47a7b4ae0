"""The life of an order in the pure state."""

import pytest

from numaplace.model.job import Task
from numaplace.model.move import MoveOrder, MoveOutcome, MoveProgress, MoveState
from numaplace.model.policy import MIB
from numaplace.model.residency import Residency
from numaplace.model.session import AcknowledgeOutcome, CancelMove, Measure, MoveAccepted
from scheduler.planning.records import Move
from scheduler.planning.records import Stage as MoveStage
from scheduler.state.bounds import Bounds
from scheduler.state.events import CancelRequested
from scheduler.state.instructions import CloseCause, CloseSession, Fault, FaultKind, SendTo, StoreOrder, StoreOutcome
from scheduler.state.machine import Restored
from tests.unit.scheduler.scene import (
    HOST,
    TASK,
    Stage,
    home_change,
    make_snapshot,
    make_task,
    nodes,
    of_kind,
    only,
    outcome_of,
    sent,
)


def test_drift_becomes_one_order_to_the_new_home() -> None:
    """A home change leads, once settled, to one order that names old home, new home and version."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    assert (order.task, order.home, order.previous_home, order.home_version) == (TASK, nodes(1), nodes(0), 2)
    assert not sent(stage.pass_time(1), MoveOrder)


def test_order_is_stored_before_it_is_sent() -> None:
    """No order leaves before it is durable."""
    stage = Stage()
    stage.order(stage.join(make_task()))
    assert stage.stored_before_sent()


def test_outcome_is_stored_before_it_is_acknowledged() -> None:
    """The acknowledgement follows the outcome's storing, and both happen."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    done = stage.report(session, outcome_of(order))
    kinds = [type(d) if not isinstance(d, SendTo) else type(d.message) for d in done]
    assert kinds.index(StoreOutcome) < kinds.index(AcknowledgeOutcome)


def test_duplicate_outcome_is_acknowledged_again_without_change() -> None:
    """An outcome that is repeated changes nothing but is acknowledged each time."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    stage.report(session, outcome_of(order))
    before = stage.state.book.find(order.id)
    done = stage.report(session, outcome_of(order, MoveState.FAILED))
    assert only(sent(done, AcknowledgeOutcome)).move == order.id
    assert not of_kind(done, StoreOutcome)
    assert stage.state.book.find(order.id) == before


def test_acceptance_and_progress_advance_the_stage() -> None:
    """Planned, sent, accepted, running, finished, as the host says."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    assert stage.state.book.open[order.id].stage is MoveStage.SENT
    stage.accept(session, order)
    assert stage.state.book.open[order.id].stage is MoveStage.ACCEPTED
    stage.report(session, MoveProgress(order.id, 1, 2, 3.0, Residency()))
    assert stage.state.book.open[order.id].stage is MoveStage.RUNNING
    stage.report(session, outcome_of(order))
    assert stage.state.book.ended[order.id].stage is MoveStage.FINISHED


def test_outcome_teaches_what_the_host_costs() -> None:
    """A move's pace enters the host's costs."""
    stage = Stage()
    session = stage.join(make_task())
    before = stage.state.world.hosts[HOST].costs
    stage.report(session, outcome_of(stage.order(session)))
    assert stage.state.world.hosts[HOST].costs.bytes_per_s < before.bytes_per_s


def test_newer_home_cancels_the_move_and_orders_anew_after_its_outcome() -> None:
    """A home change in mid-move ends that move; only its outcome lets the next order out."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    stage.accept(session, order)
    done = stage.report(session, home_change(home=0, version=3, previous=1))
    cancel = only(sent(done, CancelMove))
    assert cancel.move == order.id
    assert cancel.reason.startswith("superseded: ")
    assert not sent(stage.pass_time(5), MoveOrder)
    half = {0: 200 * MIB, 1: 200 * MIB}
    done = stage.report(session, outcome_of(order, MoveState.SUPERSEDED, half))
    assert only(sent(done, MoveOrder)).home == nodes(0)


def test_home_that_bounces_back_before_it_settles_moves_nothing() -> None:
    """Away and back within the settling time is no drift."""
    stage = Stage()
    session = stage.join(make_task())
    stage.report(session, home_change(home=1, version=2))
    stage.report(session, home_change(home=0, version=3, previous=1))
    assert not sent(stage.pass_time(60), MoveOrder)


def test_change_that_moves_nothing_asks_where_the_pages_are_once() -> None:
    """An old residency is measured anew after a change that has settled, but not again while the answer is due."""
    stage = Stage()
    session = stage.join(make_task())
    stage.pass_time(10)
    assert not sent(stage.report(session, home_change(home=1, version=2)), Measure)
    assert sent(stage.report(session, home_change(home=0, version=3, previous=1)), Measure)
    assert not sent(stage.pass_time(1), Measure)


def test_change_that_is_moved_for_asks_nothing() -> None:
    """The move itself tells where the pages are; locating them first would compete with it."""
    stage = Stage()
    session = stage.join(make_task())
    stage.pass_time(10)
    done = stage.report(session, home_change(version=2))
    done += stage.pass_time(1)
    assert sent(done, MoveOrder)
    assert not sent(done, Measure)


def test_unanswered_order_is_sent_again_then_the_session_is_closed() -> None:
    """Repetitions are bounded; an agent that never answers to an order loses its session."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    again = [m for _ in range(6) for m in stage.pass_time(100)]
    assert sent(again, MoveOrder) == [order] * 4
    assert only(of_kind(again, CloseSession)).cause is CloseCause.UNRESPONSIVE
    assert stage.state.book.open[order.id]


def test_order_the_agent_does_not_know_is_sent_again_after_reconnect() -> None:
    """The connection broke before the order arrived and the home is still the same: the same order again."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    stage.lose(session)
    again = stage.dial()
    moved = make_task(home=1, version=2)
    assert sent(stage.report(again, make_snapshot([moved])), MoveOrder) == [order]


@pytest.mark.parametrize(
    ("tasks", "state", "word"),
    [
        ([make_task(home=0, version=3)], MoveState.SUPERSEDED, "home changed"),
        ([], MoveState.CANCELLED, "task ended"),
    ],
)
def test_order_that_lost_its_point_ends_on_reconnect(tasks: tuple[Task, ...], state: MoveState, word: str) -> None:
    """A home that changed or a task that ended meanwhile: the order ends here, truthfully, and is not sent."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    stage.lose(session)
    done = stage.report(stage.dial(), make_snapshot(tasks))
    assert order not in sent(done, MoveOrder)
    ended = stage.state.book.ended[order.id]
    assert ended.by_scheduler
    assert ended.outcome is not None
    assert ended.outcome.state is state
    assert word in ended.outcome.words


def test_rebooted_host_ends_its_orders() -> None:
    """Orders of an earlier boot are void, accepted or not."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    stage.accept(session, order)
    stage.lose(session)
    stage.report(stage.dial(boot_id="b2"), make_snapshot([make_task(home=1, version=2)]))
    outcome = stage.state.book.ended[order.id].outcome
    assert outcome is not None
    assert outcome.state is MoveState.FAILED
    assert "rebooted" in outcome.words


def test_accepted_order_that_the_agent_lost_fails() -> None:
    """An agent that accepted an order and knows it no more, in the same boot, lost its journal: never run it twice."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    stage.accept(session, order)
    stage.lose(session)
    done = stage.report(stage.dial(), make_snapshot([make_task(home=1, version=2)]))
    assert order not in sent(done, MoveOrder)
    outcome = stage.state.book.ended[order.id].outcome
    assert outcome is not None
    assert outcome.state is MoveState.FAILED


def test_snapshot_within_the_session_sends_the_order_again() -> None:
    """A snapshot made before the order arrived does not end it: the order may be under way."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    assert sent(stage.report(session, make_snapshot([make_task(home=0, version=3)])), MoveOrder) == [order]
    assert order.id in stage.state.book.open


def test_late_outcome_corrects_what_the_scheduler_wrote() -> None:
    """The host is the truth: its outcome replaces the one that was written for it, once."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    stage.lose(session)
    again = stage.dial()
    stage.report(again, make_snapshot([make_task(home=0, version=3)]))
    truth = outcome_of(order, MoveState.PARTIAL)
    assert only(of_kind(stage.report(again, truth), StoreOutcome)).move.outcome == truth
    assert not of_kind(stage.report(again, outcome_of(order)), StoreOutcome)
    assert stage.state.book.ended[order.id].outcome == truth


def test_agents_own_open_move_is_adopted_and_blocks_orders() -> None:
    """A move that the agent began alone counts: no second order for its task until it has ended."""
    stage = Stage()
    session = stage.dial()
    drifted = make_task(home=1, version=2)
    own = MoveOrder("alone-1", TASK, nodes(1), nodes(0), 2, stage.state.world.policies.default)  # type: ignore[arg-type]
    done = stage.report(session, make_snapshot([drifted], open_moves=[own]))
    assert stage.state.book.open[own.id].by_agent_alone
    assert not sent([*done, *stage.pass_time(10)], MoveOrder)
    stage.report(session, outcome_of(own))
    assert stage.state.book.ended[own.id].by_agent_alone


def test_outcome_of_a_move_made_alone_is_kept_and_acknowledged() -> None:
    """What the agent did alone enters the history."""
    stage = Stage()
    session = stage.join(make_task())
    outcome = MoveOutcome("alone-7", TASK, MoveState.COMPLETED, "done")  # type: ignore[arg-type]
    done = stage.report(session, outcome)
    assert only(of_kind(done, StoreOutcome)).move.by_agent_alone
    assert only(sent(done, AcknowledgeOutcome)).move == "alone-7"


def test_late_outcome_of_an_order_that_is_forgotten_is_not_the_agents_own() -> None:
    """An order of this scheduler, or of one whose store was lost, was never decided by the agent alone."""
    stage = Stage(bounds=Bounds(history_max=1))
    session = stage.join(make_task())
    first = stage.order(session)
    stage.report(session, outcome_of(first))
    stage.pass_time(60)
    stage.report(session, outcome_of(stage.order(session, home=0, version=3)))
    assert stage.state.book.find(first.id) is None
    move = only(of_kind(stage.report(session, outcome_of(first)), StoreOutcome)).move
    assert (move.id, move.by_agent_alone) == (first.id, False)


def test_acceptance_of_an_unknown_order_is_a_fault_and_ignored() -> None:
    """Unknown ids change nothing."""
    stage = Stage()
    session = stage.join(make_task())
    done = stage.report(session, MoveAccepted("nobody"))  # type: ignore[arg-type]
    assert only(of_kind(done, Fault)).kind is FaultKind.UNKNOWN_MOVE
    assert not stage.state.book.open


def test_another_hosts_outcome_is_not_believed() -> None:
    """A host speaks for its own moves only."""
    stage = Stage()
    order = stage.order(stage.join(make_task()))
    stranger = stage.join(host="h2")  # type: ignore[arg-type]
    done = stage.report(stranger, outcome_of(order))
    assert only(of_kind(done, Fault)).kind is FaultKind.CONTRADICTION
    assert order.id in stage.state.book.open


def test_cancelled_move_is_not_ordered_again_until_the_home_changes() -> None:
    """A person's word holds until something changes."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    done = stage.tell(CancelRequested(order.id, "asked by root"))
    assert only(sent(done, CancelMove)) == CancelMove(order.id, "asked by root")
    stage.report(session, outcome_of(order, MoveState.CANCELLED, {0: 400 * MIB}))
    assert not sent(stage.pass_time(600), MoveOrder)
    stage.report(session, home_change(home=0, version=3, previous=1))
    stage.report(session, home_change(home=1, version=4))
    assert sent(stage.pass_time(600), MoveOrder)


def test_restored_order_is_sent_to_an_agent_that_does_not_know_it() -> None:
    """After a crash between storing and sending, the reconnecting agent gets the stored order."""
    first = Stage()
    session = first.join(make_task())
    order = first.order(session)
    moves = tuple(m.move for m in of_kind(first.log, StoreOrder))
    assert [m.stage for m in moves] == [MoveStage.PLANNED]
    second = Stage(Restored(moves=moves), epoch="run2")
    done = second.report(second.dial(), make_snapshot([make_task(home=1, version=2)]))
    assert sent(done, MoveOrder) == [order]


def test_restored_accepted_order_goes_on() -> None:
    """After a crash the agent still runs the order: it is neither sent again nor given anew."""
    first = Stage()
    session = first.join(make_task())
    order = first.order(session)
    first.accept(session, order)
    latest: dict[str, Move] = {m.move.id: m.move for m in of_kind(first.log, StoreOrder)}
    second = Stage(Restored(moves=tuple(latest.values())), epoch="run2")
    again = second.dial()
    done = second.report(again, make_snapshot([make_task(home=1, version=2)], open_moves=[order]))
    assert not sent([*done, *second.pass_time(60)], MoveOrder)
    second.report(again, outcome_of(order))
    assert second.state.book.ended[order.id].outcome is not None


def test_host_that_stays_away_a_day_is_forgotten_and_its_orders_end() -> None:
    """No order stays open for ever."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    stage.lose(session)
    stage.pass_time(86_401)
    assert HOST not in stage.state.world.hosts
    outcome = stage.state.book.ended[order.id].outcome
    assert outcome is not None
    assert outcome.state is MoveState.FAILED


def test_restart_remembers_what_was_tried() -> None:
    """A scheduler that starts anew does not at once repeat the moves that left bytes behind."""
    first = Stage()
    session = first.join(make_task())
    order = first.order(session)
    first.report(session, outcome_of(order, MoveState.PARTIAL, {0: 100 * MIB, 1: 300 * MIB}))
    history = tuple(m.move for m in of_kind(first.log, StoreOutcome))
    second = Stage(Restored(moves=history), epoch="run2")
    drifted = make_task(home=1, version=2, pages={0: 100 * MIB, 1: 300 * MIB})
    second.report(second.dial(), make_snapshot([drifted]))
    assert not sent([*second.log, *second.pass_time(20)], MoveOrder)
    assert sent(second.pass_time(20), MoveOrder)


def test_agent_cannot_take_the_id_of_an_order_to_come() -> None:
    """An agent that claims the next id as a move of its own does not stop the scheduler."""
    stage = Stage()
    session = stage.join(make_task(), make_task("cgroup:/other", "other"))
    first = stage.order(session)
    claimed = MoveOutcome("run1-2", TASK, MoveState.COMPLETED, "mine")  # type: ignore[arg-type] # a move's name
    stage.report(session, claimed)
    stage.report(session, home_change("cgroup:/other", version=9))
    assert only(sent(stage.pass_time(0.5), MoveOrder)).id not in (first.id, claimed.move)
