"""Frames to nodes, and what the kernel's files of numbers per frame say: fast, and the same as the slow way."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node_agent.core.pages import UNKNOWN_NODE
from node_agent.linux import frames as frames_module
from node_agent.linux.frames import KPF_COMPOUND_HEAD, KPF_COMPOUND_TAIL, FrameFile, NodeTable, map_counts_of, tails_of
from numaplace.kernel.errors import NoSuchFile
from numaplace.kernel.frames import FrameRange
from numaplace.model.ids import NodeId

in_tmp = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def ranges(draw: st.DrawFn) -> list[FrameRange]:
    """Disjoint, ascending, with gaps, at boundaries of some power of two."""
    grain = 1 << draw(st.sampled_from((0, 3, 10)))
    bounds = sorted(draw(st.sets(st.integers(0, 60), max_size=8)))
    pairs = zip(bounds[::2], bounds[1::2], strict=False)
    return [FrameRange(a * grain, b * grain, NodeId(draw(st.integers(0, 3)))) for a, b in pairs]


@pytest.mark.parametrize("table_max", [1 << 22, 0])
@given(found=ranges(), asked=st.lists(st.integers(0, 1 << 17)), data=st.data())
def test_each_frame_is_on_the_node_of_its_range(
    table_max: int, found: list[FrameRange], asked: list[int], data: st.DataObject
) -> None:
    """By the table and, for memory too large or too ragged for one, by search; elsewhere nobody knows."""
    edges = [max(0, bound + near) for r in found for bound in (r.start, r.end) for near in (-1, 0, 1)]
    asked = data.draw(st.permutations([*asked, *edges]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames_module, "_TABLE_ENTRIES_MAX", table_max)
        nodes = NodeTable(found).nodes_of(np.array(asked, np.uint64))
    expected = [next((r.node for r in found if r.start <= frame < r.end), UNKNOWN_NODE) for frame in asked]
    assert nodes.tolist() == expected
    assert nodes.dtype == np.int32


def frame_file(root: Path, values: np.ndarray) -> FrameFile:
    """A file with these numbers, on a host of files."""
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/kpagecount").write_bytes(values.astype(np.uint64).tobytes())
    return FrameFile("kpagecount", root)


@in_tmp
@given(size=st.integers(0, 3000), asked=st.lists(st.integers(0, 4000)))
def test_each_frame_has_its_own_number_in_whatever_order_it_is_asked(
    size: int, asked: list[int], tmp_path: Path
) -> None:
    """Near ones are read in one go, far ones apart; beyond the end of memory there is nothing."""
    file = frame_file(tmp_path, np.arange(1, size + 1))
    try:
        counts = map_counts_of(np.array(asked, np.uint64), file)
    finally:
        file.close()
    assert counts.tolist() == [frame + 1 if frame < size else 0 for frame in asked]


@in_tmp
@given(orders=st.lists(st.sampled_from((0, 0, 2, 3, 5)), max_size=30), taken=st.data())
def test_tails_of_larger_pages_are_found(orders: list[int], taken: st.DataObject, tmp_path: Path) -> None:
    """All but the first of each larger page, whose frames begin at a multiple of its size; of small ones none."""
    flags: list[int] = []
    asked: list[int] = []
    for order in orders:
        flags += [0] * (-len(flags) % (1 << order))
        if taken.draw(st.booleans()):
            asked += range(len(flags), len(flags) + (1 << order))
        flags += [int(KPF_COMPOUND_HEAD if order else 0), *[int(KPF_COMPOUND_TAIL)] * ((1 << order) - 1)]
    file = frame_file(tmp_path, np.array(flags))
    try:
        tails = tails_of(np.array(asked, np.uint64), file)
    finally:
        file.close()
    assert tails.tolist() == [flags[frame] == KPF_COMPOUND_TAIL for frame in asked]


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    """A kernel without kpagecount is an expected one."""
    with pytest.raises(NoSuchFile):
        FrameFile("kpagecount", tmp_path)
