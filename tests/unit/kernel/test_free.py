"""What a node has free: both files whole, cut, with trailing text, and blocks of an order."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace.kernel import free
from numaplace.kernel.errors import KernelFormatError, Unsupported
from numaplace.model.ids import NodeId

ORDERS = 11
counts = st.lists(st.integers(0, 1 << 30), min_size=ORDERS, max_size=ORDERS)
zones = st.lists(st.tuples(st.integers(0, 7), st.sampled_from(("DMA", "DMA32", "Normal", "Movable")), counts))


def line(node: int, zone: str, blocks: list[int]) -> str:
    """A zone as frag_show of mm/vmstat.c prints it."""
    return f"Node {node}, zone {zone:>8} {''.join(f'{count:6} ' for count in blocks)}\n"


@given(zones.filter(bool))
def test_blocks_of_a_node_are_those_of_all_its_zones(lines: list[tuple[int, str, list[int]]]) -> None:
    """Order by order, whatever the zones are called."""
    found = free.parse_free_blocks("".join(line(*each) for each in lines))
    assert set(found) == {node for node, *_ in lines}
    for node, blocks in found.items():
        mine = [each for of, _, each in lines if of == node]
        assert blocks == tuple(sum(column) for column in zip(*mine, strict=True))


@given(blocks=counts, order=st.integers(0, ORDERS - 1))
def test_whole_blocks_are_all_that_fit_into_what_is_free_at_that_order_and_above(blocks: list[int], order: int) -> None:
    """Larger blocks are cut up, smaller ones are not joined."""
    whole = free.whole_blocks(tuple(blocks), order)
    assert whole << order == sum(count << at for at, count in enumerate(blocks) if at >= order)
    assert free.whole_blocks(tuple(blocks), ORDERS) == 0


TWO = line(0, "Normal", [1] * ORDERS) + line(1, "Normal", [2] * ORDERS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        TWO + "\n",
        TWO + "Node 2, zone   Normal\n",
        TWO + "Node 2, zone   Normal      1  -1\n",
        TWO + "Node x, zone   Normal      1\n",
        line(0, "DMA", [1] * 10) + line(0, "Normal", [1] * 11),
        TWO.replace("Node 1", "node 1"),
    ],
)
def test_blocks_in_another_form_are_refused(text: str) -> None:
    """Nothing, a blank line, no counts, a sign, a name for a number, zones of other lengths."""
    with pytest.raises(KernelFormatError):
        free.parse_free_blocks(text)


@given(end=st.integers(0, len(TWO) - 1))
def test_no_cut_of_the_blocks_passes_for_the_whole(end: int) -> None:
    """A cut is refused, or is whole lines of it."""
    try:
        found = free.parse_free_blocks(TWO[:end])
    except KernelFormatError:
        return
    assert found == {NodeId(0): (1,) * ORDERS}


def test_free_pages_are_read_by_name() -> None:
    """Wherever the line is, and nothing that only begins like it."""
    assert free.parse_free_pages("nr_free_pages_blocks 9\nnr_free_pages 123\nnr_zone_inactive_anon 4\n") == 123


@pytest.mark.parametrize("text", ["", "nr_free_pages\n", "nr_free_pages many\n", "nr_free 3\n", "nr_free_pages 1 2\n"])
def test_free_pages_in_another_form_are_refused(text: str) -> None:
    """Without the line, without a number, with two."""
    with pytest.raises(KernelFormatError):
        free.parse_free_pages(text)


def test_a_node_that_is_not_there_is_said(tmp_path: Path) -> None:
    """It went offline between two reads."""
    with pytest.raises(Unsupported):
        free.read_free_pages(NodeId(7), tmp_path)


def test_this_host_has_something_free() -> None:
    """Both files of this kernel are understood, and every node of the one has blocks in the other."""
    for node, blocks in free.read_free_blocks().items():
        assert free.whole_blocks(blocks, 0) >= 0
        assert free.read_free_pages(node) >= 0
