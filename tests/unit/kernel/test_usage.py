"""What the kernel tells of who uses which page: faults and DAMON's regions in a trace, soft-dirty and idle bits."""

import ctypes
import errno
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace.kernel import damon, page_faults, page_idle, soft_dirty
from numaplace.kernel.errors import Denied, KernelCallError, NoSuchFile, ProcessGone
from numaplace.kernel.pagemap import PAGE_BYTES, SOFT_DIRTY, open_pagemap, read_entries
from numaplace.model.ids import CpuId

# As 6.1 and 6.12 print them; the commands are chosen to be hard.
FAULTS = [
    b"          python-217     [000] d....    21.224907: page_fault_user: address=0x55bd969a5900 ip=0x7 error_code=0x7",
    b"[9] 1.0: x: a-1 -218     [002] d....    21.225644: page_fault_kernel: address=0x7f267e7fe9b8 ip=x error_code=0x3",
    b"          python-217     [130] d..1.    21.229072: page_fault_user: address=0x7f26  ip=0x1 error_code=0x3",
    b"          python-217     [001] d....    21.229072: page_fault_kernel: address=init_task ip=x error_code=0x3",
    b"CPU:1 [LOST 12 EVENTS]",
    b"          python-217     [001] d....    21.229072: sched_process_exit: comm=x pid=1 prio=120",
    b"rubbish",
]  # fmt: skip
REGIONS = [
    b"       kdamond.0-231     [003] .....    31.000907: damon_aggregated: target_id=0 nr_regions=11 4096-8192: 3 17",
    b"       kdamond.0-231     [003] .....    31.000907: damon_aggregated: target_id=0 nr_regions=11 8192-20480: 0",
    b"       kdamond.0-231     [003] .....    31.000907: damon_aggregated: target_id=0 nr_regions=11 8192-8192: 1 2",
    b"CPU:1 [LOST EVENTS]",
]


def test_faults_are_read_as_cpu_and_address() -> None:
    """By columns; a kernel address that has a symbol is no page of a process; the rest is counted."""
    faults = ((CpuId(0), 0x55BD969A5900), (CpuId(2), 0x7F267E7FE9B8))
    assert page_faults.parse_faults(FAULTS) == page_faults.FaultReading(faults, lost=12, unreadable=3)


def test_regions_are_read_with_their_accesses() -> None:
    """The age came late, and an empty region is none."""
    regions = (damon.Region(4096, 8192, 3), damon.Region(8192, 20480, 0))
    assert damon.parse_regions(REGIONS) == damon.RegionReading(regions, lost=1, unreadable=1)


@given(st.sampled_from([*FAULTS, *REGIONS]), st.data())
def test_cut_and_longer_lines_are_counted_not_raised(line: bytes, data: st.DataObject) -> None:
    """Every line is understood, or counted as lost or not understood."""
    end = data.draw(st.integers(0, len(line)))
    spoiled = line[:end] + data.draw(st.binary(max_size=8)) + data.draw(st.sampled_from([b"", line[end:]]))
    faults, regions = page_faults.parse_faults([spoiled]), damon.parse_regions([spoiled])
    assert all(0 <= address < 1 << 64 for _, address in faults.faults)
    assert all(region.start < region.end for region in regions.regions)


@pytest.fixture
def admin(tmp_path: Path) -> Path:
    """A root with DAMON's files as they are when a kdamond and its context have been made."""
    kdamonds = tmp_path / damon.ADMIN
    context = kdamonds / "0/contexts/0"
    for name in ("monitoring_attrs/intervals", "monitoring_attrs/nr_regions", "targets/0"):
        (context / name).mkdir(parents=True)
    for path in (
        kdamonds / "nr_kdamonds",
        kdamonds / "0/state",
        kdamonds / "0/contexts/nr_contexts",
        context / "operations",
        context / "monitoring_attrs/intervals/sample_us",
        context / "monitoring_attrs/intervals/aggr_us",
        context / "monitoring_attrs/nr_regions/min",
        context / "monitoring_attrs/nr_regions/max",
        context / "targets/nr_targets",
        context / "targets/0/pid_target",
    ):
        path.write_text("0\n")
    return tmp_path


