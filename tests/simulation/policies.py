"""Policies as people might write them, for tasks that are small and lives that are short."""

from random import Random

from numaplace.model.policy import Budget, FollowMode, Policy
from numaplace.model.residency import PageKind
from tests.simulation.truth import MIB

_KINDS = (frozenset(PageKind), frozenset({PageKind.ANON}), frozenset({PageKind.ANON, PageKind.SHARED}))
_MODES = (*8 * (FollowMode.AT_ONCE,), FollowMode.LATER, FollowMode.NEVER, FollowMode.OBSERVE)


def random_policy(rng: Random) -> Policy:
    """A policy as a person might write it, for tasks that are small and lives that are short."""
    return Policy(
        mode=rng.choice(_MODES),
        kinds=rng.choice(_KINDS),
        budget=Budget(headroom_bytes=rng.choice((0, 0, 64 * MIB))),
        settle_s=rng.choice((0.0, 0.02, 0.02, 0.5)),
        later_s=rng.choice((1.0, 8.0)),
        min_remote_bytes=rng.choice((0, 4 * MIB, 16 * MIB)),
        min_age_s=rng.choice((0.0, 0.0, 3.0)),
        keep_interleave=rng.random() < 0.5,
    )
