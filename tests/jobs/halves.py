"""A job whose two threads, each pinned to CPUs of its own, each use one half of an array: `MB base|thp CPUS CPUS`.

The array is filled by the first thread of the process, wherever that is pinned. Options: `--read`, the threads only
read; `--share 0.25`, each uses only the first so much of its half. Words: `rounds` gives how often each thread has gone
through its half so far, `check` the checksum, which no write changes.
"""

import argparse
import os
import sys
import threading

import numpy as np
from numpy.typing import NDArray

from numaplace.model.cpuset import parse_cpus
from tests.jobs.areas import MB, PAGE, base_area, huge_area
from tests.jobs.talk import talk

_STEP_WORDS = PAGE // 8


def keep_using(half: NDArray[np.uint64], cpus: frozenset[int], rounds: list[int], *, read: bool) -> None:
    """Write (or read) one word of every page of the half, for ever."""
    os.sched_setaffinity(0, cpus)
    one_of_each_page = half[::_STEP_WORDS]
    rounds.append(0)
    while True:
        if read:
            one_of_each_page.sum()
        else:
            one_of_each_page += np.uint64(0)
        rounds[0] += 1


def main(arguments: list[str]) -> None:
    """Run the job."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mb", type=int)
    parser.add_argument("pages", choices=("base", "thp"))
    parser.add_argument("cpus", nargs=2, type=parse_cpus)
    parser.add_argument("--read", action="store_true")
    parser.add_argument("--share", type=float, default=1.0)
    options = parser.parse_args(arguments)
    sys.setswitchinterval(1e-4)
    area = (base_area if options.pages == "base" else huge_area)(options.mb * MB)
    halves = np.split(area.words(), 2)
    rounds: list[list[int]] = [[], []]
    for half, cpus, counted in zip(halves, options.cpus, rounds, strict=True):
        used = half[: int(len(half) * options.share) // _STEP_WORDS * _STEP_WORDS]
        given = (used, cpus, counted)
        threading.Thread(target=keep_using, args=given, kwargs={"read": options.read}, daemon=True).start()
    talk(
        {"ready": True, "address": area.address, "size_bytes": area.size_bytes, "checksum": area.checksum()},
        {
            "rounds": lambda: {"rounds": [sum(counted) for counted in rounds]},
            "check": lambda: {"checksum": area.checksum()},
        },
    )


if __name__ == "__main__":
    main(sys.argv[1:])
