"""How orders are taken in, turned down, ended early and closed; told to the whole core, as the scheduler tells it."""

import pytest

from node_agent.core.desk import UNKNOWN_TASK, Limits
from node_agent.core.events import (
    AbilitiesKnown,
    CancelMover,
    JournalAccept,
    JournalFinish,
    Publish,
    Send,
    SessionOpened,
    StartMover,
)
from numaplace.model.ids import MoveId, TaskId
from numaplace.model.move import LeftReason, MoveOutcome, MoveState
from numaplace.model.session import Abilities, AcknowledgeOutcome, CancelMove, MoveAccepted
from tests.fakes.agent import GIB, Driven, T, U, nodes, order


@pytest.fixture
def agent() -> Driven:
    """In a session, with two tasks on node 1 whose pages are on node 0."""
    driven = Driven()
    driven.sweep(a=1, b=1)
    driven.tell(SessionOpened())
    for _ in range(2):
        driven.located(driven.take_measured(), n0=GIB)
    return driven


def test_an_order_is_journalled_then_reported_then_started(agent: Driven) -> None:
    """Only what cannot be lost any more is reported, and only what is reported runs."""
    done = agent.told(order("m"))
    kinds = [type(do) for do in done]
    assert kinds == [JournalAccept, Send, Publish, StartMover]
    assert done[1] == Send(MoveAccepted(MoveId("m")))


def test_an_outcome_is_journalled_before_it_is_reported(agent: Driven) -> None:
    """An outcome that was heard is never forgotten by a crash."""
    agent.told(order("m"))
    kinds = [type(do) for do in agent.end("m")]
    assert kinds.index(JournalFinish) < kinds.index(Send) < kinds.index(Publish)


def test_a_repeated_order_is_answered_as_before_and_not_run_again(agent: Driven) -> None:
    """Orders are idempotent: while open, when ended, and after the outcome was acknowledged."""
    agent.told(order("m"))
    assert agent.told(order("m")) == [Send(MoveAccepted(MoveId("m")))]
    agent.end("m")
    ended = agent.finished[MoveId("m")]
    assert agent.told(order("m")) == [Send(ended)]
    agent.told(AcknowledgeOutcome(MoveId("m")))
    assert agent.told(order("m")) == [Send(ended)]
    assert agent.ended[MoveId("m")] == 1


def test_a_stale_order_is_superseded(agent: Driven) -> None:
    """An order towards a home that the task has no more is not carried out, and says which home it has."""
    agent.told(order("m", home=0))
    assert agent.state_of("m") is MoveState.SUPERSEDED
    assert agent.finished[MoveId("m")].words == "superseded: its home is now [1]"
    assert not agent.running


def test_an_order_for_an_unknown_task_is_refused(agent: Driven) -> None:
    """What is not followed here cannot be moved here."""
    agent.told(order("m", TaskId("cgroup:/nobody")))
    assert agent.state_of("m") is MoveState.REFUSED


def test_without_the_right_to_move_an_order_is_refused(agent: Driven) -> None:
    """An agent that may not move says so, and says where to read what it lacks."""
    agent.tell(AbilitiesKnown(Abilities(can_move=False)))
    agent.told(order("m"))
    assert agent.state_of("m") is MoveState.REFUSED
    assert "numaplace status" in agent.finished[MoveId("m")].words


def test_a_cancel_before_its_order_turns_it_down_for_good(agent: Driven) -> None:
    """The network may swap the two; the order then has ended before it came."""
    agent.told(CancelMove(MoveId("m"), "not wanted"))
    assert agent.finished[MoveId("m")].task == UNKNOWN_TASK
    assert agent.told(order("m")) == [Send(agent.finished[MoveId("m")])]
    assert agent.told(CancelMove(MoveId("m"), "again")) == [Send(agent.finished[MoveId("m")])]
    assert not agent.running


def test_a_cancel_ends_a_waiting_order_at_once(agent: Driven) -> None:
    """What no mover works on ends with the cancel, and the account says that nothing was reached."""
    agent.told(order("m"))
    agent.told(order("n"))
    agent.told(CancelMove(MoveId("n"), "not wanted"))
    ended = agent.finished[MoveId("n")]
    assert (ended.state, ended.words) == (MoveState.CANCELLED, "not wanted")
    assert ended.left == {LeftReason.NOT_REACHED: GIB}


def test_a_cancel_asks_a_running_mover_once_and_its_outcome_is_the_truth(agent: Driven) -> None:
    """A thread in a system call cannot be stopped: the order ends when the mover says so, as it says."""
    agent.told(order("m"))
    assert CancelMover(MoveId("m"), "not wanted") in agent.told(CancelMove(MoveId("m"), "not wanted"))
    assert agent.told(CancelMove(MoveId("m"), "please")) == []
    assert agent.state_of("m") is None
    agent.end("m", MoveState.COMPLETED)
    assert agent.state_of("m") is MoveState.COMPLETED


