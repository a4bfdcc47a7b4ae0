"""Reads a job's pages that AutoNUMA has marked: `python -m tests.jobs.reveal PID START END PAGE_BYTES`.

It waits until move_pages finds hardly any of the job's pages, and then prints one line of JSON: how many of them it did
not find before and after they were revealed, how many were, the nodes they lay on before and after by their frames, and
how many base pages a measurement without frames found once they were marked anew. A job marks its pages itself, as it
runs: so it stands still while its marks are looked at.
"""

import contextlib
import json
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

WITHIN_S = 60.0
NEARLY_ALL = 0.9


def not_found(memory: ProcessMemory, addresses: Addresses) -> int:
    """How many of these move_pages does not find."""
    return int((memory.query(addresses) < 0).sum())


def wait_marked(memory: ProcessMemory, addresses: Addresses) -> int:
    """Until it does not find nearly all of them, or for a minute; how many it does not find then."""
    until_s = time.monotonic() + WITHIN_S
    while (found := not_found(memory, addresses)) < NEARLY_ALL * len(addresses) and time.monotonic() < until_s:
        time.sleep(0.1)
    return found


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
    found: dict[str, object] = {"pages": len(addresses), "hidden": wait_marked(memory, addresses)}
    with standing_still(pid):
        found["nodes"] = np.unique(memory.pages(start, end).nodes).tolist()
        found["revealed"] = int(memory.reveal(addresses).sum())
        found["still_hidden"] = not_found(memory, addresses)
        found["nodes_after"] = np.unique(memory.pages(start, end).nodes).tolist()
    wait_marked(memory, addresses)
    with standing_still(pid):
        found["measured_without_frames"] = len(blind.pages(start, end))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