def test_damon_is_set_up_for_one_process_and_given_back(admin: Path) -> None:
    """During the block it is on and looks at the process; afterwards there is no kdamond."""
    kdamonds = admin / damon.ADMIN
    with damon.Damon(4711, damon.Sampling(sample_us=5000, aggregation_us=100_000), admin):
        assert (kdamonds / "0/state").read_text() == "on\n"
        assert (kdamonds / "0/contexts/0/operations").read_text() == "vaddr\n"
        assert (kdamonds / "0/contexts/0/targets/0/pid_target").read_text() == "4711\n"
        assert (kdamonds / "0/contexts/0/monitoring_attrs/intervals/aggr_us").read_text() == "100000\n"
    assert (kdamonds / "0/state").read_text() == "off\n"
    assert (kdamonds / "nr_kdamonds").read_text() == "0\n"


def test_damon_that_somebody_uses_is_left_alone(admin: Path) -> None:
    """EBUSY, and not a file of it is written."""
    kdamonds = admin / damon.ADMIN
    (kdamonds / "nr_kdamonds").write_text("1\n")
    with pytest.raises(KernelCallError) as caught:
        damon.Damon(4711, damon.Sampling(), admin)
    assert caught.value.errno == errno.EBUSY
    assert (kdamonds / "nr_kdamonds").read_text() == "1\n"


def test_damon_that_fails_to_start_is_given_back(admin: Path, tmp_path: Path) -> None:
    """A kernel that lacks a file in mid-way: what was made is unmade."""
    kdamonds = admin / damon.ADMIN
    (kdamonds / "0/contexts/0/operations").unlink()
    with pytest.raises(NoSuchFile):
        damon.Damon(4711, damon.Sampling(), admin)
    assert (kdamonds / "nr_kdamonds").read_text() == "0\n"
    with pytest.raises(NoSuchFile):
        damon.Damon(4711, damon.Sampling(), tmp_path / "none")


@pytest.fixture
def bitmap(tmp_path: Path) -> Iterator[int]:
    """A descriptor of an idle bitmap of 256 frames, as a file."""
    path = tmp_path / "sys/kernel/mm/page_idle/bitmap"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(32))
    descriptor = page_idle.open_bitmap(tmp_path)
    yield descriptor
    os.close(descriptor)


@given(marked=st.sets(st.integers(0, 255), max_size=40), asked=st.sets(st.integers(0, 255), max_size=40))
def test_frames_marked_idle_are_found_idle(marked: set[int], asked: set[int]) -> None:
    """Of the frames asked for, those that were marked and not used since."""
    descriptor = os.memfd_create("bitmap")
    try:
        os.truncate(descriptor, 32)
        page_idle.mark(descriptor, marked)
        assert page_idle.still_idle(descriptor, asked) == marked & asked
    finally:
        os.close(descriptor)


def test_the_bitmap_is_read_in_words(bitmap: int) -> None:
    """Bit 0 of a word is its lowest frame."""
    page_idle.mark(bitmap, [64, 127])
    assert os.pread(bitmap, 8, 8) == (1 | 1 << 63).to_bytes(8, sys.byteorder)
    assert page_idle.still_idle(bitmap, [63, 64, 65, 127]) == {64, 127}


def test_a_kernel_without_idle_tracking_says_so(tmp_path: Path) -> None:
    """There is no such file."""
    with pytest.raises(NoSuchFile):
        page_idle.open_bitmap(tmp_path)


def test_soft_dirty_bits_tell_what_was_written_since() -> None:
    """On this kernel, if it keeps the bits: cleared, then set again by the next write, and by it alone."""
    with mmap.mmap(-1, 2 * PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        hold = ctypes.c_char.from_buffer(memory)
        first_page = ctypes.addressof(hold) // PAGE_BYTES
        del hold
        memory[0] = memory[PAGE_BYTES] = 1
        soft_dirty.clear_soft_dirty(os.getpid())
        memory[PAGE_BYTES] = 2
        descriptor = open_pagemap(os.getpid())
        try:
            entries = memoryview(read_entries(descriptor, first_page, 2)).cast("Q")
        finally:
            os.close(descriptor)
    assert [bool(entry & SOFT_DIRTY) for entry in entries] == [False, soft_dirty.has_soft_dirty()]


def test_bits_of_a_process_that_is_gone_or_anothers(gone: int, sleeper: subprocess.Popen[bytes]) -> None:
    """The dead are told from those that are not ours; our child is."""
    with pytest.raises(ProcessGone):
        soft_dirty.clear_soft_dirty(gone)
    soft_dirty.clear_soft_dirty(sleeper.pid)
    if os.geteuid() != 0:
        with pytest.raises(Denied):
            soft_dirty.clear_soft_dirty(1)
