"""Small values of the vocabulary: sums add up, bounds hold, every reason has its remedy."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from numaplace.model.ids import JobId, MoveId, NodeId, Nodes, TaskId
from numaplace.model.job import MemoryPolicy
from numaplace.model.move import REMEDY, LeftReason, MoveOutcome, MoveState
from numaplace.model.policy import Budget, FollowMode, Policy
from numaplace.model.residency import PageKind, Residency
from numaplace.model.session import PolicySet
from tests import strategies


@given(strategies.residencies, strategies.node_sets)
def test_the_bytes_of_a_whole_are_those_of_its_parts(whole: Residency, home: Nodes) -> None:
    """However a residency is summed, no byte appears or is lost."""
    assert whole.resident_bytes == sum(whole.cells.values()) == sum(whole.by_node.values())
    assert whole.remote_bytes(home) == sum(whole.remote_bytes(home, frozenset({kind})) for kind in PageKind)
    assert whole.remote_bytes(home) == sum(size for node, size in whole.by_node.items() if node not in home)


@given(strategies.residencies, strategies.node_sets)
def test_locality_is_a_share(residency: Residency, home: Nodes) -> None:
    """One when all is at home or there is nothing, zero when nothing is at home."""
    assert 0 <= residency.locality(home) <= 1
    assert (residency.locality(home) == 1) >= (residency.remote_bytes(home) == 0)
    assert residency.locality(frozenset(residency.by_node)) == 1
    assert not residency.resident_bytes or residency.locality(frozenset()) == 0


def test_a_residency_of_nodes_leaves_empty_ones_out() -> None:
    """Equal residencies are equal values."""
    assert Residency.of_nodes({NodeId(0): 5, NodeId(1): 0}) == Residency.of_nodes({NodeId(0): 5})
    assert Residency.of_nodes({NodeId(3): 5}).by_node == {3: 5}


@pytest.mark.parametrize(
    "bad",
    [{"kinds": frozenset()}, {"min_locality_gain": 1.01}, {"min_locality_gain": -0.1}, {"settle_s": -1.0},
     {"later_s": -0.1}, {"min_age_s": -1.0}, {"min_remote_bytes": -1}, {"settle_s": float("nan")},
     {"later_s": float("inf")}, {"min_age_s": float("nan")}, {"min_locality_gain": float("nan")}],
)  # fmt: skip
def test_a_policy_refuses_what_makes_no_sense(bad: dict[str, Any]) -> None:
    """A wrong policy is found where it is made, not where it is followed."""
    with pytest.raises(ValueError, match=next(iter(bad))):
        Policy(**bad)


@pytest.mark.parametrize(
    "bad",
    [{"pace_bytes_per_s": 0}, {"pace_bytes_per_s": -1}, {"stall_ms_max": 0.0}, {"stall_ms_max": 600_001.0},
     {"stall_ms_max": float("nan")}, {"headroom_bytes": -1}],
)  # fmt: skip
def test_a_budget_refuses_what_makes_no_sense(bad: dict[str, Any]) -> None:
    """A budget of nothing would be a move that never ends."""
    with pytest.raises(ValueError, match=next(iter(bad))):
        Budget(**bad)


def test_a_job_without_a_policy_of_its_own_has_the_default() -> None:
    """And one with its own has only that."""
    own = Policy(mode=FollowMode.NEVER)
    policies = PolicySet(Policy(), {JobId("a"): own})
    assert policies.of(JobId("a")) == own
    assert policies.of(JobId("b")) == Policy()


def test_every_reason_has_a_remedy() -> None:
    """What stayed is explained in words that end in a full stop."""
    assert set(REMEDY) == set(LeftReason)
    assert all(words.endswith(".") for words in REMEDY.values())


@given(strategies.outcomes)
def test_what_is_left_is_the_sum_over_reasons(outcome: MoveOutcome) -> None:
    """By reason and in all are the same bytes."""
    assert outcome.left_bytes == sum(outcome.left.values())
    assert replace(outcome, left={}).left_bytes == 0


@pytest.mark.parametrize("state", MoveState)
def test_an_outcome_is_an_end(state: MoveState) -> None:
    """Four states are on the way; an outcome cannot have them."""
    on_the_way = state in {MoveState.ON_ITS_WAY, MoveState.ACCEPTED, MoveState.RUNNING, MoveState.CANCELLING}
    assert state.final is not on_the_way
    if on_the_way:
        with pytest.raises(ValueError, match="final"):
            MoveOutcome(MoveId("m"), TaskId("t"), state, "")


def test_only_interleaving_is_a_spread_on_purpose() -> None:
    """Bound and preferred memory may follow."""
    spread = {policy for policy in MemoryPolicy if policy.spread_on_purpose}
    assert spread == {MemoryPolicy.INTERLEAVE, MemoryPolicy.WEIGHTED_INTERLEAVE}
