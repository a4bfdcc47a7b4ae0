"""A job with memory of every kind that a picture tells apart: `python -m tests.jobs.mixed MB`.

So much of each: base pages bound to node 0, transparent huge pages, a file, hugetlb pages, and shared memory that a
child maps too. It says which pids it consists of and where each kind is, and then does nothing until its input ends.
"""

import os
import sys

from tests.jobs.areas import HUGE, MB
from tests.jobs.memory import KINDS, fork_reader
from tests.jobs.talk import talk

_KINDS = ("bound", "thp", "file", "hugetlb")


def main(mb: int) -> None:
    """Run the job."""
    size_bytes = -(-mb * MB // HUGE) * HUGE
    shm = KINDS["shm"](size_bytes)
    child, _ = fork_reader(shm)
    # What is there before the fork is shared with the child, copied on write or not: all else comes after it.
    areas = {"shm": shm} | {kind: KINDS[kind](size_bytes) for kind in _KINDS}
    addresses = {kind: area.address for kind, area in areas.items()}
    talk({"pids": [os.getpid(), child], "addresses": addresses, "size_bytes": size_bytes}, {})


if __name__ == "__main__":
    main(int(sys.argv[1]))
