"""What the group ``follow`` runs, and how runs become records."""

from collections.abc import Sequence

import pytest

from tests.bench.follow import native
from tests.bench.follow.cases import CASES, KERNELS, Case, Mover, Pages, chosen, effort, home_bounds, order_of_runs
from tests.bench.follow.figures import FIRST_PAGE, HOME, MMAP, TOUCH, Run, records_of, typical
from tests.bench.groups import Settings
from tests.bench.records import Record
from tests.bench.registry import all_groups

HOT = CASES[0]


def run(mover: Mover, home_s: float | None, *, first_page_s: float | None = 0.05, stall_ms: float = 10.0) -> Run:
    """A run whose stalls are alike."""
    return Run(mover, home_s, first_page_s, stall_ms, stall_ms)


def of(figure: str, records: Sequence[Record]) -> Record:
    """The record of one figure."""
    return next(record for record in records if record.figure == figure)


GOOD = (
    *(run(Mover.OURS, home_s) for home_s in (1.0, 2.0, 9.0)),
    *(run(Mover.MIGRATEPAGES, home_s) for home_s in (3.0, 4.0, 1.0)),
    run(Mover.AUTONUMA, 8.0),
    run(Mover.NUMAD, None),
    run(Mover.NOTHING, None),
)


def test_the_median_of_repetitions_counts_and_never_is_the_longest_time() -> None:
    """One run that never came home does not make the figure never; most of them do."""
    assert typical([3.0, 1.0, None]) == 3.0
    assert typical([1.0, None, None]) is None


def test_a_case_gives_its_figures_with_each_rival_beside_ours() -> None:
    """Ours and every rival that was run, as medians."""
    home = of(HOME.name, list(records_of("6.12", HOT, GOOD)))
    assert home.ours == 2.0
    assert home.rivals == {"migratepages": 3.0, "AutoNUMA": 8.0, "numad": None, "nothing": None}
    assert home.held


@pytest.mark.parametrize("missing", [Mover.OURS, Mover.MIGRATEPAGES, Mover.AUTONUMA, Mover.NUMAD])
def test_runs_that_failed_make_a_miss_and_never_a_gap(missing: Mover) -> None:
    """Every figure of a case has its record, whatever could not be measured."""
    records = list(records_of("6.12", HOT, [each for each in GOOD if each.mover is not missing]))
    assert [record.figure for record in records] == [FIRST_PAGE.name, HOME.name, MMAP.name, TOUCH.name]
    assert not of(HOME.name, records).held


def test_the_first_page_is_told_in_ms_of_our_runs_only() -> None:
    """The bound is absolute: no rival is judged by it."""
    first = of(FIRST_PAGE.name, list(records_of("6.1", HOT, GOOD)))
    assert (first.ours, first.rivals, first.held) == (50.0, {}, True)
    late = [run(Mover.OURS, 1.0, first_page_s=0.2), run(Mover.MIGRATEPAGES, 3.0)]
    assert not of(FIRST_PAGE.name, list(records_of("6.1", HOT, late))).held


@pytest.mark.parametrize(("kernel", "held"), [("6.12", True), ("6.1", False)])
def test_mmap_may_stall_as_long_as_with_migratepages_but_on_old_kernels_a_twentieth(kernel: str, *, held: bool) -> None:
    """Where migratepages holds its lock for the whole move, equal would be bad."""
    assert of(MMAP.name, list(records_of(kernel, HOT, GOOD))).held is held
    assert of(TOUCH.name, list(records_of(kernel, HOT, GOOD))).held


@pytest.mark.parametrize(
    ("kernel", "name", "words"),
    [
        ("6.12", "hot 4 KB", "≤ 0.7 times migratepages"),
        ("6.12", "hot THP", "≤ 0.8 times migratepages"),
        ("6.1", "hot THP", "≤ 0.8 times migratepages"),
        ("6.1", "hot 4 KB", "≤ 2.5 times migratepages"),
        ("6.1", "hot 4 KB, stall allowed", "≤ 1.25 times migratepages"),
    ],
)
def test_each_kernel_and_page_size_has_its_bound(kernel: str, name: str, words: str) -> None:
    """The bounds of the issue, word by word."""
    case = next(case for case in CASES if case.name == name)
    assert home_bounds(kernel, case)[0].words == words


def test_ours_and_migratepages_take_turns() -> None:
    """Whatever slows the machine for a while meets both."""
    order = order_of_runs(HOT, 2)
    assert order[:4] == (Mover.OURS, Mover.MIGRATEPAGES) * 2
    assert set(order[4:]) == {Mover.AUTONUMA, Mover.NUMAD, Mover.NOTHING}


def test_every_rival_that_a_bound_names_is_run() -> None:
    """A bound without its rival could never hold."""
    for kernel in KERNELS:
        for case in CASES:
            run_names = {mover.value for mover in order_of_runs(case, 1)}
            named = {getattr(bound, "rival", None) for bound in home_bounds(kernel, case)} - {None}
            assert named <= run_names, case.name


def test_filters_choose_kernels_and_cases() -> None:
    """A case is named by any part of its name, in any case of letters."""
    wanted = chosen(Settings(kernels=("6.1",), cases=("thp",)))
    assert [(kernel, case.pages) for kernel, case in wanted] == [("6.1", Pages.THP)]
    assert {kernel for kernel, case in chosen(Settings()) if case.stall_ms_max is not None} == {"6.1"}


def test_quick_is_small_and_repeat_is_obeyed() -> None:
    """A quick run looks whether all works; the number of repetitions is the caller's if given."""
    assert effort(Settings(quick=True)).size_mb < effort(Settings()).size_mb
    assert effort(Settings(quick=True)).repeat == 1
    assert effort(Settings(repeat=7)).repeat == 7


def test_the_group_counts_every_step_that_it_takes() -> None:
    """The progress bar ends at its end: a step for each run and each native case."""
    group = all_groups()["follow"]
    runs = sum(len(order_of_runs(case, 1)) for _, case in chosen(Settings(quick=True)))
    assert group.steps(Settings(quick=True)) == runs + len(native.CASES)
    assert len(group.cases(Settings())) == len(chosen(Settings())) + len(native.CASES)


def test_a_native_case_that_fails_leaves_its_figures_as_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on this host a measurement that failed is a miss, never an omission."""

    def fails(quick: bool) -> list[Record]:  # noqa: FBT001 - the shape of every measurement
        raise OSError(quick)

    case = native.NativeCase(fails, ("a", "b"))  # type: ignore[arg-type]  # never returns
    monkeypatch.setattr(native, "CASES", {"native: x": case})
    found = list(native.measured("native: x", quick=True))
    assert [(record.figure, record.ours, record.held) for record in found] == [("a", None, False), ("b", None, False)]


def test_jobs_are_started_as_their_case_says() -> None:
    """Size, pages and the case's own arguments."""
    assert Case("x", Pages.THP, ("--cold",)).job(64) == ["tests.jobs.hot", "64", "thp", "--cold"]
