"""Whether a verdict's reason is true: what the machines believe of a task, held against where its pages really are."""

from numaplace.model.policy import FollowMode, Policy
from numaplace.model.worth import Reason, Verdict
from tests.simulation.truth import TrueHost, TrueTask


def bears_out(
    host: TrueHost, task: TrueTask, verdict: Verdict, policy: Policy, *, can_move: bool, held: bool = False
) -> bool:
    """Whether the truth bears the verdict's reason out. ``held``: a person has cancelled the task's move.

    A reason that only says that it is early (settling, busy, under way, worth it) explains nothing after quiet.
    """
    home = host.topology.home_of(task.cpus)
    remote = task.residency().remote_bytes(home, policy.kinds)
    movable = sum(
        size for lot, size in task.lots.items() if lot.node not in home and lot.kind in policy.kinds and not lot.pinned
    )
    least = max(policy.min_remote_bytes, int(policy.min_locality_gain * task.residency().resident_bytes), 1)
    room = sum(max(0, host.free(node) - policy.budget.headroom_bytes) for node in home & task.mems)
    true_of: dict[Reason, bool] = {
        Reason.AT_HOME: remote == 0,
        Reason.NO_HOME: not home,
        Reason.NEVER: policy.mode is FollowMode.NEVER,
        Reason.OBSERVE: policy.mode is FollowMode.OBSERVE,
        Reason.INTERLEAVED: task.memory_policy.spread_on_purpose and policy.keep_interleave,
        Reason.STUCK: movable == 0,
        Reason.MAY_NOT_MOVE: not can_move,
        Reason.TOO_SMALL: movable < least,
        Reason.NOT_WORTH_IT: True,
        Reason.TARGET_FULL: room < remote + host.slack_bytes,  # what is pinned need not be known before it was tried
        Reason.TRIED: held or movable < least or room < min(movable, least) + host.slack_bytes,
    }
    return true_of.get(verdict.reason, False)
