"""Policies, limits and waiting in the pure state."""

from dataclasses import replace

from numaplace.model.ids import JobId, NodeId, TaskId
from numaplace.model.move import LeftReason, MoveOrder, MoveState
from numaplace.model.policy import MIB, FollowMode, Policy
from numaplace.model.residency import Residency
from numaplace.model.session import CancelMove, HostLoad, Measure, PolicySet, ResidencyMeasured, TaskGone
from numaplace.model.worth import Action, Reason
from scheduler.planning.records import MoveLimits
from scheduler.state.bounds import Bounds
from scheduler.state.events import MeasureRequested, PolicyChanged, PolicyDeleted, Tick
from scheduler.state.instructions import ForgetMoves, ForgetPolicy, StorePolicy, WakeAt
from scheduler.state.machine import Restored, SchedulerState
from tests.unit.scheduler.scene import (
    GIB,
    Stage,
    home_change,
    make_task,
    of_kind,
    only,
    outcome_of,
    sent,
)

JOB = JobId("job")


def reason_of(stage: Stage, task: str = "cgroup:/job") -> Reason:
    """Why the task's last verdict was as it was."""
    record = stage.state.world.task(stage.key(task))
    assert record is not None
    assert record.verdict is not None
    return record.verdict.reason


def test_settling_is_exact() -> None:
    """The wake-up comes when the home has been quiet for settle_s, and the order with it."""
    stage = Stage()
    session = stage.join(make_task())
    done = stage.report(session, home_change())
    assert only(of_kind(done, WakeAt)).at_s == stage.now_s + Policy().settle_s
    assert not sent(stage.pass_time(Policy().settle_s - 0.001), MoveOrder)
    assert sent(stage.pass_time(0.0011), MoveOrder)


def test_burst_ends_in_one_order_to_the_last_home() -> None:
    """A hundred changes within a second make one move."""
    stage = Stage()
    session = stage.join(make_task())
    for i in range(101):
        stage.report(session, home_change(home=(i + 1) % 2, version=i + 2, previous=i % 2))
        stage.pass_time(0.01)
    orders = sent([*stage.log, *stage.pass_time(10)], MoveOrder)
    assert only(orders).home_version == 102


def test_observe_decides_and_moves_nothing() -> None:
    """What would be moved is on record; no order leaves."""
    stage = Stage()
    stage.tell(PolicyChanged(None, Policy(mode=FollowMode.OBSERVE)))
    session = stage.join(make_task())
    stage.report(session, home_change())
    stage.pass_time(100)
    assert not sent(stage.log, MoveOrder)
    record = stage.state.world.task(stage.key())
    assert record is not None
    assert record.verdict is not None
    assert (record.verdict.reason, record.verdict.remote_bytes) == (Reason.OBSERVE, 400 * MIB)


def test_never_moves_nothing_and_at_once_later_does() -> None:
    """A policy that changes is obeyed from then on."""
    stage = Stage()
    stage.tell(PolicyChanged(JOB, Policy(mode=FollowMode.NEVER)))
    session = stage.join(make_task())
    stage.report(session, home_change())
    stage.pass_time(100)
    assert reason_of(stage) is Reason.NEVER
    assert sent(stage.tell(PolicyChanged(JOB, Policy())), MoveOrder)


def test_later_waits_for_its_time_and_a_quiet_host() -> None:
    """Later means after later_s, and after the host's other moves."""
    stage = Stage()
    stage.tell(PolicyChanged(JobId("slow"), Policy(mode=FollowMode.LATER, later_s=30)))
    session = stage.join(make_task("a", "slow"), make_task("b", "fast"))
    stage.report(session, home_change("a"))
    stage.pass_time(29)
    assert not sent(stage.log, MoveOrder)
    stage.report(session, home_change("b", version=3))
    fast = only(sent(stage.pass_time(0.5), MoveOrder))
    stage.accept(session, fast)
    assert not sent(stage.pass_time(10), MoveOrder)
    assert reason_of(stage, "a") is Reason.LATER
    assert only(sent(stage.report(session, outcome_of(fast)), MoveOrder)).task == "a"


