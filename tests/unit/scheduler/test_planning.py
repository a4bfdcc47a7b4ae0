"""Verdicts, their order under limits, and the answers that only the scheduler has."""

from dataclasses import replace

import pytest

from numaplace.model.ids import HostId
from numaplace.model.move import LeftReason, MoveState
from numaplace.model.policy import MIB, FollowMode, Policy
from numaplace.model.session import Abilities, HostLoad
from numaplace.model.worth import Action, Reason
from scheduler.planning.choose import decide
from scheduler.planning.records import HostRecord, MoveLimits, TaskRecord, Tried
from scheduler.planning.situation import Candidate, Crowd, situation_of, verdict_on
from tests.unit.scheduler.scene import GIB, make_task, nodes, two_nodes

NOW_S = 1000.0


def drifted(name: str = "cgroup:/job", host: str = "h1", size: int = 400 * MIB) -> Candidate:
    """A task whose pages are all away from its home, settled long ago."""
    task = make_task(name, home=1, version=2, pages={0: size})
    record = TaskRecord(HostId(host), task, NOW_S, NOW_S - 60, measured_s=NOW_S)
    load = HostLoad(dict.fromkeys(nodes(0, 1), 64 * GIB))
    there = HostRecord(HostId(host), NOW_S, topology=two_nodes(), load=load, connected=True, in_step=True)
    return Candidate(record, there, Policy(), moving=False)


def verdicts(
    candidates: list[Candidate], limits: MoveLimits, running: dict[HostId, int] | None = None
) -> dict[str, Reason]:
    """The reason for each task."""
    decisions = decide(candidates, running or {}, limits, NOW_S)
    assert len(decisions) == len(candidates)
    return {d.candidate.record.task.id: d.verdict.reason for d in decisions}


def test_limits_let_the_best_gain_per_second_go_first() -> None:
    """With one place on the host, the task that gains most for each second of moving gets it."""
    small, large = drifted("small", size=8 * MIB), drifted("large", size=400 * MIB)
    for order in ([small, large], [large, small]):
        got = verdicts(order, MoveLimits(1, 10))
        # All of either task is away, so both gain the same; the smaller is moved sooner.
        assert got == {"small": Reason.WORTH_IT, "large": Reason.HOST_BUSY}


def test_cluster_limit_is_shared_between_hosts() -> None:
    """Two places in the cluster and two hosts: one each, even if one host has the better candidates."""
    candidates = [drifted(f"{host}-{i}", host, (8 + i) * MIB) for host in ("h1", "h2") for i in range(2)]
    got = verdicts(candidates, MoveLimits(2, 2))
    assert [task for task, reason in sorted(got.items()) if reason is Reason.WORTH_IT] == ["h1-0", "h2-0"]
    assert sum(reason is Reason.CLUSTER_BUSY for reason in got.values()) == 2


def test_moves_under_way_count_against_the_limits() -> None:
    """A host at its limit gets nothing new."""
    assert verdicts([drifted()], MoveLimits(2, 10), {HostId("h1"): 2}) == {"cgroup:/job": Reason.HOST_BUSY}
    assert verdicts([drifted()], MoveLimits(2, 10), {HostId("h2"): 10}) == {"cgroup:/job": Reason.CLUSTER_BUSY}


@pytest.mark.parametrize("limits", [MoveLimits(1, 3), MoveLimits(2, 5), MoveLimits(3, 3)])
def test_chosen_moves_never_exceed_the_limits(limits: MoveLimits) -> None:
    """Whatever the crowd, host and cluster limits hold."""
    candidates = [drifted(f"{h}-{i}", f"h{h}", (i + 1) * 50 * MIB) for h in range(4) for i in range(4)]
    chosen = [d.candidate for d in decide(candidates, {}, limits, NOW_S) if d.verdict.action is Action.MOVE]
    assert len(chosen) == min(limits.in_cluster_max, 4 * limits.per_host_max)
    assert max(sum(c.host.id == f"h{h}" for c in chosen) for h in range(4)) <= limits.per_host_max


def judged(candidate: Candidate) -> Reason:
    """The reason of the verdict on one task without any limit."""
    return verdict_on(candidate, situation_of(candidate, Crowd(0, 0), MoveLimits(), NOW_S)).reason


def test_agent_that_cannot_move_gets_no_order_and_says_why() -> None:
    """A denied capability is no reason to order in vain."""
    candidate = drifted()
    host = replace(candidate.host, abilities=Abilities(can_move=False, remarks=("needs CAP_SYS_NICE",)))
    candidate = replace(candidate, host=host)
    verdict = verdict_on(candidate, situation_of(candidate, Crowd(0, 0), MoveLimits(), NOW_S))
    assert (verdict.action, verdict.reason) == (Action.LEAVE, Reason.MAY_NOT_MOVE)
    assert "needs CAP_SYS_NICE; once that is changed, start it again" in verdict.words
    watched = replace(candidate, policy=replace(candidate.policy, mode=FollowMode.OBSERVE))
    assert judged(watched) is Reason.OBSERVE


def test_what_was_stuck_towards_another_home_does_not_count() -> None:
    """Unmovable bytes are known only after a move to this very home."""
    candidate = drifted()
    stuck = {LeftReason.PINNED: 400 * MIB}
    elsewhere = Tried(nodes(0), 1, MoveState.PARTIAL, NOW_S - 100)
    here = Tried(nodes(1), 2, MoveState.PARTIAL, NOW_S - 100)
    assert judged(replace(candidate, record=replace(candidate.record, stuck=stuck, tried=elsewhere))) is Reason.WORTH_IT
    assert judged(replace(candidate, record=replace(candidate.record, stuck=stuck, tried=here))) is Reason.STUCK


def test_same_home_is_not_tried_again_at_once() -> None:
    """After a move that left bytes behind, the same home has to wait; one overtaken by a newer home has not."""
    candidate = drifted()
    failed = Tried(nodes(1), 2, MoveState.FAILED, NOW_S - 1)
    overtaken = Tried(nodes(1), 1, MoveState.SUPERSEDED, NOW_S - 1)
    assert judged(replace(candidate, record=replace(candidate.record, tried=failed))) is Reason.TRIED
    assert judged(replace(candidate, record=replace(candidate.record, tried=overtaken))) is Reason.WORTH_IT


def test_age_grows_between_reports() -> None:
    """A task's age is what it was when reported, plus the time since."""
    candidate = drifted()
    candidate = replace(candidate, record=replace(candidate.record, reported_s=NOW_S - 50))
    assert situation_of(candidate, Crowd(0, 0), MoveLimits(), NOW_S).task.age_s == 150.0


def test_limits_below_one_are_refused() -> None:
    """A limit of zero would stop everything silently."""
    with pytest.raises(ValueError, match="at least 1"):
        MoveLimits(per_host_max=0)
