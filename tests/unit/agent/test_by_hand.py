"""Moves by hand in the agent's core: at once or not at all, and never two movers on one process.

The driver checks at every step that no process has two movers; liveness is in tests/property/test_hand_moves.py.
"""

from dataclasses import replace

import pytest

from node_agent.core.at_work import AtWork
from node_agent.core.events import MeasurePages, MoverProgressed, Publish, Send, SessionOpened, StartMover
from node_agent.core.facts import ProcessRef, Remembered
from node_agent.core.history import History
from numaplace.model.hand import Transfer
from numaplace.model.ids import MoveId, TaskId
from numaplace.model.move import MoveOutcome, MoveProgress, MoveState
from numaplace.model.residency import Residency
from tests.fakes.agent import Driven, T, U, facts, nodes, order, outcome

STRANGER = facts(TaskId("process:77@7"), pid=77, uid=1234)


def in_session(**homes: int) -> Driven:
    """An agent in a session, after a sweep that shows these tasks."""
    agent = Driven()
    agent.sweep(**homes)
    agent.tell(SessionOpened())
    return agent


def test_a_move_by_hand_begins_at_once_and_only_watchers_hear_of_it() -> None:
    """Followed or not: published with the owner of its processes, and nothing of it is sent or journalled."""
    agent = in_session(a=1)
    told, started = agent.ask("hand-1", STRANGER)
    assert isinstance(told, Publish)
    assert told.uid == 1234
    assert isinstance(started, StartMover)
    assert (started.task, started.what) == (STRANGER, Transfer(nodes(0), nodes(1)))
    progress = MoveProgress(MoveId("hand-1"), 1, 2, 3.0, Residency())
    assert agent.tell(MoverProgressed(progress)) == [Publish(progress, 1234)]
    (ended,) = agent.end_by_hand("hand-1")
    assert isinstance(ended, Publish)
    assert ended.uid == 1234
    assert agent.core.by_hand.running == {}


def test_before_the_first_sweep_it_is_refused() -> None:
    """The host's nodes are not known yet; whoever asks a moment later is heard."""
    agent = Driven()
    agent.ask("hand-1", STRANGER)
    assert "only just started" in agent.refused[MoveId("hand-1")]


def test_a_process_that_is_being_moved_is_not_moved_by_hand_as_well() -> None:
    """By an order or by hand: the words name the mover; after its end it is free again."""
    agent = in_session(a=1)
    agent.told(order("m"))
    agent.ask("hand-1", facts(T, 1))
    assert "is being moved already, by m" in agent.refused[MoveId("hand-1")]
    agent.end("m")
    agent.ask("hand-2", facts(T, 1))
    agent.ask("hand-3", facts(T, 1))
    assert "by hand-2" in agent.refused[MoveId("hand-3")]


def test_a_process_that_joined_a_task_in_motion_counts_as_in_motion() -> None:
    """The mover does not know it, but its task is being moved."""
    agent = in_session(a=1)
    agent.told(order("m"))
    child = ProcessRef(4711, 9)
    agent.core.tasks[T].facts = replace(agent.core.tasks[T].facts, processes=(*facts(T).processes, child))
    agent.ask("hand-1", replace(facts(TaskId("process:4711@9")), processes=(child,)))
    assert "by m" in agent.refused[MoveId("hand-1")]


def test_a_mover_whose_task_is_gone_still_has_its_processes() -> None:
    """A task that is followed no more may still be in its mover's last batch."""
    agent = in_session(a=1)
    agent.told(order("m"))
    agent.gone(T)
    agent.ask("hand-1", facts(T))
    assert "by m" in agent.refused[MoveId("hand-1")]


def test_an_order_waits_for_the_end_of_a_move_by_hand_and_others_do_not() -> None:
    """It is accepted as always, and starts as soon as the processes are free."""
    agent = in_session(a=1, b=1)
    agent.ask("hand-1", facts(T, 1))
    agent.told(order("m"))
    agent.told(order("n", U))
    assert set(agent.running) == {"n"}
    agent.end_by_hand("hand-1")
    assert set(agent.running) == {"m", "n"}


def test_an_order_that_waits_for_a_move_by_hand_can_be_superseded() -> None:
    """The home changes while it waits: it ends as any order that never began."""
    agent = in_session(a=1)
    agent.ask("hand-1", facts(T, 1))
    agent.told(order("m"))
    agent.sweep(a=0)
    assert agent.state_of("m") is MoveState.SUPERSEDED
    agent.end_by_hand("hand-1")
    assert agent.running == {}


def test_pages_in_motion_are_not_located_and_afterwards_anew() -> None:
    """A followed task that was moved by hand is looked at as soon as it rests."""
    agent = Driven()
    agent.sweep(a=1)
    agent.located(agent.measuring.pop(), n0=1)
    agent.ask("hand-1", facts(T, 1))
    assert not [do for do in agent.wait(100) if isinstance(do, MeasurePages)]
    assert any(isinstance(do, MeasurePages) for do in agent.end_by_hand("hand-1"))


def test_outcomes_are_remembered_with_their_owners_newest_first() -> None:
    """Of orders and of moves by hand, and also when their task is gone."""
    agent = in_session(a=1)
    agent.core.tasks[T].facts = replace(agent.core.tasks[T].facts, uid=1234)
    agent.told(order("m"))
    agent.gone(T)
    agent.end("m")
    agent.ask("hand-1", facts(U, pid=5))
    agent.end_by_hand("hand-1")
    history = agent.core.history
    assert [ended.move for ended in history.outcomes(lambda _: True)] == ["hand-1", "m"]
    assert [ended.move for ended in history.outcomes(lambda uid: uid == 1234)] == ["m"]


def test_what_an_earlier_run_left_belongs_to_the_task_of_today() -> None:
    """The journal does not say whose it was: as long as the task is followed its owner sees it, then root alone."""
    past = outcome(order("m"))
    agent = Driven(Remembered(finished=(past,)))
    assert agent.core.history.outcomes(lambda uid: uid == 1234) == ()
    agent.sweep(a=1)
    agent.core.tasks[T].facts = replace(agent.core.tasks[T].facts, uid=1234)
    assert agent.core.history.outcomes(lambda uid: uid == 1234) == (past,)


def test_history_is_bounded() -> None:
    """The oldest are forgotten."""
    history = History(lambda _: 0, outcomes_max=3)
    for n in range(5):
        history.add(MoveOutcome(MoveId(f"m{n}"), T, MoveState.COMPLETED, "told"), 0)
    assert [ended.move for ended in history.outcomes(lambda _: True)] == ["m4", "m3", "m2"]


def test_a_second_mover_on_a_process_is_a_bug() -> None:
    """Whoever starts one without asking is stopped."""
    at_work = AtWork()
    a, b = ProcessRef(1, 1), ProcessRef(2, 2)
    at_work.begin(MoveId("m"), (a,))
    with pytest.raises(AssertionError, match="m is at work already"):
        at_work.begin(MoveId("n"), (b, a))
    at_work.end(MoveId("m"))
    at_work.begin(MoveId("n"), (b, a))
    assert at_work.on((b,)) == "n"


def test_a_move_by_hand_teaches_the_scheduler_nothing_but_where_pages_are() -> None:
    """No snapshot names it: an order that the scheduler never gave would be a riddle."""
    agent = in_session(a=1)
    agent.ask("hand-1", facts(T, 1))
    (opened,) = [do.report for do in agent.tell(SessionOpened()) if isinstance(do, Send)]
    assert opened == agent.core.snapshot(agent.now_s)
    assert agent.core.snapshot(agent.now_s).open_moves == ()
