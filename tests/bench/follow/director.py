"""Runs inside a guest: makes the change, and sees by the guest's own clock when the pages are home, whoever moves them.

The same for us and for every rival. Rules kept:

- Times are CLOCK_MONOTONIC of the guest, from just before the first thread is pinned.
- Progress is read from the nodes' counters of anonymous pages, which need no lock of the job: on kernels where
  migrate_pages holds the mmap lock, a question about single pages would wait for it, and would be late for that rival
  only. When the counters say that 95 % have come, pages spread over the job's whole memory are asked for their node
  (move_pages without nodes); that alone decides, and the time is that before the question. Counters that stand
  still a little short of it (others' memory is in them too) are not waited for: then the time is the answer's.
- The first page's time is the first mm_migrate_pages event of a system call: the end of the first batch.
- A rival program is started right after the pinning; an agent or AutoNUMA needs no start.

Speaks lines of JSON: an order in, an answer out.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numaplace.client import AgentClient
from numaplace.kernel.syscalls import move_pages
from numaplace.kernel.trace_events import PagesMigrated
from numaplace.kernel.tracefs import MIGRATE_PAGES, TraceInstance
from numaplace.model.ids import JobId

PAGE = 4096
SAMPLES = 1024
LOOK_S = 0.02
ASK_PAGES_S = 1.0
NEAR_SHARE = 0.9
"""Of what is enough: below, no question is asked."""
HOME_SHARE = 0.95
BY_SYSTEM_CALL = "syscall_or_cpuset"
NODES = Path("/sys/devices/system/node")


def pin(pid: int, cpus: Sequence[int]) -> None:
    """sched_setaffinity(2) for each thread, as a batch system would do it."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cpus)


def anonymous_bytes(node: int) -> int:
    """Anonymous memory on a node, by the kernel's counter."""
    for line in (NODES / f"node{node}" / "vmstat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "nr_anon_pages":
            return int(value) * PAGE
    raise LookupError(f"node{node}/vmstat has no nr_anon_pages")


def sample(address: int, size_bytes: int, seed: int) -> NDArray[np.uint64]:
    """One page of each of many equal parts of an area: evenly spread, so that few tell enough."""
    pages = size_bytes // PAGE
    edges = np.linspace(0, pages, min(SAMPLES, pages) + 1).astype(np.uint64)
    within = np.random.default_rng(seed).random(len(edges) - 1)
    chosen = edges[:-1] + (within * np.diff(edges)).astype(np.uint64)
    result: NDArray[np.uint64] = np.uint64(address) + chosen * np.uint64(PAGE)
    return result


def share_on(pid: int, addresses: NDArray[np.uint64], node: int) -> float:
    """The share of these pages that lies on a node, as move_pages(2) tells."""
    status = np.full(len(addresses), -1, np.int32)
    move_pages(pid, addresses.data, None, status.data)
    return float((status == node).mean())


class Director:
    """Carries orders out; each is a method."""

    def __init__(self, socket: Path) -> None:
        self._agent = AgentClient(socket)
        self._trace = TraceInstance(purpose="bench")
        self._trace.record(on=False)
        self._trace.enable(MIGRATE_PAGES)

    def adopt(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Let the agent follow a process."""
        self._agent.adopt(JobId(order["job"]), pid=order["pid"])
        return {}

    def release(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Let it follow no longer."""
        return {"released": self._agent.release(JobId(order["job"]))}

    def settle(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Bring a job and all its pages to where the next run begins; not measured."""
        pid, node = order["pid"], order["node"]
        pin(pid, order["cpus"])
        where = sample(order["address"], order["size_bytes"], seed=1)
        if share_on(pid, where, node) < 1.0:
            subprocess.run(["migratepages", str(pid), str(order["from"]), str(node)], check=True)
        return {"share": share_on(pid, where, node), "huge_bytes": huge_bytes(pid)}

    @staticmethod
    def share(order: Mapping[str, Any]) -> dict[str, Any]:
        """How much of an area lies on a node."""
        where = sample(order["address"], order["size_bytes"], seed=3)
        return {"share": share_on(order["pid"], where, order["node"])}

    def follow(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Make the change and see what becomes of it."""
        pid, node, size = order["pid"], order["node"], order["size_bytes"]
        where = sample(order["address"], size, seed=2)
        enough = anonymous_bytes(node) + HOME_SHARE * size
        self._listen(on=True)
        began_unix_s, began_s = time.time(), time.monotonic()
        pin(pid, order["cpus"])
        rival = subprocess.Popen(order["rival"], stdout=subprocess.PIPE, text=True) if order["rival"] else None
        home_s = self._wait_home(order, where, enough, began_s)
        told, failed = ("", 0) if rival is None else (rival.communicate()[0], rival.returncode)
        ended_s = time.monotonic()
        time.sleep(order["after_s"])
        self._trace.record(on=False)
        if failed not in order.get("codes", (0,)):
            raise ChildProcessError(f"{order['rival']} ended with {failed}: {told}")
        return {
            "began_unix_s": began_unix_s,
            "began_s": began_s,
            "home_s": home_s,
            "first_page_s": self._first_page_s(began_s),
            "ended_s": ended_s - began_s,
            "share": share_on(pid, where, node),
            "told": told,
        }

    @staticmethod
    def _wait_home(order: Mapping[str, Any], where: NDArray[np.uint64], enough: float, began_s: float) -> float | None:
        pid, node, wait_s = order["pid"], order["node"], order["wait_s"]
        asked_s = now_s = began_s
        while now_s < began_s + wait_s:
            come = 1 - (enough - anonymous_bytes(node)) / order["size_bytes"]
            if come < NEAR_SHARE:
                asked_s = now_s
            elif come >= 1 or now_s >= asked_s + ASK_PAGES_S:
                there = share_on(pid, where, node) >= HOME_SHARE
                asked_s = time.monotonic()
                if there:
                    return (now_s if come >= 1 else asked_s) - began_s
            time.sleep(LOOK_S)
            now_s = time.monotonic()
        return None

    def _listen(self, *, on: bool) -> None:
        """Forget old events, and record new ones."""
        while self._trace.read().events:
            pass
        self._trace.record(on=on)

    def _first_page_s(self, began_s: float) -> float | None:
        first_ns: list[int] = []
        while events := self._trace.read().events:
            first_ns += [
                event.context.time_ns
                for event in events
                if isinstance(event, PagesMigrated) and event.succeeded and event.reason == BY_SYSTEM_CALL
            ]
        return min(first_ns) / 1e9 - began_s if first_ns else None


def huge_bytes(pid: int) -> int:
    """How much of a process is in transparent huge pages."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("AnonHugePages:"):
            return int(line.split()[1]) * 1024
    return 0


def main() -> None:
    """Answer orders until the end of input."""
    director = Director(Path(sys.argv[1]))
    answers: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
        "adopt": director.adopt,
        "release": director.release,
        "settle": director.settle,
        "follow": director.follow,
        "share": director.share,
    }
    _say({"ready": True})
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = answers[order["do"]](order)
        except Exception as error:  # noqa: BLE001 - one order that fails must not end the others; the host judges
            answer = {"error": f"{type(error).__name__}: {error}"}
        _say(answer)


def _say(message: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
