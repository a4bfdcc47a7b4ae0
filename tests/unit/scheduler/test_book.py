"""The small parts of the state: the book of moves, the agenda, the table of transitions, and the invariants' teeth."""

import itertools
from dataclasses import replace

import pytest

from numaplace.model.ids import HostId, JobId, MoveId, TaskId
from numaplace.model.move import MoveOrder, MoveOutcome, MoveState
from numaplace.model.policy import Policy
from scheduler.planning.records import Move, Stage, TaskKey
from scheduler.state.agenda import Agenda, HostDue, OrderDue, TaskDue
from scheduler.state.book import BookError, MoveBook
from scheduler.state.invariants import InvariantError, check
from scheduler.state.transitions import NEXT, InvalidTransitionError, Step, advance, ended
from tests.unit.scheduler.scene import Stage as Scene
from tests.unit.scheduler.scene import make_task, nodes

OUTCOME = MoveOutcome(MoveId("m1"), TaskId("t"), MoveState.COMPLETED, "done")


def make_move(move: str = "m1", task: str = "t") -> Move:
    """An order that was planned."""
    order = MoveOrder(MoveId(move), TaskId(task), nodes(1), nodes(0), 1, Policy())
    return Move(order.id, HostId("h1"), JobId("job"), order.task, order, Stage.PLANNED, 0.0)


@pytest.mark.parametrize(("stage", "step"), [*itertools.product(Stage, Step)])
def test_transitions_are_the_table_and_nothing_else(stage: Stage, step: Step) -> None:
    """A step that the table lacks is an error that carries the move."""
    move = replace(make_move(), stage=stage)
    if (stage, step) in NEXT:
        assert advance(move, step).stage is NEXT[stage, step]
    else:
        with pytest.raises(InvalidTransitionError, match="m1"):
            advance(move, step)


def test_nothing_follows_the_end() -> None:
    """FINISHED is final, and every other stage can reach it."""
    assert not [pair for pair in NEXT if pair[0] is Stage.FINISHED]
    assert {stage for stage, step in NEXT if step is Step.END} == set(Stage) - {Stage.FINISHED}


def test_task_has_one_open_move() -> None:
    """A second one is a bug."""
    book = MoveBook(10)
    book.add(make_move())
    with pytest.raises(BookError, match="open move"):
        book.add(make_move("m2"))


def test_move_ends_once() -> None:
    """A second end is a bug; a correction needs an outcome that was written here."""
    book = MoveBook(10)
    book.add(make_move())
    end = ended(make_move(), OUTCOME, 1.0)
    book.end(end)
    with pytest.raises(BookError, match="ended before"):
        book.end(end)
    with pytest.raises(BookError, match="from its host"):
        book.correct(end)


def test_book_counts_by_host() -> None:
    """Open moves are counted where they are, and no longer when they have ended."""
    book = MoveBook(10)
    book.add(make_move())
    book.add(make_move("m2", "u"))
    assert book.running([HostId("h1"), HostId("h2")]) == {HostId("h1"): 2}
    book.end(ended(make_move(), OUTCOME, 1.0))
    book.end(ended(make_move("m2", "u"), OUTCOME, 1.0))
    assert book.running([HostId("h1")]) == {}
    assert [move.id for move in book.newest_first()] == ["m2", "m1"]


def test_agenda_gives_each_subject_once_at_its_latest_time() -> None:
    """A new time replaces the old; what is due comes earliest first."""
    agenda = Agenda()
    task, order, host = TaskDue(TaskKey(HostId("h"), TaskId("t"))), OrderDue(MoveId("m")), HostDue(HostId("h"))
    agenda.put(task, 1.0)
    agenda.put(order, 2.0)
    agenda.put(task, 3.0)
    agenda.put(host, 2.5)
    agenda.drop(host)
    assert agenda.next_s() == 2.0
    assert agenda.take_due(5.0) == [order, task]
    assert agenda.next_s() is None


def test_agenda_does_not_grow_with_replacements() -> None:
    """Ten thousand new times for one subject take the memory of some."""
    agenda = Agenda()
    for i in range(10_000):
        agenda.put(OrderDue(MoveId("m")), float(i))
    assert len(agenda._heap) < 100


def test_invariants_have_teeth() -> None:
    """Each planted contradiction is found."""
    scene = Scene()
    session = scene.join(make_task())
    order = scene.order(session)
    check(scene.state)
    move = scene.state.book._open[order.id]
    for broken, words in (
        (replace(move, stage=Stage.FINISHED), "has ended"),
        (replace(move, stage=Stage.PLANNED), "never sent"),
        (replace(move, host=HostId("h9")), "unknown host"),
    ):
        scene.state.book._open[order.id] = broken
        with pytest.raises(InvariantError, match=words):
            check(scene.state)
    scene.state.book._open[order.id] = move
    scene.state.agenda.drop(OrderDue(order.id))
    with pytest.raises(InvariantError, match="nobody waits"):
        check(scene.state)
