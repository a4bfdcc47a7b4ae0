"""In a guest: this process's own pages to and fro, by turns with `mempolicy.move_pages` and with the bare call from C.

``python -m tests.bench.hand.pages LIBRARY PAGES ROUNDS`` prints the seconds of each as JSON. Both move the same pages
of the same process, in each direction equally often, and both pass arrays that are there already.
"""

import ctypes
import json
import sys
import time
from array import array

from numaplace import mempolicy
from numaplace.kernel.policy import MoveFlag
from tests.jobs.areas import PAGE, base_area

NODES = (0, 1)


def bare(library: ctypes.CDLL, addresses: "array[int]", node: int) -> float:
    """Seconds of the call alone."""
    count = len(addresses)
    targets, status = array("i", (node,)) * count, array("i", bytes(4 * count))
    pages, nodes, statuses = (ctypes.c_void_p(each.buffer_info()[0]) for each in (addresses, targets, status))
    took_s: float = library.bare_move_pages(ctypes.c_ulong(count), pages, nodes, statuses, MoveFlag.MOVE)
    if took_s < 0 or status != targets:
        raise OSError("the bare call did not move all pages")
    return took_s


def ours(addresses: "array[int]", node: int) -> float:
    """Seconds of the function."""
    began_s = time.perf_counter()
    moved = mempolicy.move_pages(addresses, node)
    took_s = time.perf_counter() - began_s
    if moved.moved != len(addresses):
        raise OSError(f"not all pages moved: {moved}")
    return took_s


def main(path: str, pages: int, rounds: int) -> None:
    """Measure."""
    library = ctypes.CDLL(path)
    library.bare_move_pages.restype = ctypes.c_double
    area = base_area(pages * PAGE)
    addresses = array("Q", range(area.address, area.address + area.size_bytes, PAGE))
    mempolicy.move_pages(addresses, NODES[0])
    took: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(rounds):
        for first, second in ((ours, bare), (bare, ours)):
            for way, node in ((first, NODES[1]), (second, NODES[0])):
                seconds = ours(addresses, node) if way is ours else bare(library, addresses, node)
                took[way.__name__].append(seconds)
    sys.stdout.write(json.dumps(took) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
