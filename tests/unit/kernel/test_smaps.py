"""smaps and kpagecount: as they are documented, cut, and of this host."""

import mmap
import os
import struct
from pathlib import Path

import pytest

from numaplace.kernel.errors import KernelFormatError, NoSuchFile, ProcessGone
from numaplace.kernel.kpagecount import read_map_counts
from numaplace.kernel.pagemap import FRAME_MASK, PAGE_BYTES, open_pagemap, read_entries
from numaplace.kernel.smaps import parse_huge_bytes, read_huge_bytes
from tests.jobs.areas import Area, map_area

TEXT = (
    "1000-3000 rw-p 00000000 00:00 0 \nSize:  8 kB\nAnonHugePages:      2048 kB\nShmemPmdMapped:        0 kB\n"
    "FilePmdMapped:      4096 kB\nVmFlags: rd wr mr\n"
    "5000-6000 r--p 00000000 00:00 0                          [vvar]\nAnonHugePages:         0 kB\nSomethingNew: x\n"
)


def test_huge_pages_of_all_kinds_are_added_up() -> None:
    """Mappings without any are left out, keys that are not asked for passed over."""
    assert parse_huge_bytes(TEXT) == {0x1000: 6144 << 10}
    assert parse_huge_bytes("") == {}


@pytest.mark.parametrize("text", ["Rss: 1 kB\n", TEXT[:-1], "what\n" + TEXT])
def test_smaps_of_another_form_is_refused(text: str) -> None:
    """What comes before the first mapping, and what was cut."""
    with pytest.raises(KernelFormatError):
        parse_huge_bytes(text)


def test_smaps_of_this_process_is_read(gone: int) -> None:
    """All of it; a process that is gone has none."""
    assert all(size % PAGE_BYTES == 0 for size in read_huge_bytes(os.getpid()).values())
    with pytest.raises(ProcessGone):
        read_huge_bytes(gone)


def test_counts_by_frame(tmp_path: Path) -> None:
    """Near and far ones in any order; beyond the end of memory it is 0."""
    (tmp_path / "proc").mkdir()
    with pytest.raises(NoSuchFile):
        read_map_counts([1], tmp_path)
    counts = {frame: frame % 7 for frame in (0, 1, 5, 700, 70_000, 200_000)}
    with (tmp_path / "proc/kpagecount").open("wb") as file:
        for frame, count in counts.items():
            file.seek(frame * 8)
            file.write(struct.pack("=Q", count))
    wanted = [200_000, 1, 1, 5, 0, 70_000, 700, 1 << 30]
    assert read_map_counts(wanted, tmp_path) == {**counts, 1 << 30: 0}


@pytest.mark.usefixtures("privileged")
def test_counts_of_this_host() -> None:
    """A page that was just touched is mapped once, and twice after a fork."""
    area = Area(map_area(PAGE_BYTES, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS), PAGE_BYTES)
    area.fill()
    descriptor = open_pagemap(os.getpid())
    try:
        (entry,) = struct.unpack("=Q", read_entries(descriptor, area.address // PAGE_BYTES, 1))
    finally:
        os.close(descriptor)
    frame = entry & FRAME_MASK
    assert read_map_counts([frame]) == {frame: 1}
    asked, told = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        area.checksum()
        os.write(told[1], b"!")
        os.read(asked[0], 1)
        os._exit(0)
    os.read(told[0], 1)
    assert read_map_counts([frame]) == {frame: 2}
    os.write(asked[1], b"!")
    os.waitpid(child, 0)
