"""Reads a job's pages that AutoNUMA has marked: `python -m tests.jobs.reveal PID START END PAGE_BYTES`.

It prints a line of JSON: how many of the job's pages move_pages did not find before and after they were revealed, how
many were, and the nodes they lay on before and after by their frames. Then, once it is told that they are marked anew
(a line on standard input), another one: how many base pages a measurement without frames finds. A job marks its pages
itself, as it runs: so it stands still while its marks are looked at.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator

import numpy as np

from node_agent.core.facts import ProcessRef
from node_agent.core.pages import Addresses
from node_agent.linux.host_memory import LinuxHostMemory
from node_agent.linux.memory import ProcessMemory
from node_agent.linux.pages import QueryReader
from node_agent.linux.process_memory import LinuxProcessMemory
from numaplace.kernel.procfs import list_tids, read_identity, read_stat
from tests.jobs.talk import say

WITHIN_S = 60.0


def not_found(memory: ProcessMemory, addresses: Addresses) -> int:
    """How many of these move_pages does not find."""
    return int((memory.query(addresses) < 0).sum())


@contextlib.contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """A process that runs no instruction meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        until_s = time.monotonic() + WITHIN_S
        while any(read_stat(pid, tid=tid).state != "T" for tid in list_tids(pid)):
            if time.monotonic() > until_s:
                raise TimeoutError(f"{pid} does not stop")
            time.sleep(0.001)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def main(pid: int, start: int, end: int, page_bytes: int) -> None:
    """Run it."""
    ref = ProcessRef(pid, read_identity(pid).start_ticks)
    host = LinuxHostMemory()
    memory, blind = host.open(ref), LinuxProcessMemory(ref, QueryReader(host.thp_bytes))
    addresses = np.arange(start, end, page_bytes, dtype=np.uint64)
    found: dict[str, object] = {"pages": len(addresses)}
    with standing_still(pid):
        found["hidden"] = not_found(memory, addresses)
        found["nodes"] = np.unique(memory.pages(start, end).nodes).tolist()
        found["revealed"] = int(memory.reveal(addresses).sum())
        found["still_hidden"] = not_found(memory, addresses)
        found["nodes_after"] = np.unique(memory.pages(start, end).nodes).tolist()
    say(found)
    sys.stdin.readline()
    with standing_still(pid):
        say({"hidden": not_found(memory, addresses), "measured_without_frames": len(blind.pages(start, end))})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
