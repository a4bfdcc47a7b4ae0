"""One followed task: when its pages are located, and what its moves and changes leave behind."""

from math import inf

import pytest

from node_agent.core.events import PagesMeasured
from node_agent.core.facts import Measured
from node_agent.core.followed import (
    ASKED_SHARE,
    CHANGES_KEPT,
    FRESH_S,
    MEASURE_PERIOD_S,
    MEASURE_SHARE,
    ORDER_WITHIN_S,
    REST_S_MAX,
    Followed,
    Surroundings,
)
from numaplace.model.ids import NodeId
from numaplace.model.job import ChangeSource, Home, HomeChange, MemoryPolicy
from numaplace.model.move import LeftReason, MoveOutcome, MoveState
from numaplace.model.policy import Policy
from numaplace.model.residency import Residency
from numaplace.model.session import HostLoad
from numaplace.model.worth import HostCosts
from tests.fakes.agent import GIB, HOST, T, facts, nodes, order


def followed(home: int = 0) -> Followed:
    """A task that was just seen, at 100 s."""
    return Followed(facts(home=home), Home(nodes(home), 1), nodes(home), 100.0)


def change(home: int, version: int, changes: int = 1) -> HomeChange:
    """Its home is another one now."""
    of = facts(home=home)
    return HomeChange(
        T, of.cpus, of.mems, Home(nodes(home), version), nodes(1 - home), ChangeSource.SWEEP, None, changes
    )


def located(seconds: float = 0.001, n0: int = GIB) -> PagesMeasured:
    """All pages on node 0."""
    return PagesMeasured(T, Measured(Residency.of_nodes({NodeId(0): n0})), {LeftReason.PINNED: 1}, seconds)


def end(state: MoveState = MoveState.PARTIAL, residency: Residency | None = None) -> MoveOutcome:
    """A move of it ended."""
    return MoveOutcome(order("m").id, T, state, "told", residency=residency or Residency())


def test_a_new_task_is_measured_at_once() -> None:
    """Nothing is known of it yet."""
    assert followed().measure_due_s <= 100.0


@pytest.mark.parametrize(("seconds", "tasks"), [(0.001, 1), (0.05, 10), (0.035, 100)])
def test_at_rest_all_tasks_together_keep_their_share(seconds: float, tasks: int) -> None:
    """However long it takes and however many there are, locating pages costs at most the share of a core."""
    task = followed()
    task.begin_measure()
    task.locate(located(seconds), 100.0, tasks)
    rest_s = task.measure_due_s - 100.0
    assert rest_s >= MEASURE_PERIOD_S
    assert tasks * seconds / rest_s <= MEASURE_SHARE * (1 + 1e-9)


def test_no_task_rests_for_ever() -> None:
    """However large and many they are: where pages are is known to an hour."""
    task = followed()
    task.begin_measure()
    task.locate(located(60.0), 100.0, 5000)
    assert task.measure_due_s == 100.0 + REST_S_MAX


def test_a_change_asks_for_new_pages_unless_they_are_fresh() -> None:
    """A change moves no pages by itself, so what was just located still holds."""
    task = followed()
    task.begin_measure()
    task.locate(located(), 100.0, 1)
    task.change(change(1, 2), 100.1)
    assert task.measure_due_s == 100.1 + ORDER_WITHIN_S
    task.change(change(0, 3), 150.0)
    assert task.measure_due_s == 100.1 + ORDER_WITHIN_S
    assert task.asked


def test_changes_without_end_do_not_measure_without_end() -> None:
    """Who re-pins a task a thousand times a second makes it be located for a bounded share of a core."""
    task, now_s, spent_s = followed(), 100.0, 0.0
    for version in range(2, 4000):
        now_s += 0.01
        task.change(change(version % 2, version), now_s)
        if task.measure_due_s <= now_s:  # which no change puts off
            task.begin_measure()
            spent_s += 0.5
            task.locate(located(seconds=0.5), now_s, 1)
    assert 0 < spent_s / (now_s - 100.0) <= ASKED_SHARE + 0.02


