"""Bars say what the numbers say: as long as the share, never nothing for something, in any terminal."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from numaplace.cli import bars
from numaplace.model.ids import NodeId, Nodes
from numaplace.model.move import REMEDY, LeftReason, MoveOutcome, MoveProgress
from numaplace.model.policy import MIB
from numaplace.model.residency import Residency
from tests import strategies
from tests.fakes import samples


def drawn(what: RenderableType, width: int = 200) -> str:
    """As a terminal without colours shows it."""
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(what)
    return out.getvalue()


@given(st.floats(-1, 2), st.integers(1, 80), st.booleans())
def test_a_bar_has_its_length_and_grows_with_its_part(part: float, cells: int, ascii_only: bool) -> None:  # noqa: FBT001 - drawn
    """Exactly so many cells; more is never drawn shorter."""
    bar = bars.fill(part, cells, ascii_only=ascii_only)
    assert len(bar) == cells
    more = bars.fill(part + 0.1, cells, ascii_only=ascii_only)
    order = " -▏▎▍▌▋▊▉█#"
    assert [order.index(c) for c in more] >= [order.index(c) for c in bar]
    assert not ascii_only or set(bar) <= set("#-")


@given(st.floats(1e-9, 1 - 1e-9), st.integers(2, 80), st.booleans())
def test_something_is_neither_nothing_nor_all(part: float, cells: int, ascii_only: bool) -> None:  # noqa: FBT001 - drawn
    """A last remote page can be seen."""
    bar = bars.fill(part, cells, ascii_only=ascii_only)
    assert bar != bars.fill(0, cells, ascii_only=ascii_only)
    assert bar != bars.fill(1, cells, ascii_only=ascii_only)


@given(strategies.residencies, strategies.node_sets)
def test_every_node_with_pages_and_every_home_has_its_line(residency: Residency, home: Nodes) -> None:
    """Nothing is left out, and remote is what is not home."""
    lines = drawn(bars.node_bars(residency, home)).splitlines()
    assert [int(line.split()[1]) for line in lines] == sorted({*residency.by_node, *home})
    remote = {int(line.split()[1]) for line in lines if line.rstrip().endswith("remote")}
    assert remote == set(residency.by_node) - home


def test_the_picture_of_a_task() -> None:
    """Bars, bytes, shares."""
    shown = drawn(bars.node_bars(samples.PAGES, samples.nodes(1), nodes=[NodeId(2)], cells=10, ascii_only=True))
    assert [line.split() for line in shown.splitlines()] == [
        ["node", "0", "###-------", "112.0", "MiB", "27", "%", "remote"],
        ["node", "1", "#######---", "300.0", "MiB", "73", "%", "home"],
        ["node", "2", "----------", "0", "B", "0", "%"],
    ]


def test_pages_by_size_and_kind() -> None:
    """Each cell once; no line for what there is not."""
    lines = drawn(bars.page_table(samples.PAGES, samples.nodes(1))).splitlines()
    assert [line.split() for line in lines] == [
        ["PAGES", "NODE", "0", "NODE", "1", "(home)"],
        ["anon,", "base", "100.0", "MiB", "-"],
        ["file,", "base", "12.0", "MiB", "-"],
        ["anon,", "thp", "-", "300.0", "MiB"],
    ]


@pytest.mark.parametrize("reason", LeftReason)
def test_what_stays_has_its_remedy_beside_it(reason: LeftReason) -> None:
    """In full, in a wide enough terminal."""
    assert REMEDY[reason] in drawn(bars.left_table({reason: MIB}), 400)


def test_a_move_as_it_goes_and_as_it_ended() -> None:
    """The same picture serves the demo: bars, progress, what is left and why."""
    running = drawn(bars.follow_view("train", samples.PAGES, samples.nodes(1), progress=samples.PROGRESS))
    assert "300.0 MiB of 400.0 MiB at 250.0 MiB/s" in running
    assert "4.0 MiB  pinned" in running
    ended = drawn(bars.follow_view("etl", samples.PAGES, samples.nodes(), outcome=samples.OUTCOME))
    assert "partial: 92.0 MiB moved in 1.5 s, longest stall 21.5 ms" in ended
    assert "home nowhere" in ended
    assert bars.left_line({}) == "-"


@given(strategies.residencies, strategies.node_sets, st.none() | strategies.progresses, st.none() | strategies.outcomes)
def test_any_task_can_be_drawn(
    residency: Residency, home: Nodes, progress: MoveProgress | None, outcome: MoveOutcome | None
) -> None:
    """In a narrow terminal too."""
    assert drawn(bars.follow_view("a [b] c", residency, home, progress=progress, outcome=outcome), 40)
