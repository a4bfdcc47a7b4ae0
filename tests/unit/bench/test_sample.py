"""The pages that the director asks for."""

import mmap
import os

import numpy as np

from tests.bench.follow.director import PAGE, SAMPLES, sample, share_on
from tests.jobs.areas import MB, base_area


def test_a_sample_has_one_page_of_every_part_of_the_area() -> None:
    """Evenly spread, so that half of the area gives half of the sample; inside it, aligned, each page once."""
    address, size = 1 << 32, 400 * MB
    pages = sample(address, size, seed=3)
    assert len(pages) == SAMPLES
    assert len(np.unique(pages)) == SAMPLES
    assert not (pages % PAGE).any()
    assert pages[0] >= address
    assert pages[-1] < address + size
    assert abs(int((pages < address + size // 2).sum()) - SAMPLES // 2) <= 1


def test_a_small_area_gives_every_page_once() -> None:
    """Fewer pages than samples: all of them."""
    assert len(np.unique(sample(0, 10 * PAGE, seed=0))) == 10


def test_the_share_is_asked_of_the_kernel() -> None:
    """This process's own filled memory lies on some node, and is wholly there or elsewhere."""
    area = base_area(4 * mmap.PAGESIZE)
    where = sample(area.address, area.size_bytes, seed=0)
    by_node = [share_on(os.getpid(), where, node) for node in range(64)]
    assert sum(by_node) == 1.0