def test_who_asks_during_a_measurement_gets_another_one() -> None:
    """A measurement that began before the change tells of the time before."""
    task = followed()
    task.begin_measure()
    assert task.measure_due_s == inf
    task.ask_measure(100.2)
    task.locate(located(), 100.3, 1)
    assert task.measure_due_s == pytest.approx(100.3 + FRESH_S)
    assert task.asked


def test_what_could_not_be_measured_is_tried_again_later() -> None:
    """A strange process is neither forgotten nor asked in a busy loop."""
    task = followed()
    task.begin_measure()
    task.end_measure(100.0)
    assert not task.measuring
    assert task.measured is None
    assert task.measure_due_s == 100.0 + MEASURE_PERIOD_S


def test_the_same_home_is_not_tried_again_at_once() -> None:
    """A move that ended by itself took what it could."""
    task = followed(1)
    task.end_move(end(), nodes(1), 100.0)
    assert task.tried == (nodes(1), 100.0)


@pytest.mark.parametrize(("state", "home"), [(MoveState.SUPERSEDED, 1), (MoveState.PARTIAL, 0)])
def test_a_move_to_an_older_home_says_nothing_about_this_one(state: MoveState, home: int) -> None:
    """Else a task that was re-pinned in mid-move would wait for its pages."""
    task = followed(1)
    task.end_move(end(state), nodes(home), 100.0)
    assert task.tried is None


def test_a_new_version_of_the_home_is_tried_anew() -> None:
    """Other mems may allow now what they forbade, and a home that came back has lost pages since."""
    task = followed(1)
    task.end_move(end(), nodes(1), 100.0)
    task.change(change(1, 5), 101.0)
    assert task.tried is None


def test_only_another_home_counts_as_a_change_of_home() -> None:
    """CPUs or mems that change within a home neither settle anew nor move the relative positions."""
    task = followed(1)
    task.change(change(1, 2), 120.0)
    assert (task.changed_s, task.previous_home, list(task.changes_s)) == (100.0, nodes(1), [])
    task.change(change(0, 3, changes=3), 130.0)
    assert (task.changed_s, task.previous_home, list(task.changes_s)) == (130.0, nodes(1), [130.0] * 3)


def test_a_storm_of_changes_is_kept_in_bounds() -> None:
    """A million changes say no more than some dozens."""
    task = followed(1)
    task.change(change(0, 2, changes=1_000_000), 101.0)
    assert len(task.changes_s) == CHANGES_KEPT


def test_an_outcome_with_pages_replaces_what_was_known_of_them() -> None:
    """The mover looked last; the memory policy it does not tell stays."""
    task = followed(1)
    task.begin_measure()
    bound = Measured(Residency.of_nodes({NodeId(0): GIB}), MemoryPolicy.BIND, nodes(0))
    task.locate(PagesMeasured(T, bound), 100.0, 1)
    task.end_move(end(residency=Residency.of_nodes({NodeId(1): GIB})), nodes(1), 101.0)
    assert task.residency == Residency.of_nodes({NodeId(1): GIB})
    assert task.measured is not None
    assert task.measured.memory_policy is MemoryPolicy.BIND
    task.end_move(end(), nodes(1), 102.0)
    assert task.residency == Residency.of_nodes({NodeId(1): GIB})


def test_its_situation_is_told_whole() -> None:
    """The judgement sees what is stuck, what was tried for this home, and the changes that still count."""
    task = followed(0)
    task.begin_measure()
    task.locate(located(), 100.0, 1)
    task.change(change(1, 2), 101.0)
    task.end_move(end(), nodes(1), 102.0)
    around = Surroundings(HOST, HostLoad({NodeId(0): 5}, 7.0), HostCosts(), 1, 2)
    seen = task.situation(103.0, Policy(), around)
    assert (seen.stuck_bytes, seen.tried_s, seen.recent_changes_s) == (1, 102.0, (101.0,))
    assert (seen.free_bytes, seen.others_pages_per_s, seen.moves_on_host, seen.moves_on_host_max) == ({0: 5}, 7.0, 1, 2)
    assert seen.measured
    assert task.situation(140.0, Policy(), around).recent_changes_s == ()
    assert task.as_task(103.0).age_s == 102.0
