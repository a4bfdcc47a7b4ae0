"""Buffers by their addresses: any object with one, whole pages only, and clear words for what cannot be placed."""

import mmap
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace import mempolicy
from numaplace.kernel.pagemap import PAGE_BYTES
from numaplace.mempolicy.ranges import Placeable, Range, pinned


@pytest.mark.parametrize(
    ("target", "length_bytes"),
    [
        (bytearray(10_000), 10_000),
        (b"x" * 9_000, 9_000),
        (memoryview(bytearray(5_000)), 5_000),
        (array("d", [0.0]) * 700, 5_600),
        (mmap.mmap(-1, 8_192), 8_192),
        (np.zeros((30, 40)), 9_600),
        (np.zeros((30, 40), order="F"), 9_600),
        (Range(4_096, 77), 77),
    ],
)
def test_any_object_with_a_buffer_has_a_range(target: Placeable, length_bytes: int) -> None:
    """Read-only ones and those in Fortran order too."""
    with pinned(target) as found:
        assert found.length_bytes == length_bytes
        assert found.start > 0


def test_the_range_is_where_the_object_lies() -> None:
    """NumPy knows the address of its own data."""
    there = np.arange(5_000)
    with pinned(there) as found:
        assert found.start == there.ctypes.data


def test_an_object_cannot_be_resized_while_it_is_placed() -> None:
    """Its memory would be somebody else's by then; afterwards it can."""
    buffer = bytearray(10)
    with pinned(buffer), pytest.raises(BufferError):
        buffer.extend(b"more")
    buffer.extend(b"more")


def test_what_cannot_be_placed_is_refused_with_the_reason() -> None:
    """No buffer, items apart from each other, no whole page."""
    with pytest.raises(TypeError, match="bytes-like"), pinned(5):  # type: ignore[arg-type]  # it is what is refused
        pass
    with pytest.raises(ValueError, match="side by side"), pinned(np.zeros((9, 9))[:, ::2]):
        pass
    with pytest.raises(ValueError, match=r"fill no page.*alloc_onnode"):
        mempolicy.mbind(bytearray(100), mempolicy.PolicyMode.BIND, {0})


@given(start=st.integers(1, 1 << 40), length=st.integers(0, 1 << 20))
def test_whole_pages_lie_inside_and_touched_ones_around(start: int, length: int) -> None:
    """Both begin and end at pages' edges, and differ by the pages at the object's edges only."""
    around = Range(start, length).touched_pages()
    assert around.start % PAGE_BYTES == around.length_bytes % PAGE_BYTES == 0
    assert around.start <= start
    assert around.end >= start + length or not length
    try:
        inside = Range(start, length).whole_pages()
    except ValueError:
        assert around.length_bytes <= 2 * PAGE_BYTES
        return
    assert inside.start % PAGE_BYTES == inside.length_bytes % PAGE_BYTES == 0
    assert start <= inside.start < inside.end <= start + length
    assert around.length_bytes - inside.length_bytes <= 2 * PAGE_BYTES
