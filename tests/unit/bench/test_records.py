"""Records, their bounds and their JSON."""

import json

import pytest

from tests.bench.records import AtMost, AtMostAbove, AtMostTimes, Bound, Record, RivalNever, as_json


def record(ours: float | None, rivals: dict[str, float | None], *bounds: Bound) -> Record:
    """A record of which only the judgement matters."""
    return Record("follow", "figure", "case", "s", ours, rivals, bounds)


@pytest.mark.parametrize(
    ("bound", "ours", "rivals", "held"),
    [
        (AtMost(100), 100.0, {}, True),
        (AtMost(100), 100.1, {}, False),
        (AtMostTimes(0.5, "a"), 1.0, {"a": 2.0}, True),
        (AtMostTimes(0.5, "a"), 1.01, {"a": 2.0}, False),
        (AtMostTimes(0.5, "a", waited=60.0), 30.0, {"a": None}, True),
        (AtMostTimes(0.5, "a", waited=60.0), 31.0, {"a": None}, False),
        (AtMostAbove(5, "a"), 6.0, {"a": 1.0}, True),
        (AtMostAbove(5, "a"), 6.1, {"a": 1.0}, False),
        (RivalNever("a"), 10.0, {"a": None}, True),
        (RivalNever("a"), 10.0, {"a": 50.0}, False),
    ],
)
def test_bounds_judge_ours_against_the_same_runs_rivals(
    bound: Bound, ours: float, rivals: dict[str, float | None], *, held: bool
) -> None:
    """A bound includes its limit; a rival that never came took as long as it was given, and no longer is assumed."""
    assert record(ours, rivals, bound).held is held


@pytest.mark.parametrize("bound", [AtMostTimes(9, "a", waited=60.0), AtMostAbove(9, "a"), RivalNever("a")])
def test_a_rival_that_was_not_measured_proves_nothing(bound: Bound) -> None:
    """A measurement that failed is a miss, also the rival's."""
    assert not record(1.0, {}, bound).held


@pytest.mark.parametrize("bounds", [(), (AtMost(1),), (RivalNever("a"),)])
def test_without_a_value_of_ours_nothing_is_held(bounds: tuple[Bound, ...]) -> None:
    """Never home, or not measured: a miss both times, even of a figure without a bound."""
    assert not record(None, {"a": None}, *bounds).held


def test_all_bounds_must_hold_and_those_missed_are_named() -> None:
    """One missed bound is enough for a miss."""
    both = record(5.0, {"a": 8.0, "b": 6.0}, AtMostTimes(1.0, "a"), AtMostTimes(0.5, "b"))
    assert not both.held
    assert both.missed == (AtMostTimes(0.5, "b"),)
    assert both.bound == "≤ 1 times a, ≤ 0.5 times b"


def test_the_json_is_a_list_of_records_with_the_promised_keys() -> None:
    """Other programs read bench-results.json: its keys are fixed, never is null, values are rounded to four digits."""
    rows = json.loads(as_json([record(1.23456, {"a": None, "b": 1234567.0}, AtMost(2))]))
    assert rows == [
        {
            "group": "follow",
            "figure": "figure",
            "case": "case",
            "ours": 1.235,
            "rivals": {"a": None, "b": 1235000.0},
            "unit": "s",
            "bound": "≤ 2",
            "held": True,
        }
    ]