def test_policy_that_forbids_ends_open_moves() -> None:
    """Never means now, too."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    done = stage.tell(PolicyChanged(JOB, Policy(mode=FollowMode.NEVER)))
    assert only(sent(done, CancelMove)).move == order.id


def test_policies_are_stored_and_reach_every_agent() -> None:
    """An agent that may soon be alone has the policies of all jobs."""
    stage = Stage()
    stage.join(make_task())
    stage.join(host="h2")  # type: ignore[arg-type] # a host's name
    done = stage.tell(PolicyChanged(JOB, Policy(mode=FollowMode.NEVER)))
    assert only(of_kind(done, StorePolicy)).job == JOB
    assert [p.of(JOB).mode for p in sent(done, PolicySet)] == [FollowMode.NEVER] * 2
    done = stage.tell(PolicyDeleted(JOB))
    assert only(of_kind(done, ForgetPolicy)).job == JOB
    assert stage.state.world.policy_of(JOB) == Policy()


def test_default_policy_leaves_jobs_with_their_own_alone() -> None:
    """A new default is not judged for whom it does not concern."""
    stage = Stage()
    session = stage.join(make_task())
    stage.tell(PolicyChanged(JOB, Policy()))
    order = stage.order(session)
    done = stage.tell(PolicyChanged(None, Policy(mode=FollowMode.NEVER)))
    assert not sent(done, CancelMove)
    assert order.id in stage.state.book.open


def test_places_are_taken_in_turn() -> None:
    """With one place on the host, the end of a move lets the next one out at once."""
    stage = Stage(limits=MoveLimits(1, 10))
    session = stage.join(make_task("a", "ja"), make_task("b", "jb"))
    stage.report(session, home_change("a"))
    stage.report(session, home_change("b"))
    first = only(sent(stage.pass_time(1), MoveOrder))
    stage.accept(session, first)
    assert not sent(stage.pass_time(60), MoveOrder)
    second = only(sent(stage.report(session, outcome_of(first)), MoveOrder))
    assert {first.task, second.task} == {"a", "b"}


def test_full_target_waits_for_room() -> None:
    """A home without room is no target; when the host reports room, the order leaves at once."""
    stage = Stage()
    session = stage.join(make_task())
    stage.report(session, HostLoad({NodeId(0): GIB, NodeId(1): 0}))
    stage.report(session, home_change())
    assert not sent(stage.pass_time(1), MoveOrder)
    assert reason_of(stage) is Reason.TARGET_FULL
    assert sent(stage.report(session, HostLoad({NodeId(0): GIB, NodeId(1): GIB})), MoveOrder)


def test_target_that_a_move_found_full_is_tried_again_when_there_is_room() -> None:
    """Not before what lacked was freed, so that it is not tried in vain again and again, and then at once."""
    stage = Stage()
    session = stage.join(make_task())
    stage.report(session, home_change())
    order = only(sent(stage.pass_time(1), MoveOrder))
    stage.report(session, HostLoad({NodeId(0): GIB, NodeId(1): GIB}))
    left = {LeftReason.TARGET_FULL: 300 * MIB}
    residency = Residency.of_nodes({NodeId(0): 300 * MIB, NodeId(1): 100 * MIB})
    stage.report(session, replace(outcome_of(order, MoveState.PARTIAL), left=left, residency=residency))
    for free in (GIB, 200 * MIB, 80 * MIB, 379 * MIB):
        assert not sent(stage.report(session, HostLoad({NodeId(0): GIB, NodeId(1): free})), MoveOrder)
        assert reason_of(stage) is Reason.TRIED
    assert sent(stage.report(session, HostLoad({NodeId(0): GIB, NodeId(1): 380 * MIB})), MoveOrder)


def test_unknown_residency_is_asked_for_and_decided_on_arrival() -> None:
    """A task whose pages were never located is measured, not guessed at."""
    stage = Stage()
    session = stage.join(make_task(home=1, pages={}))
    assert only(sent(stage.log, Measure)).task == "cgroup:/job"
    assert reason_of(stage) is Reason.UNKNOWN_RESIDENCY
    stage.pass_time(1)
    report = ResidencyMeasured(TaskId("cgroup:/job"), Residency.of_nodes({NodeId(0): 400 * MIB}))
    assert sent(stage.report(session, report), MoveOrder)


def test_partial_move_is_not_repeated_at_once() -> None:
    """What stayed behind is tried again later, not in a loop."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    done = stage.report(session, outcome_of(order, MoveState.PARTIAL, {0: 100 * MIB, 1: 300 * MIB}))
    assert not sent([*done, *stage.pass_time(29)], MoveOrder)
    assert reason_of(stage) is Reason.TRIED
    assert sent(stage.pass_time(2), MoveOrder)


