"""The group `hand`: its cases and bounds, and that what fails is a miss and never left out."""

import shutil
from pathlib import Path
from typing import Self

import pytest

from tests.bench.follow.directed import BenchError
from tests.bench.groups import Settings
from tests.bench.hand import bare
from tests.bench.hand.arena import Arena
from tests.bench.hand.cases import ALONE, HOME, KERNELS, MMAP, OURS, TOUCH, Case, Kind, chosen, effort
from tests.bench.hand.group import HandGroup, measured
from tests.bench.kept import Kept
from tests.lab.guest import EmulationOopsError


class NoGuest(Arena):
    """An arena in which nothing is."""

    def __enter__(self) -> Self:
        return self


def test_all_kinds_are_measured_on_each_kernel_or_natively() -> None:
    """And a part of them by a part of a name."""
    names = [case.name for case in chosen(Settings())]
    assert len(names) == len(set(names))
    assert {case.kind for case in chosen(Settings())} == set(Kind)
    for kernel in KERNELS:
        assert f"{kernel} move THP" in names
    assert [case.name for case in chosen(Settings(kernels=("6.1",), cases=("thp",)))] == ["6.1 move THP"]


def test_a_move_by_hand_is_held_to_the_bounds_of_the_loop() -> None:
    """Time and stalls against migratepages, as memory that follows by itself."""
    bounds = {figure.name: [bound.words for bound in figure.bounds] for figure in Case(Kind.MOVE, "6.1").figures}
    assert bounds == {
        HOME: ["≤ 2.5 times migratepages"],
        ALONE: ["≤ 2.5 times migratepages"],
        MMAP: ["≤ 0.05 times migratepages"],
        TOUCH: ["≤ 1 times migratepages"],
    }
    assert Case(Kind.MOVE_THP, "6.12").figures[0].bounds[0].words == "≤ 0.8 times migratepages"


@pytest.mark.parametrize("case", chosen(Settings()), ids=lambda case: case.name)
def test_a_case_that_failed_is_a_miss_in_each_of_its_figures(case: Case) -> None:
    """Its lines are there all the same."""
    records = case.records({})
    assert [record.figure for record in records] == [figure.name for figure in case.figures]
    assert not any(record.held for record in records)


def test_values_stand_beside_their_rivals() -> None:
    """Ours on the left, judged against the rival of the same figure."""
    (record,) = Case(Kind.CALL, "6.12").records({"seconds of the call": {OURS: 2.1, "bare call from C": 2.0}})
    assert (record.ours, dict(record.rivals), record.held) == (2.1, {"bare call from C": 2.0}, True)


def test_an_oops_is_no_verdict_and_a_failure_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulation's faults are tried again in a new guest, so often and no more; ours are not."""
    calls: list[str] = []
    arenas_seen: list[object] = []

    def scene(arena: object, case: Case, how: object) -> dict[str, dict[str, float]]:
        del how
        arenas_seen.append(arena)
        calls.append(case.kernel)
        if case.kernel == "6.1":
            raise BenchError("it is so")
        raise EmulationOopsError("an oops")

    monkeypatch.setattr("tests.bench.hand.group.scenes.SCENES", {Kind.CALL: scene})
    arenas: Kept[Arena] = Kept(NoGuest)
    with arenas:
        for kernel, tries in (("6.1", 1), ("6.12", 3)):
            calls.clear()
            assert measured(arenas, Case(Kind.CALL, kernel), effort(Settings(quick=True))) == {}
            assert calls == [kernel] * tries
    assert len({id(arena) for arena in arenas_seen}) == 4  # each try had its own


def test_without_a_compiler_there_is_no_bare_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call by another way would be another rival."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(BenchError, match="no C compiler"):
        bare.library(tmp_path)


def test_each_step_is_a_case() -> None:
    """As the progress bar counts them."""
    assert HandGroup().steps(Settings()) == len(HandGroup().cases(Settings()))
