"""JSON is exact, has the model's names, and can be read by any reader."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace.cli import as_json
from tests import strategies
from tests.fakes import samples


@given(
    st.one_of(
        strategies.hosts, strategies.jobs, strategies.moves, strategies.explanations, strategies.shown,
        strategies.statuses, strategies.named_policies,
    )
)  # fmt: skip
def test_every_view_is_strict_json(view: object) -> None:
    """No NaN, no Python: what any reader takes; one line is one value."""
    line = as_json.line(view)
    assert "\n" not in line
    assert json.loads(line, parse_constant=pytest.fail) == json.loads(as_json.text(view))


def test_a_job_has_exact_bytes_and_what_people_ask_for() -> None:
    """Sums are there, so that nobody has to make them."""
    job = json.loads(as_json.text(samples.cluster().jobs[samples.RUNNING.job]))
    assert job["remote_bytes"] == 112 << 20
    assert job["locality"] == pytest.approx(300 / 412)
    task = job["tasks"][0]["task"]
    assert task["home"] == {"nodes": [1], "version": 5}
    assert task["cpus"] == [2, 3]
    assert task["residency"][0] == {"node": 0, "size": "base", "kind": "anon", "bytes": 100 << 20}
    assert job["policy"]["mode"] == "at-once"
    assert job["tasks"][0]["last_changed"] == "2026-01-02T12:00:00+00:00"


def test_sets_are_in_order() -> None:
    """Numbers by value, words by alphabet."""
    assert as_json.to_json(frozenset({10, 9, 1})) == [1, 9, 10]
    assert as_json.to_json(frozenset({"b", "a"})) == ["a", "b"]
    assert as_json.to_json({"x": float("inf")}) == {"x": None}


def test_what_has_no_json_is_a_bug() -> None:
    """Not a string by accident."""
    with pytest.raises(TypeError):
        as_json.to_json(object())
