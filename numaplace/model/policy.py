"""How a job's pages follow its CPUs: at once, later, never, or only observed; which pages, at what price to the job."""

from dataclasses import dataclass
from enum import Enum
from math import isfinite

from numaplace.model.residency import PageKind

MIB = 1 << 20


class FollowMode(Enum):
    """When a job's pages follow a re-pin. OBSERVE decides and records what would be moved, and moves nothing."""

    AT_ONCE = "at-once"
    LATER = "later"
    NEVER = "never"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a move may cost.

    ``pace_bytes_per_s`` is None for as fast as the job does not feel it. ``stall_ms_max`` is the longest time that
    one touch or ``mmap()`` of the job may wait for us. ``headroom_bytes`` stays free on a target node, on top of
    the kernel's high watermark.
    """

    pace_bytes_per_s: int | None = None
    stall_ms_max: float = 50.0
    headroom_bytes: int = 64 * MIB

    def __post_init__(self) -> None:
        if self.pace_bytes_per_s is not None and self.pace_bytes_per_s <= 0:
            raise ValueError("pace_bytes_per_s must be positive, or absent for no limit")
        if not 0 < self.stall_ms_max <= 600_000:  # noqa: PLR2004 - ten minutes in ms
            raise ValueError("stall_ms_max must be above 0 and at most 600000")
        if self.headroom_bytes < 0:
            raise ValueError("headroom_bytes must not be negative")


@dataclass(frozen=True, slots=True)
class Policy:
    """A job's policy.

    ``settle_s``: how long the home must have been quiet. ``later_s``: the same for FollowMode.LATER, which also
    waits until the host moves nothing else. ``min_remote_bytes`` and ``min_locality_gain`` are the hysteresis: less
    is not worth a move. ``min_age_s``: a younger task may be gone before the move has paid. ``keep_interleave``:
    memory that was spread on purpose keeps its spread.
    """

    mode: FollowMode = FollowMode.AT_ONCE
    kinds: frozenset[PageKind] = frozenset({PageKind.ANON, PageKind.SHARED, PageKind.FILE})
    budget: Budget = Budget()
    settle_s: float = 0.02
    later_s: float = 30.0
    min_remote_bytes: int = 4 * MIB
    min_locality_gain: float = 0.02
    min_age_s: float = 0.0
    keep_interleave: bool = True

    def __post_init__(self) -> None:
        if not self.kinds:
            raise ValueError("kinds must name at least one kind of page; to move nothing use mode = never")
        if not 0 <= self.min_locality_gain <= 1:
            raise ValueError("min_locality_gain is a share between 0 and 1")
        if not all(isfinite(value) for value in (self.settle_s, self.later_s, self.min_age_s)):
            raise ValueError("settle_s, later_s and min_age_s must be finite; to move nothing use mode = never")
        if min(self.settle_s, self.later_s, self.min_age_s, self.min_remote_bytes) < 0:
            raise ValueError("settle_s, later_s, min_age_s and min_remote_bytes must not be negative")
