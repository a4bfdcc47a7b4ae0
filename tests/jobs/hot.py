"""A hot job: it writes all over its memory, all the time, and measures what a mover makes it wait.

`python -m tests.jobs.hot MB base|thp [--threads N] [--cold] [--random]`. One thread touches pages one by one and
another maps and unmaps a little memory; each keeps its longest wait. Words: `stalls` gives the longest waits since the
last `stalls` in ms, `check` the checksum of the memory, which no write changes; `mark` lets AutoNUMA mark it all, which
lasts only if the job is cold.
"""

import argparse
import sys
import threading
import time

import numpy as np

from tests.jobs.areas import MB, PAGE, Area, base_area, huge_area, map_area, touch, unmap_area
from tests.jobs.marking import be_marked
from tests.jobs.talk import talk

_STEP_WORDS = PAGE // 8
_ROUND_BYTES = 16 * MB


class Longest:
    """The longest wait since it was last asked for."""

    def __init__(self) -> None:
        self._ns = 0

    def saw(self, wait_ns: int) -> None:
        """A wait has ended."""
        self._ns = max(self._ns, wait_ns)

    def take_ms(self) -> float:
        """The longest, and begin anew."""
        ns, self._ns = self._ns, 0
        return ns / 1e6


def keep_touching(area: Area, longest: Longest) -> None:
    """Touch pages one by one in an order that jumps about, for ever; writes the byte that is there."""
    scratch = area.words().view(np.uint8)[::PAGE]
    order = np.random.default_rng(7).permutation(len(scratch))
    while True:
        for page in order.tolist():
            value = int(scratch[page])
            began = time.perf_counter_ns()
            touch(area.address + page * PAGE, value)
            longest.saw(time.perf_counter_ns() - began)


def keep_mapping(longest: Longest) -> None:
    """Map and unmap a page, for ever."""
    while True:
        began = time.perf_counter_ns()
        address = map_area(PAGE)
        longest.saw(time.perf_counter_ns() - began)
        unmap_area(address, PAGE)
        time.sleep(0.0005)


def keep_writing(area: Area) -> None:
    """Write one word of every page, for ever, without changing it."""
    words = area.words()
    step = _ROUND_BYTES // 8
    while True:
        for start in range(0, len(words), step):
            words[start : start + step : _STEP_WORDS] += np.uint64(0)


def main(arguments: list[str]) -> None:
    """Run the job."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mb", type=int)
    parser.add_argument("pages", choices=("base", "thp"))
    parser.add_argument("--threads", type=int, default=1, help="threads that write")
    parser.add_argument("--cold", action="store_true", help="touch nothing once it is filled")
    options = parser.parse_args(arguments)
    # The measuring threads must not wait for each other's time slices.
    sys.setswitchinterval(1e-4)
    area = (base_area if options.pages == "base" else huge_area)(options.mb * MB)
    touched, mapped = Longest(), Longest()
    work = [] if options.cold else [(keep_writing, (area,))] * options.threads + [(keep_touching, (area, touched))]
    for target, given in [*work, (keep_mapping, (mapped,))]:
        threading.Thread(target=target, args=given, daemon=True).start()
    talk(
        {"ready": True, "address": area.address, "size_bytes": area.size_bytes, "checksum": area.checksum()},
        {
            "stalls": lambda: {"touch_ms": touched.take_ms(), "mmap_ms": mapped.take_ms()},
            "check": lambda: {"checksum": area.checksum()},
            "mark": be_marked,
        },
    )


if __name__ == "__main__":
    main(sys.argv[1:])
