"""The table on the terminal."""

import io

from rich.console import Console

from tests.bench.records import AtMost, AtMostTimes, Record
from tests.bench.table import table


def shown(*records: Record) -> str:
    """The table with its colours as escape sequences."""
    told = io.StringIO()
    Console(file=told, width=160, force_terminal=True, color_system="standard").print(table(records))
    return told.getvalue()


def line(text: str, part: str) -> str:
    """The line that has this in it."""
    return next(each for each in text.splitlines() if part in each)


def test_a_missed_figure_is_red_and_says_so() -> None:
    """Red is code 31; a held figure has none of it."""
    text = shown(
        Record("g", "figure", "good", "ms", 1.0, bounds=(AtMost(2),)),
        Record("g", "figure", "bad", "ms", 3.0, bounds=(AtMost(2),)),
    )
    assert "31m" not in line(text, "good")
    assert "31m" in line(text, "bad")
    assert "MISSED" in line(text, "bad")


def test_never_is_a_word_and_the_ratio_is_told() -> None:
    """A reader sees how far from its bound a figure is, and which rival never came."""
    text = shown(
        Record("g", "figure", "case", "s", 2.0, {"a": 8.0, "b": None}, (AtMostTimes(0.5, "a"),)),
        Record("g", "figure", "failed", "s", None, {"a": 8.0}, (AtMostTimes(0.5, "a"),)),
    )
    assert "2 s" in line(text, "0.25")
    assert "b never" in text
    assert "never" in line(text, "failed")
    assert "MISSED" in line(text, "failed")


def test_a_figure_is_named_once() -> None:
    """Cases of one figure stand together under its name."""
    text = shown(*(Record("g", "the figure", case, "s", 1.0) for case in ("one", "two")))
    assert text.count("the figure") == 1
