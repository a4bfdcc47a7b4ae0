"""Whether a drift is worth a move, now, later or not at all: one pure function with one reason for every answer.

The scheduler calls it with the cluster's view, an agent with its own when it is alone. Checks run from the absolute
(no home, the owner said never) to the economic, so the first reason that holds is the one a person wants to read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import pairwise

from numaplace.model.ids import NodeId
from numaplace.model.job import Task
from numaplace.model.policy import FollowMode, Policy
from numaplace.model.topology import LOCAL_DISTANCE, Topology


class Action(Enum):
    """What to do about a drift. WAIT names the time to ask again."""

    MOVE = "move"
    WAIT = "wait"
    LEAVE = "leave"


class Reason(Enum):
    """The one reason of a verdict; stable words, for people and programs."""

    WORTH_IT = "worth-it"
    AT_HOME = "at-home"
    NO_HOME = "no-home"
    NEVER = "policy-never"
    OBSERVE = "observe-only"
    INTERLEAVED = "interleaved"
    ALREADY_MOVING = "already-moving"
    UNKNOWN_RESIDENCY = "unknown-residency"
    STUCK = "stuck"
    MAY_NOT_MOVE = "agent-may-not-move"
    TOO_SMALL = "too-small"
    TOO_YOUNG = "too-young"
    SETTLING = "settling"
    BOUNCING = "bouncing"
    LATER = "policy-later"
    TARGET_FULL = "target-full"
    OTHERS_MOVING = "others-moving"
    NOT_WORTH_IT = "not-worth-it"
    HOST_BUSY = "host-busy"
    CLUSTER_BUSY = "cluster-busy"
    TRIED = "tried-already"


WAITS_FOR_LOAD = (Reason.TARGET_FULL, Reason.OTHERS_MOVING)
"""Reasons that a change of the host's load may end."""


@dataclass(frozen=True, slots=True)
class HostCosts:
    """What moves cost on this host so far: an average over its earlier moves, or a guess before the first."""

    bytes_per_s: float = 1e9
    fixed_s: float = 0.05

    def predicted_s(self, size_bytes: int) -> float:
        """Seconds that moving so much will take."""
        return self.fixed_s + size_bytes / self.bytes_per_s

    def learned_from(self, moved_bytes: int, seconds: float) -> "HostCosts":
        """The costs with one more move taken into account, weighing a quarter; short moves teach only noise."""
        if moved_bytes < MIN_LESSON_BYTES or seconds <= self.fixed_s:
            return self
        return HostCosts(0.75 * self.bytes_per_s + 0.25 * moved_bytes / (seconds - self.fixed_s), self.fixed_s)


@dataclass(frozen=True, slots=True)
class Lacked:
    """What the last move found no room for at home, and how much was free there at the least since then, if known."""

    size_bytes: int
    free_bytes: int | None = None

    def seen(self, free_bytes: int | None) -> "Lacked":
        """With another report of what is free; None tells nothing."""
        known = [each for each in (self.free_bytes, free_bytes) if each is not None]
        return replace(self, free_bytes=min(known, default=None))

    def fits(self, free_bytes: int | None) -> bool:
        """Whether what is free has grown by all that lacked.

        That there is room by the watermarks is not enough: the kernel has just refused what the watermarks allowed.
        """
        if free_bytes is None or self.free_bytes is None:
            return False
        return free_bytes >= self.free_bytes + self.size_bytes


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a verdict stands on. Times in seconds on one monotonic clock.

    ``changed_s``: when the home last changed. ``recent_changes_s``: the times of changes within the last
    ``BOUNCE_WINDOW_S``. ``stuck_bytes``: known to be unmovable. ``free_bytes``: what each node can take above its
    watermark. ``tried_s``: when the last move towards this same home ended, None if there was none; ``room_again``: it
    found home full, and by now that would fit, see :class:`Lacked`. ``may_not_move``: why the agent may not move pages
    there, in words for a person; empty if it may.
    """

    task: Task
    policy: Policy
    topology: Topology
    now_s: float
    changed_s: float
    recent_changes_s: tuple[float, ...] = ()
    measured: bool = True
    moving: bool = False
    stuck_bytes: int = 0
    tried_s: float | None = None
    room_again: bool = False
    free_bytes: Mapping[NodeId, int] = field(default_factory=dict)
    others_pages_per_s: float = 0.0
    costs: HostCosts = HostCosts()
    moves_on_host: int = 0
    moves_on_host_max: int = 2
    moves_in_cluster: int = 0
    moves_in_cluster_max: int = 64
    may_not_move: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about one task's drift, and why. ``not_before_s`` is set for WAIT: ask again then."""

    action: Action
    reason: Reason
    words: str
    remote_bytes: int = 0
    predicted_s: float = 0.0
    not_before_s: float | None = None


