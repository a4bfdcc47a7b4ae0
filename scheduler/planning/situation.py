"""From what the scheduler knows of a task to the one Situation that numaplace.model.worth judges, and the verdict.

What worth cannot know is answered here: a person who cancelled.
"""

from dataclasses import dataclass, replace

from numaplace.model.move import MoveState
from numaplace.model.policy import Policy
from numaplace.model.worth import BOUNCE_WINDOW_S, Action, Reason, Situation, Verdict, judge
from scheduler.planning.records import HostRecord, MoveLimits, TaskRecord


@dataclass(frozen=True, slots=True)
class Candidate:
    """A task to be judged, with all that its verdict stands on except the crowd. ``moving``: it has an open order."""

    record: TaskRecord
    host: HostRecord
    policy: Policy
    moving: bool


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many moves are under way on the candidate's host and in the cluster."""

    on_host: int
    in_cluster: int


def situation_of(candidate: Candidate, crowd: Crowd, limits: MoveLimits, now_s: float) -> Situation:
    """All that a verdict on this task stands on at this time."""
    record, host = candidate.record, candidate.host
    return Situation(
        task=replace(record.task, age_s=record.task.age_s + now_s - record.reported_s),
        policy=candidate.policy,
        topology=host.topology,
        now_s=now_s,
        changed_s=record.changed_s,
        recent_changes_s=tuple(t for t in record.recent_changes_s if now_s - t < BOUNCE_WINDOW_S),
        measured=record.measured_s is not None,
        moving=candidate.moving,
        stuck_bytes=sum(record.stuck.values()) if _tried_this_home(record) else 0,
        tried_s=_tried_s(record),
        room_again=_has_room_again(record, host),
        free_bytes=host.load.free_bytes,
        others_pages_per_s=host.load.others_pages_per_s,
        costs=host.costs,
        moves_on_host=crowd.on_host,
        moves_on_host_max=limits.per_host_max,
        moves_in_cluster=crowd.in_cluster,
        moves_in_cluster_max=limits.in_cluster_max,
        may_not_move=_may_not_move(host),
    )


def _tried_this_home(record: TaskRecord) -> bool:
    """Whether a move to the present home has ended: what was stuck on the way to another says nothing about this."""
    return record.tried is not None and record.tried.home == record.task.home.nodes


def _tried_s(record: TaskRecord) -> float | None:
    """When the last move to this home ended; one that a newer home of the same nodes overtook does not count."""
    tried = record.tried
    if tried is None or tried.home != record.task.home.nodes:
        return None
    overtaken = tried.state is MoveState.SUPERSEDED and tried.version != record.task.home.version
    return None if overtaken else tried.at_s


def _has_room_again(record: TaskRecord, host: HostRecord) -> bool:
    """Whether what the last move found no room for would fit by now."""
    tried = record.tried
    return tried is not None and tried.lacked is not None and tried.lacked.fits(host.load.free_at(tried.home))


def verdict_on(candidate: Candidate, situation: Situation) -> Verdict:
    """The verdict, with the answer that only the scheduler has put in place of an order."""
    verdict = judge(situation)
    if verdict.action is not Action.MOVE:
        return verdict
    if candidate.record.held:
        return replace(verdict, action=Action.LEAVE, reason=Reason.TRIED, words=candidate.record.held)
    return verdict


def _may_not_move(host: HostRecord) -> str:
    """Why the agent may not, and what to change; empty if it may."""
    if host.abilities.can_move:
        return ""
    remarks = "; ".join(remark.rstrip(".") for remark in host.abilities.remarks)
    why = remarks or "give it CAP_SYS_NICE and CAP_SYS_PTRACE, or run it as root"
    return f"the agent on {host.id} may not move pages: {why}; once that is changed, start it again"