def test_a_cancel_without_a_reason_has_one_in_the_account(agent: Driven) -> None:
    """No outcome is without words."""
    agent.told(order("m"))
    assert CancelMover(MoveId("m"), "cancelled") in agent.told(CancelMove(MoveId("m"), ""))


def test_a_newer_home_ends_the_running_move_at_once(agent: Driven) -> None:
    """A move towards an older home is asked to end in the same step that sees the change."""
    agent.told(order("m"))
    assert CancelMover(MoveId("m"), "superseded: its home is now [0]") in agent.sweep(a=0)


def test_a_newer_home_ends_waiting_moves_too(agent: Driven) -> None:
    """A waiting order that lost its home ends as superseded, those of others stay."""
    agent.told(order("m"))
    agent.told(order("n", U))
    agent.told(order("m2"))
    agent.sweep(a=0)
    assert agent.state_of("m2") is MoveState.SUPERSEDED
    assert agent.state_of("n") is None


def test_a_second_order_supersedes_the_first_and_waits_for_its_end(agent: Driven) -> None:
    """The newer order is the one that holds; two never move one task."""
    agent.told(order("m"))
    done = agent.told(order("n"))
    assert CancelMover(MoveId("m"), "superseded: by n") in done
    assert not any(isinstance(do, StartMover) for do in done)
    done = agent.end("m", MoveState.SUPERSEDED)
    assert [do.order.id for do in done if isinstance(do, StartMover)] == ["n"]


def test_a_task_that_ends_takes_its_waiting_orders_along_at_once(agent: Driven) -> None:
    """They do not wait for a free place only to find out; the running one is told, and ends when its mover says so."""
    agent.told(order("m"))
    agent.gone(T)
    assert "not followed any more" in agent.cancels[MoveId("m")]
    agent.sweep(a=1)
    agent.told(order("n"))
    agent.gone(T)
    assert agent.state_of("n") is MoveState.FAILED
    assert agent.state_of("m") is None
    agent.end("m", MoveState.FAILED)
    assert not agent.core.orders.open_orders


def test_outcomes_are_in_each_snapshot_until_acknowledged(agent: Driven) -> None:
    """A report may be lost with its session; the next snapshot repeats it."""
    agent.told(order("m"))
    agent.end("m")
    for _ in range(2):
        agent.tell(SessionOpened())
        assert [each.move for each in agent.core.snapshot(1.0).outcomes] == ["m"]
    agent.told(AcknowledgeOutcome(MoveId("m")))
    agent.tell(SessionOpened())
    assert agent.core.snapshot(1.0).outcomes == ()


def test_acknowledging_what_has_not_ended_does_nothing(agent: Driven) -> None:
    """A confused scheduler cannot make an agent forget an order."""
    agent.told(order("m"))
    assert agent.told(AcknowledgeOutcome(MoveId("m"))) == []
    assert agent.told(AcknowledgeOutcome(MoveId("never"))) == []
    assert agent.core.orders.is_open(MoveId("m"))


def test_a_scheduler_that_never_acknowledges_cannot_fill_the_memory() -> None:
    """Orders and cancels beyond the limit are answered and forgotten; acknowledging makes room."""
    agent = Driven(limits=Limits(orders_max=8))
    agent.sweep(a=1)
    agent.tell(SessionOpened())
    for n in range(50):
        agent.told(order(f"o{n}", TaskId("cgroup:/nobody")))
        agent.told(CancelMove(MoveId(f"c{n}"), ""))
    assert agent.core.orders.unacknowledged_count == 8
    done = agent.told(order("m"))
    assert [type(do) for do in done] == [Send]
    assert isinstance(done[0], Send)
    assert isinstance(done[0].report, MoveOutcome)
    assert "not acknowledged" in done[0].report.words
    agent.told(AcknowledgeOutcome(MoveId("o0")))
    agent.told(order("m"))
    assert agent.core.orders.state(MoveId("m")) is MoveState.RUNNING


def test_places_among_the_movers_are_given_in_order() -> None:
    """With one place, tasks are moved one after the other."""
    agent = Driven(limits=Limits(movers_max=1))
    agent.sweep(a=1, b=1)
    agent.tell(SessionOpened())
    agent.told(order("m"))
    agent.told(order("n", U))
    assert set(agent.running) == {"m"}
    agent.end("m")
    assert set(agent.running) == {"n"}
    assert agent.core.orders.active(U) == order("n", U)
    assert agent.core.tasks[U].home.nodes == nodes(1)
