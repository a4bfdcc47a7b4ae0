"""The order table: every transition it knows, and that it refuses all others."""

import pytest

from node_agent.core.orders import InvalidTransitionError, Orders
from numaplace.model.ids import MoveId, TaskId
from numaplace.model.move import MoveState
from tests.fakes.agent import T, U, order, outcome

M = MoveId("m")
FINAL = [state for state in MoveState if state.final]


def in_state(state: MoveState) -> Orders:
    """A table with one order in this open state."""
    orders = Orders()
    orders.accept(order("m"))
    if state is not MoveState.ACCEPTED:
        orders.start(M)
    if state is MoveState.CANCELLING:
        orders.cancelling(M)
    return orders


@pytest.mark.parametrize("state", [MoveState.RUNNING, MoveState.CANCELLING])
@pytest.mark.parametrize("final", FINAL)
def test_what_a_mover_works_on_may_end_in_any_way(state: MoveState, final: MoveState) -> None:
    """A mover's outcome is the truth, also after a cancel that came too late."""
    orders = in_state(state)
    orders.end(outcome(order("m"), final))
    assert not orders.is_open(M)
    assert orders.active(T) is None
    assert [each.state for each in orders.unacknowledged] == [final]


@pytest.mark.parametrize("final", FINAL)
def test_what_never_ran_cannot_have_completed(final: MoveState) -> None:
    """A waiting order is cancelled, superseded, refused or failed; it moved nothing."""
    orders = in_state(MoveState.ACCEPTED)
    if final in (MoveState.COMPLETED, MoveState.PARTIAL):
        with pytest.raises(InvalidTransitionError, match=f"accepted -> {final.value}"):
            orders.end(outcome(order("m"), final))
        assert orders.state(M) is MoveState.ACCEPTED
    else:
        orders.end(outcome(order("m"), final))
        assert not orders.is_open(M)


@pytest.mark.parametrize("state", [MoveState.ACCEPTED, MoveState.CANCELLING])
def test_only_a_running_move_is_asked_to_end(state: MoveState) -> None:
    """A transition outside the table is a bug, told with the order's history."""
    with pytest.raises(InvalidTransitionError, match=r"m: accepted.* -> cancelling"):
        in_state(state).cancelling(M)


@pytest.mark.parametrize("state", [MoveState.RUNNING, MoveState.CANCELLING])
def test_an_order_starts_once(state: MoveState) -> None:
    """A mover takes an order up once."""
    with pytest.raises(InvalidTransitionError):
        in_state(state).start(M)


def test_a_finished_order_stays_finished_and_says_how_it_ended() -> None:
    """Nothing follows a final state, and whoever tries is told the story."""
    orders = in_state(MoveState.RUNNING)
    orders.end(outcome(order("m")))
    for attempt in (orders.start, orders.cancelling, lambda move: orders.end(outcome(order(move)))):
        with pytest.raises(InvalidTransitionError, match="ended as completed"):
            attempt(M)
    with pytest.raises(InvalidTransitionError, match="ended as completed"):
        orders.accept(order("m"))


def test_unknown_orders_are_nobodys() -> None:
    """An id never heard of is a bug of the caller, said so."""
    with pytest.raises(InvalidTransitionError, match="never heard of"):
        Orders().end(outcome(order("m")))


@pytest.mark.parametrize("state", [MoveState.ACCEPTED, MoveState.RUNNING, MoveState.CANCELLING])
def test_an_id_is_accepted_once(state: MoveState) -> None:
    """The same id twice is a bug of the caller, who has to ask first."""
    orders = in_state(state)
    with pytest.raises(InvalidTransitionError, match="accepted"):
        orders.accept(order("m"))
    with pytest.raises(InvalidTransitionError):
        orders.turn_down(outcome(order("m"), MoveState.REFUSED))


def test_a_task_never_has_two_movers() -> None:
    """The second order of a task starts after the first has ended, not before."""
    orders = in_state(MoveState.RUNNING)
    orders.accept(order("n"))
    assert list(orders.startable(9)) == []
    with pytest.raises(InvalidTransitionError, match="m is moving cgroup:/a already"):
        orders.start(MoveId("n"))
    orders.cancelling(M)
    assert list(orders.startable(9)) == []
    orders.end(outcome(order("m"), MoveState.SUPERSEDED))
    assert [each.id for each in orders.startable(9)] == ["n"]


def test_the_oldest_start_first_and_not_more_than_allowed() -> None:
    """Places among the movers go to the oldest orders of tasks that are not in motion."""
    orders = Orders()
    for move, task in (("1", T), ("2", T), ("3", U), ("4", TaskId("cgroup:/c"))):
        orders.accept(order(move, task))
    started = []
    for each in orders.startable(2):
        orders.start(each.id)
        started.append(each.id)
    assert started == ["1", "3"]
    assert [each.id for each in orders.of_task(T)] == ["1", "2"]


def test_starting_asks_anew_after_each_start_and_end() -> None:
    """An order that ends while others are started is not offered any more."""
    orders = Orders()
    for move, task in (("1", T), ("2", U)):
        orders.accept(order(move, task))
    seen = []
    for each in orders.startable(5):
        seen.append(each.id)
        orders.start(each.id)
        if each.id == "1":
            orders.end(outcome(order("2", U), MoveState.FAILED))
    assert seen == ["1"]


def test_outcomes_are_repeated_until_acknowledged_and_remembered_after() -> None:
    """Acknowledging is done once; the outcome still answers a stale duplicate."""
    orders = in_state(MoveState.RUNNING)
    assert not orders.acknowledge(M)
    orders.end(outcome(order("m")))
    assert orders.unacknowledged_count == 1
    assert orders.acknowledge(M)
    assert not orders.acknowledge(M)
    assert orders.unacknowledged == ()
    assert orders.known(M)
    assert orders.outcome(M) == outcome(order("m"))


def test_memory_of_finished_orders_is_bounded() -> None:
    """The oldest acknowledged ones are forgotten; none that is open or unacknowledged ever is."""
    orders = Orders(remembered_max=3)
    orders.accept(order("open"))
    orders.turn_down(outcome(order("unacknowledged"), MoveState.REFUSED))
    for n in range(10):
        orders.turn_down(outcome(order(str(n)), MoveState.REFUSED))
        orders.acknowledge(MoveId(str(n)))
    assert [n for n in range(10) if orders.known(MoveId(str(n)))] == [7, 8, 9]
    assert orders.is_open(MoveId("open"))
    assert orders.outcome(MoveId("unacknowledged")) is not None


def test_nothing_is_kept_of_a_task_without_orders() -> None:
    """Tasks come and go by the million; the table keeps none of their names."""
    orders = Orders(remembered_max=0)
    for n in range(100):
        each = order(str(n), TaskId(f"cgroup:/{n}"))
        orders.accept(each)
        orders.start(each.id)
        orders.end(outcome(each))
        orders.acknowledge(each.id)
    assert not any((orders._open, orders._waiting, orders._of_task, orders._active, orders._acknowledged))


def test_recall_takes_over_what_the_journal_remembers() -> None:
    """Every finished order is known with its outcome, and only the unacknowledged ones are repeated."""
    orders = Orders()
    orders.recall([outcome(order("old")), outcome(order("m"))], [outcome(order("m"))])
    assert orders.outcome(MoveId("old")) == outcome(order("old"))
    assert [each.move for each in orders.unacknowledged] == ["m"]