BURST_S = 1.0
"""Changes closer than this belong to one burst; each doubles the settling time, so that a burst ends in one move."""
BURST_DOUBLINGS_MAX = 5
BOUNCE_WINDOW_S = 30.0
"""Bursts within this time count as bouncing."""
BOUNCES_MAX = 3
"""So many bursts are ordinary; beyond them a task bounces and has to be quiet for seconds."""
SETTLE_S_MAX = 10.0
"""A bouncing task is asked again at least this often."""
RETRY_S = 30.0
"""After a move that left bytes behind, the same home is not tried again sooner."""
BUSY_RETRY_S = 1.0
"""When host or cluster is busy; the end of any move asks again at once anyway."""
OTHERS_PAGES_PER_S = 5000.0
"""20 MB/s of foreign migration: somebody else is at it."""
EXPECTED_LIFE_S = 60.0
"""A task is expected to live as long again as it has lived, and at least this long."""
MEMORY_BOUND_SHARE = 0.3
"""The part of a typical job's time that waits for memory: what distance can slow down."""
MOVE_INTERFERENCE = 0.2
"""The part of a move's duration that the job loses to it."""
MIN_LESSON_BYTES = 16 << 20
PAGE_BYTES = 4096


def judge(s: Situation) -> Verdict:
    """The verdict on one task. Never raises; the same situation gives the same verdict."""
    remote = s.task.residency.remote_bytes(s.task.home.nodes, s.policy.kinds)
    movable = max(0, remote - s.stuck_bytes)
    for check in (_forbidden, _nothing_to_do, _too_early, _no_room, _not_worth, _denied, _busy):
        verdict = check(s, remote, movable)
        if verdict is not None:
            return verdict
    predicted = s.costs.predicted_s(movable)
    words = f"{_mib(movable)} lie outside home {sorted(s.task.home.nodes)}; about {predicted:.1f} s to move"
    if s.policy.mode is FollowMode.OBSERVE:
        return Verdict(Action.LEAVE, Reason.OBSERVE, f"observing only: {words}", remote, predicted)
    return Verdict(Action.MOVE, Reason.WORTH_IT, words, remote, predicted)


def _leave(reason: Reason, words: str, remote: int = 0) -> Verdict:
    return Verdict(Action.LEAVE, reason, words, remote)


def _wait(reason: Reason, until_s: float, words: str, remote: int = 0) -> Verdict:
    return Verdict(Action.WAIT, reason, words, remote, not_before_s=until_s)


def _forbidden(s: Situation, remote: int, _movable: int) -> Verdict | None:
    if not s.task.home.nodes:
        return _leave(Reason.NO_HOME, "none of the task's CPUs is online on a known node")
    if s.policy.mode is FollowMode.NEVER:
        return _leave(Reason.NEVER, "the policy says never", remote)
    if s.moving:
        return _leave(Reason.ALREADY_MOVING, "a move of this task is under way", remote)
    if s.task.memory_policy.spread_on_purpose and s.policy.keep_interleave:
        return _leave(
            Reason.INTERLEAVED,
            "its memory is interleaved on purpose and keeps its spread; set keep_interleave = false to move it",
            remote,
        )
    return None


def _nothing_to_do(s: Situation, remote: int, movable: int) -> Verdict | None:
    if not s.measured:
        return _wait(Reason.UNKNOWN_RESIDENCY, s.now_s + BUSY_RETRY_S, "its pages are being located")
    if remote == 0:
        return _leave(Reason.AT_HOME, "all of its pages are at home")
    if movable == 0:
        return _leave(Reason.STUCK, f"all {_mib(remote)} outside home are known not to move", remote)
    least = max(s.policy.min_remote_bytes, int(s.policy.min_locality_gain * s.task.residency.resident_bytes))
    if movable < least:
        return _leave(Reason.TOO_SMALL, f"only {_mib(movable)} outside home; {_mib(least)} are worth a move", remote)
    return None


def _too_early(s: Situation, remote: int, movable: int) -> Verdict | None:
    if s.task.age_s < s.policy.min_age_s:
        wait_s = s.policy.min_age_s - s.task.age_s
        return _wait(Reason.TOO_YOUNG, s.now_s + wait_s, f"started {s.task.age_s:.0f} s ago and may soon end", remote)
    settled_s = s.changed_s + settle_s(s.policy, s.recent_changes_s)
    if s.now_s < settled_s:
        reason = Reason.BOUNCING if _bursts(s.recent_changes_s) > BOUNCES_MAX else Reason.SETTLING
        return _wait(reason, settled_s, f"{len(s.recent_changes_s)} changes of late; waiting for quiet", remote)
    if s.tried_s is not None and not s.room_again and s.now_s < s.tried_s + RETRY_S:
        words = f"a move to the same home just ended and left {_mib(movable)}"
        return _wait(Reason.TRIED, s.tried_s + RETRY_S, words, remote)
    if s.policy.mode is FollowMode.LATER and (s.now_s < s.changed_s + s.policy.later_s or s.moves_on_host > 0):
        until_s = max(s.changed_s + s.policy.later_s, s.now_s + BUSY_RETRY_S)
        return _wait(Reason.LATER, until_s, "the policy says later, when the host is quiet", remote)
    return None