def test_wider_mems_lift_the_wait_after_a_partial_move() -> None:
    """What the cpuset forbade may be allowed now: no need to wait."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    stage.report(session, outcome_of(order, MoveState.PARTIAL, {0: 400 * MIB}))
    change = replace(home_change(version=3, previous=1), mems=frozenset({NodeId(1)}))
    stage.report(session, change)
    assert sent(stage.pass_time(1), MoveOrder)


def test_history_is_bounded_and_the_store_told() -> None:
    """The oldest ended moves are dropped, in memory and in the store."""
    stage = Stage(bounds=Bounds(history_max=3))
    session = stage.join(make_task())
    ids = []
    for i in range(5):
        order = stage.order(session, home=(i + 1) % 2, version=i + 2)
        ids.append(order.id)
        stage.report(session, outcome_of(order))
        stage.pass_time(60)
    assert list(stage.state.book.ended) == ids[2:]
    assert [m for f in of_kind(stage.log, ForgetMoves) for m in f.moves] == ids[:2]


def test_history_that_is_shorter_than_the_stored_one_is_pruned_in_the_store_too() -> None:
    """Whoever lowers the limit gets the space back, and nothing comes back with the next start."""
    before = Stage()
    session = before.join(make_task())
    ids = []
    for i in range(5):
        order = before.order(session, home=(i + 1) % 2, version=i + 2)
        ids.append(order.id)
        before.report(session, outcome_of(order))
        before.pass_time(60)
    restored = Restored(tuple(before.state.book.ended.values()))
    state = SchedulerState("later", before.now_s, restored, bounds=Bounds(history_max=2))
    assert list(state.book.ended) == ids[3:]
    assert [do for do in state.handle(Tick(), before.now_s) if isinstance(do, ForgetMoves)] == [
        ForgetMoves(tuple(ids[:3]))
    ]
    assert not [do for do in state.handle(Tick(), before.now_s) if isinstance(do, ForgetMoves)]


def test_gone_task_leaves_its_order_to_the_host() -> None:
    """The host says how a move ended whose task is gone."""
    stage = Stage()
    session = stage.join(make_task())
    order = stage.order(session)
    stage.report(session, TaskGone(order.task))
    assert order.id in stage.state.book.open
    stage.report(session, outcome_of(order, MoveState.FAILED, {}))
    assert not stage.state.book.open
    assert JOB not in stage.state.world.jobs


def test_measuring_on_request_asks_every_task() -> None:
    """GetJob with measure asks each of the job's hosts once."""
    stage = Stage()
    stage.join(make_task("a"), make_task("b"))
    stage.pass_time(10)
    asked = sent(stage.tell(MeasureRequested(JOB)), Measure)
    assert sorted(m.task for m in asked) == ["a", "b"]
    assert not sent(stage.tell(MeasureRequested(JOB)), Measure)


def test_verdict_of_an_ordered_task_is_to_move() -> None:
    """The record says what was decided and why."""
    stage = Stage()
    stage.order(stage.join(make_task()))
    record = stage.state.world.task(stage.key())
    assert record is not None
    assert record.verdict is not None
    assert record.verdict.action is Action.MOVE
