"""What the scheduler and the agent answer comes back as it was sent; updates change what they name and no more."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace import wire
from numaplace.model.ids import HostId, JobId
from numaplace.model.policy import Budget, FollowMode, Policy
from numaplace.model.residency import PageKind
from numaplace.v1 import local_pb2, numaplace_pb2
from numaplace.wire import names
from tests import strategies

VIEWS: list[tuple[st.SearchStrategy[Any], Callable[[Any], Any], Callable[[Any], Any]]] = [
    (strategies.hosts, wire.host_to_proto, wire.host_from_proto),
    (strategies.decisions, wire.decision_to_proto, wire.decision_from_proto),
    (strategies.jobs, wire.job_to_proto, wire.job_from_proto),
    (strategies.moves, wire.move_to_proto, wire.move_from_proto),
    (strategies.explanations, wire.explanation_to_proto, wire.explanation_from_proto),
    (strategies.named_policies, wire.named_policy_to_proto, wire.named_policy_from_proto),
    (strategies.statuses, wire.status_to_proto, wire.status_from_proto),
    (strategies.shown, wire.shown_to_proto, wire.shown_from_proto),
    (strategies.local_events, wire.local_event_to_proto, wire.local_event_from_proto),
    (strategies.predictions, wire.prediction_to_proto, wire.prediction_from_proto),
]


@pytest.mark.parametrize(("values", "write", "read"), VIEWS, ids=[write.__name__ for _, write, _ in VIEWS])
@given(data=st.data())
def test_a_view_comes_back_from_bytes_as_it_was_sent(
    values: st.SearchStrategy[Any], write: Callable[[Any], Any], read: Callable[[Any], Any], data: st.DataObject
) -> None:
    """Every answer survives the wire."""
    value = data.draw(values)
    message = write(value)
    assert read(type(message).FromString(message.SerializeToString())) == value


@given(strategies.policies, strategies.policies, st.none() | strategies.job_ids)
def test_an_update_without_a_mask_replaces_the_whole(present: Policy, wanted: Policy, job: JobId | None) -> None:
    """No path named, every field meant."""
    assert wire.updated_policy(present, wire.policy_update_to_proto(job, wanted, ())) == wanted


@given(strategies.policies, strategies.policies)
def test_an_update_changes_what_it_names_and_no_more(present: Policy, wanted: Policy) -> None:
    """A list is replaced, a nested field is set alone."""
    request = wire.policy_update_to_proto(None, wanted, ["mode", "kinds", "budget.stall_ms_max"])
    budget = replace(present.budget, stall_ms_max=wanted.budget.stall_ms_max)
    assert wire.updated_policy(present, request) == replace(
        present, mode=wanted.mode, kinds=wanted.kinds, budget=budget
    )


def test_an_update_can_take_a_limit_away() -> None:
    """A zero that is named is a zero that is meant."""
    limited = Policy(budget=Budget(pace_bytes_per_s=5), kinds=frozenset({PageKind.ANON}))
    request = wire.policy_update_to_proto(None, Policy(), ["budget.pace_bytes_per_s"])
    assert wire.updated_policy(limited, request) == replace(limited, budget=Budget())


@pytest.mark.parametrize("path", ["colour", "budget.colour", "mode.x", ""])
def test_an_update_of_an_unknown_field_is_refused(path: str) -> None:
    """With the list of those there are."""
    request = wire.policy_update_to_proto(None, Policy(mode=FollowMode.NEVER), [path])
    with pytest.raises(wire.WireError, match="keep_interleave"):
        wire.updated_policy(Policy(), request)


def test_an_update_without_a_policy_is_refused() -> None:
    """Nor does it set zeros."""
    with pytest.raises(wire.WireError):
        wire.updated_policy(Policy(), numaplace_pb2.UpdatePolicyRequest())


@given(strategies.job_ids)
def test_names_are_a_prefix_and_an_id(job: JobId) -> None:
    """Ids with slashes included."""
    assert names.job_id(f"jobs/{job}/x", "name") == f"{job}/x"
    assert names.parent(f"jobs/{job}", "parent") == job
    assert names.parent("hosts/a", "parent") == HostId("a")
    assert names.parent("", "parent") is None


@pytest.mark.parametrize("name", ["", "jobs/", "job/a", "a", "hosts/a", "jobs/a\n"])
def test_other_names_are_refused(name: str) -> None:
    """A host is never taken for a job."""
    with pytest.raises(wire.WireError) as caught:
        names.job_id(name, "name")
    assert caught.value.field == "name"


def test_times_outside_the_calendar_are_refused() -> None:
    """A hostile timestamp is an error like any other."""
    message = numaplace_pb2.Decision(action="MOVE", reason="x", not_before_time={"seconds": 1 << 60})
    with pytest.raises(wire.WireError, match="calendar"):
        wire.decision_from_proto(message)
    assert names.timestamp(None) is None
    assert names.time_of(names.timestamp(datetime(2026, 1, 1, tzinfo=UTC)), "t").year == 2026  # type: ignore[arg-type]  # a time was given


def test_an_event_of_no_kind_is_refused() -> None:
    """An agent that is newer than its client."""
    with pytest.raises(wire.WireError):
        wire.local_event_from_proto(local_pb2.LocalMoveEvent())


@given(st.integers(0, 16), strategies.texts, strategies.names)
def test_the_reason_of_an_error_comes_back(code: int, words: str, reason: str) -> None:
    """What the service says is what the client reads."""
    assert wire.error_reason(wire.error_details(code, words, reason)) == reason


@given(st.binary(max_size=60))
def test_foreign_details_have_no_reason(data: bytes) -> None:
    """And do no harm."""
    assert isinstance(wire.error_reason(data), str)