def settle_s(policy: Policy, recent_changes_s: tuple[float, ...]) -> float:
    """How long the home must be quiet, in seconds: longer within a burst, and longer still for a task that bounces."""
    last_s = max(recent_changes_s, default=0.0)
    in_burst = sum(last_s - t < BURST_S for t in recent_changes_s)
    settle = policy.settle_s * 2.0 ** min(max(0, in_burst - 1), BURST_DOUBLINGS_MAX)
    bounces = _bursts(recent_changes_s) - BOUNCES_MAX
    return settle if bounces <= 0 else max(settle, min(SETTLE_S_MAX, 2.0 ** min(bounces, BURST_DOUBLINGS_MAX)))


def _bursts(times_s: tuple[float, ...]) -> int:
    """How many groups the times form, a gap of ``BURST_S`` or more dividing two."""
    ordered = sorted(times_s)
    return sum(later - earlier >= BURST_S for earlier, later in pairwise(ordered)) + bool(ordered)


def _no_room(s: Situation, remote: int, movable: int) -> Verdict | None:
    if not s.free_bytes:
        return None
    headroom = s.policy.budget.headroom_bytes
    room = sum(max(0, s.free_bytes.get(node, 0) - headroom) for node in s.task.home.nodes)
    if room >= min(movable, max(s.policy.min_remote_bytes, PAGE_BYTES)):
        return None
    words = f"home has {_mib(room)} to spare above its watermark and headroom; {_mib(movable)} would have to move"
    return _wait(Reason.TARGET_FULL, s.now_s + RETRY_S, words, remote)


def _not_worth(s: Situation, remote: int, movable: int) -> Verdict | None:
    if s.others_pages_per_s > OTHERS_PAGES_PER_S and s.task.memory_policy.value == "default":
        words = f"others migrate {s.others_pages_per_s:.0f} pages/s on this host; not fighting them"
        if s.now_s < s.changed_s + SETTLE_S_MAX:
            return _wait(Reason.OTHERS_MOVING, s.now_s + BUSY_RETRY_S, words, remote)
    gained_s, cost_s = gain_s(s, movable), s.costs.predicted_s(movable) * MOVE_INTERFERENCE
    if gained_s < cost_s:
        words = f"moving {_mib(movable)} would cost the job {cost_s:.1f} s and gain it {gained_s:.1f} s"
        again_s = s.now_s + max(EXPECTED_LIFE_S, s.task.age_s)  # a task is expected to live as long as it has lived
        return _wait(Reason.NOT_WORTH_IT, again_s, words, remote)
    return None


def gain_s(s: Situation, movable: int) -> float:
    """Seconds that the job saves over the rest of its expected life."""
    farthest = max(
        (min(s.topology.distance(home, node) for home in s.task.home.nodes) for node in s.task.residency.by_node),
        default=LOCAL_DISTANCE,
    )
    slowdown = max(0.1, farthest / LOCAL_DISTANCE - 1)
    share = movable / max(1, s.task.residency.resident_bytes)
    return max(EXPECTED_LIFE_S, s.task.age_s) * share * slowdown * MEMORY_BOUND_SHARE


def _denied(s: Situation, remote: int, _movable: int) -> Verdict | None:
    if not s.may_not_move or s.policy.mode is FollowMode.OBSERVE:
        return None
    return _leave(Reason.MAY_NOT_MOVE, s.may_not_move, remote)


def _busy(s: Situation, remote: int, _movable: int) -> Verdict | None:
    if s.policy.mode is FollowMode.OBSERVE:
        return None
    if s.moves_on_host >= s.moves_on_host_max:
        words = f"{s.moves_on_host} moves run on this host, its limit"
        return _wait(Reason.HOST_BUSY, s.now_s + BUSY_RETRY_S, words, remote)
    if s.moves_in_cluster >= s.moves_in_cluster_max:
        words = f"{s.moves_in_cluster} moves run in the cluster, its limit"
        return _wait(Reason.CLUSTER_BUSY, s.now_s + BUSY_RETRY_S, words, remote)
    return None


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.1f} MiB"
