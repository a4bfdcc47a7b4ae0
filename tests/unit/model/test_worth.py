"""The judgement of drifts is safe (never moves what must not move) and live (a wait always ends)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace.model.ids import CpuId, JobId, NodeId, TaskId
from numaplace.model.job import Home, MemoryPolicy, Task
from numaplace.model.policy import MIB, Budget, FollowMode, Policy
from numaplace.model.residency import PageKind, Residency
from numaplace.model.topology import Node, Topology
from numaplace.model.worth import (
    BOUNCE_WINDOW_S,
    MIN_LESSON_BYTES,
    OTHERS_PAGES_PER_S,
    RETRY_S,
    SETTLE_S_MAX,
    Action,
    HostCosts,
    Lacked,
    Reason,
    Situation,
    judge,
    settle_s,
)
from tests import strategies

N0, N1 = NodeId(0), NodeId(1)
HOST = Topology(
    (
        Node(N0, frozenset({CpuId(0)}), 1 << 36, {N1: 21}),
        Node(N1, frozenset({CpuId(1)}), 1 << 36, {N0: 21}),
    )
)
TASK = Task(
    id=TaskId("cgroup:/a"),
    job=JobId("a"),
    command="a",
    cpus=frozenset({CpuId(1)}),
    mems=frozenset({N0, N1}),
    home=Home(frozenset({N1}), 7),
    previous_home=frozenset({N0}),
    processes=1,
    threads=1,
    age_s=600.0,
    residency=Residency.of_nodes({N0: 400 * MIB}),
)
DRIFT = Situation(TASK, Policy(), HOST, now_s=1000.0, changed_s=999.0, recent_changes_s=(999.0,))


def _task(**fields: Any) -> Callable[[Situation], Situation]:  # noqa: ANN401 - each case names its own fields
    return lambda s: replace(s, task=replace(s.task, **fields))


def _policy(**fields: Any) -> Callable[[Situation], Situation]:  # noqa: ANN401 - each case names its own fields
    return lambda s: replace(s, policy=replace(s.policy, **fields))


def _situation(**fields: Any) -> Callable[[Situation], Situation]:  # noqa: ANN401 - each case names its own fields
    return lambda s: replace(s, **fields)


BOUNCING = tuple(1000.0 - 2.0 * n for n in range(6))

CASES: dict[Reason, tuple[Action, Callable[[Situation], Situation]]] = {
    Reason.WORTH_IT: (Action.MOVE, lambda s: s),
    Reason.AT_HOME: (Action.LEAVE, _task(residency=Residency.of_nodes({N1: MIB}))),
    Reason.NO_HOME: (Action.LEAVE, _task(home=Home(frozenset(), 8))),
    Reason.NEVER: (Action.LEAVE, _policy(mode=FollowMode.NEVER)),
    Reason.OBSERVE: (Action.LEAVE, _policy(mode=FollowMode.OBSERVE)),
    Reason.INTERLEAVED: (Action.LEAVE, _task(memory_policy=MemoryPolicy.WEIGHTED_INTERLEAVE)),
    Reason.ALREADY_MOVING: (Action.LEAVE, _situation(moving=True)),
    Reason.UNKNOWN_RESIDENCY: (Action.WAIT, _situation(measured=False)),
    Reason.STUCK: (Action.LEAVE, _situation(stuck_bytes=400 * MIB)),
    Reason.MAY_NOT_MOVE: (Action.LEAVE, _situation(may_not_move="give it CAP_SYS_NICE")),
    Reason.TOO_SMALL: (Action.LEAVE, _situation(stuck_bytes=397 * MIB)),
    Reason.TOO_YOUNG: (Action.WAIT, _policy(min_age_s=601.0)),
    Reason.SETTLING: (Action.WAIT, _situation(changed_s=999.99, recent_changes_s=(999.99,))),
    Reason.BOUNCING: (Action.WAIT, _situation(changed_s=1000.0, recent_changes_s=BOUNCING)),
    Reason.LATER: (Action.WAIT, _policy(mode=FollowMode.LATER)),
    Reason.TARGET_FULL: (Action.WAIT, _situation(free_bytes={N0: 1 << 40, N1: 65 * MIB})),
    Reason.OTHERS_MOVING: (Action.WAIT, _situation(others_pages_per_s=OTHERS_PAGES_PER_S + 1)),
    Reason.NOT_WORTH_IT: (Action.WAIT, _situation(costs=HostCosts(bytes_per_s=1e5))),
    Reason.HOST_BUSY: (Action.WAIT, _situation(moves_on_host=2)),
    Reason.CLUSTER_BUSY: (Action.WAIT, _situation(moves_in_cluster=64)),
    Reason.TRIED: (Action.WAIT, _situation(tried_s=990.0)),
}


def test_room_again_ends_the_wait_after_a_move_that_found_none() -> None:
    """The wait is for what only time may bring; room is seen."""
    tried = replace(DRIFT, tried_s=990.0)
    assert judge(tried).reason is Reason.TRIED
    assert judge(replace(tried, room_again=True)).action is Action.MOVE


@given(size=st.integers(1, 1 << 40), reports=st.lists(st.none() | st.integers(0, 1 << 40), min_size=1))
def test_what_lacked_fits_only_where_that_much_was_freed(size: int, reports: list[int | None]) -> None:
    """However large the room that the kernel refused, it does not count; nor does what nobody reported."""
    lacked = Lacked(size)
    assert not lacked.fits(1 << 50)
    for free in reports:
        lacked = lacked.seen(free)
    known = [free for free in reports if free is not None]
    assert not lacked.fits(None)
    if known:
        assert lacked.fits(min(known) + size)
        assert not lacked.fits(min(known) + size - 1)


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_can_be_reached(reason: Reason) -> None:
    """One change of an ordinary drift leads to each verdict, with words for a person."""
    action, change = CASES[reason]
    verdict = judge(change(DRIFT))
    assert (verdict.reason, verdict.action) == (reason, action)
    assert verdict.words
    assert (verdict.not_before_s is not None) == (action is Action.WAIT)


times = st.floats(0, 1e7)
situations = st.builds(
    Situation,
    task=strategies.tasks,
    policy=st.builds(
        Policy,
        mode=st.sampled_from(FollowMode),
        kinds=st.frozensets(st.sampled_from(PageKind), min_size=1),
        budget=strategies.budgets,
        settle_s=st.floats(0, 100),
        later_s=st.floats(0, 1000),
        min_remote_bytes=strategies.sizes,
        min_locality_gain=st.floats(0, 1),
        min_age_s=st.integers(0, 1000).map(float),
        keep_interleave=st.booleans(),
    ),
    topology=strategies.topologies(),
    now_s=times,
    changed_s=times,
    recent_changes_s=st.lists(times, max_size=8).map(tuple),
    measured=st.booleans(),
    moving=st.booleans(),
    stuck_bytes=strategies.sizes,
    tried_s=st.none() | times,
    free_bytes=st.dictionaries(strategies.node_ids, strategies.sizes),
    others_pages_per_s=st.floats(0, 1e6),
    costs=st.builds(HostCosts, st.floats(1e3, 1e12), st.floats(0, 10)),
    moves_on_host=st.integers(0, 4),
    moves_in_cluster=st.integers(0, 100),
)


@given(situations)
def test_any_situation_has_a_sound_verdict(s: Situation) -> None:
    """Never raises; a wait names a later time; a move moves something that may move, to a home that has room."""
    verdict = judge(s)
    assert verdict == judge(s)
    assert verdict.words
    if verdict.action is Action.WAIT:
        assert verdict.not_before_s is not None
        # An age that lacks less than the clock's resolution may be asked again in the same instant.
        assert verdict.not_before_s > s.now_s or verdict.reason is Reason.TOO_YOUNG
    if verdict.action is Action.MOVE:
        assert s.task.home.nodes
        assert s.policy.mode not in {FollowMode.NEVER, FollowMode.OBSERVE}
        assert s.measured
        assert not s.moving
        assert s.task.residency.remote_bytes(s.task.home.nodes, s.policy.kinds) > s.stuck_bytes
        assert s.moves_on_host < s.moves_on_host_max
        assert s.moves_in_cluster < s.moves_in_cluster_max
        assert not (s.task.memory_policy.spread_on_purpose and s.policy.keep_interleave)


def _settled_after(changes_s: list[float], s: Situation = DRIFT) -> tuple[float, int]:
    """Ask as an asker does, from the last change on: the time until a verdict that is no wait, and how often."""
    last_s, asked = max(changes_s), 0
    now_s = last_s
    while True:
        recent = tuple(t for t in changes_s if now_s - t <= BOUNCE_WINDOW_S)
        verdict = judge(replace(s, now_s=now_s, changed_s=last_s, recent_changes_s=recent))
        asked += 1
        if verdict.action is not Action.WAIT:
            assert verdict.action is Action.MOVE
            return now_s - last_s, asked
        assert verdict.not_before_s is not None
        assert asked < 20
        now_s = verdict.not_before_s


@given(st.lists(st.floats(1000, 1001), min_size=1, max_size=100))
def test_a_burst_ends_in_a_move_within_two_seconds(changes_s: list[float]) -> None:
    """100 changes in a second: quiet is awaited, but not for long."""
    after_s, _ = _settled_after(changes_s)
    assert after_s <= 2


@given(st.lists(st.floats(1000, 1030), min_size=1, max_size=60))
def test_even_a_bouncing_task_is_moved_once_it_is_quiet(changes_s: list[float]) -> None:
    """Settling has an end, whatever went before."""
    after_s, asked = _settled_after(changes_s)
    assert after_s <= SETTLE_S_MAX + 1e-6  # sums of floats round
    assert asked <= 8


def test_a_single_change_is_followed_after_the_policys_settling_time() -> None:
    """20 ms by default: nothing else stands between a change and its move."""
    after_s, asked = _settled_after([1000.0])
    assert after_s == pytest.approx(Policy().settle_s)
    assert asked == 2


@given(st.lists(st.floats(1000, 1000.9), min_size=2, max_size=99))
def test_the_quiet_time_grows_with_the_burst(changes_s: list[float]) -> None:
    """More changes in a burst never shorten the quiet that is awaited."""
    ordered = sorted(changes_s)
    assert settle_s(Policy(), tuple(ordered)) >= settle_s(Policy(), tuple(ordered[1:]))


def test_no_number_of_bounces_is_too_many_to_judge() -> None:
    """The function never raises."""
    assert settle_s(Policy(), tuple(float(2 * n) for n in range(5000))) == SETTLE_S_MAX


@pytest.mark.parametrize("field", ["moves_on_host", "moves_in_cluster", "stuck_bytes", "others_pages_per_s"])
@given(st.data())
def test_more_in_the_way_never_turns_into_a_move(field: str, data: st.DataObject) -> None:
    """Load, limits and stuck bytes only ever speak against a move."""
    less = data.draw(st.integers(0, 500 * MIB))
    more = data.draw(st.integers(less, 500 * MIB))
    few, many = _situation(**{field: less})(DRIFT), _situation(**{field: more})(DRIFT)
    if judge(many).action is Action.MOVE:
        assert judge(few).action is Action.MOVE


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 40))
def test_more_room_at_home_never_turns_a_move_into_a_wait(some: int, more: int) -> None:
    """What fits into less fits into more."""
    small, large = (judge(replace(DRIFT, free_bytes={N1: n})).action for n in (min(some, more), some + more))
    assert (small, large) != (Action.MOVE, Action.WAIT)


def test_a_smaller_headroom_makes_room() -> None:
    """The remedy that the words name works."""
    full = replace(DRIFT, free_bytes={N1: 65 * MIB})
    assert judge(full).reason is Reason.TARGET_FULL
    freed = replace(full, policy=Policy(budget=Budget(headroom_bytes=0)))
    assert judge(freed).action is Action.MOVE


def test_the_other_switches_that_words_name_work() -> None:
    """keep_interleave = false, time after a try, quiet after later."""
    interleaved = CASES[Reason.INTERLEAVED][1](DRIFT)
    assert judge(replace(interleaved, policy=Policy(keep_interleave=False))).action is Action.MOVE
    assert judge(replace(DRIFT, tried_s=1000.0 - RETRY_S)).action is Action.MOVE
    later = replace(DRIFT, policy=Policy(mode=FollowMode.LATER), now_s=1029.0)
    assert judge(later).action is Action.MOVE
    assert judge(replace(later, moves_on_host=1)).reason is Reason.LATER


@given(st.integers(0, 1 << 50), st.floats(0, 1e6))
def test_lessons_keep_costs_sane(moved: int, seconds: float) -> None:
    """No single move can make later ones look free or endless; short ones teach nothing."""
    before = HostCosts()
    after = before.learned_from(moved, seconds)
    assert after.bytes_per_s >= 0.75 * before.bytes_per_s
    if moved < MIN_LESSON_BYTES:
        assert after == before
    assert after.predicted_s(1 << 30) <= 2 * before.predicted_s(1 << 30)
