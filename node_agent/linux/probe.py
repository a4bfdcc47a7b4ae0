"""What this kernel does, found by trying it on a child of our own: versions say nothing, since vendors backport.

The child holds some megabytes and maps a page again and again, keeping its longest wait. Its pages are taken to and fro
between two nodes: by `migrate_pages`, which tells whether an mmap() waits for the whole call, and by `move_pages` with
one thread and with several, which tells whether several pay and how fast they are, and page by page, which tells what a
call itself takes. A few huge pages, if the child can have them, go to and fro too.
Takes a fraction of a second, in the background; until it is done, or with one node only, the careful assumption holds:
no whole-process calls, one thread.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import median
from typing import IO

import numpy as np

from node_agent.core.batches import fresh_status
from node_agent.core.facts import ProcessRef
from node_agent.core.pages import Addresses, Pages
from node_agent.core.strategy import KernelTraits
from node_agent.linux.memory import HostMemory, ProcessMemory
from numaplace.kernel.errors import KernelCallError
from numaplace.kernel.procfs import read_identity
from numaplace.model.ids import NodeId

PROBE_BYTES = 16 << 20
HUGE_PROBE_BYTES = 10 << 20
"""Of address space for huge pages: four of 2 MB fit in, wherever it begins."""
THREADS_TRIED = 4
THREADS_GAIN = 0.7
"""Where migrate_pages holds the lock several threads must take this share of one thread's time or less to be used."""
THREADS_LOSS = 2.0
"""Elsewhere, where pages are unmapped many at a time, they pay unless the CPUs were taken just now: they are used but
where they took so much longer."""
LOCK_SHARE = 0.5
"""An mmap() that waits for this share of the call waited for the lock, not for a CPU."""
ROUNDS = 3
ROUNDS_S_MAX = 1.0
"""Batches to and fro are tried no more often once they have taken so long: where they are slow, one round tells."""
BATCH_PAGES = 512
CHILD_S_MAX = 120.0
"""A child that takes longer is killed, and the careful assumption stays."""
ANSWER_CHARS_MAX = 64
"""No answer of the child is longer; what is, is none."""
WAIT_S_MAX = 1.0
"""Whoever starts the agent waits no longer for what the probe finds: following is worth more than knowing all."""

_CHILD = """
import mmap, sys, threading, time
size, huge_size = int(sys.argv[1]), int(sys.argv[2])
area = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
if hasattr(mmap, "MADV_NOHUGEPAGE"):
    area.madvise(mmap.MADV_NOHUGEPAGE)
for at in range(0, size, mmap.PAGESIZE):
    area[at] = 1
longest = 0
def keep_mapping():
    global longest
    while True:
        began = time.perf_counter_ns()
        mmap.mmap(-1, mmap.PAGESIZE).close()
        longest = max(longest, time.perf_counter_ns() - began)
        time.sleep(0.0002)
threading.Thread(target=keep_mapping, daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    if line == "huge\\n":
        huge = mmap.mmap(-1, huge_size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            huge.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, huge_size, mmap.PAGESIZE):
            huge[at] = 1
    found, longest = longest, 0
    print(found, flush=True)
"""


class TraitsProbe:
    """Probes in the background; `traits` says what is known so far. Thread-safe."""

    def __init__(self, host: HostMemory, nodes: Sequence[NodeId]) -> None:
        self._host, self._nodes = host, tuple(nodes)
        self._traits = KernelTraits()
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="numaplace-probe", daemon=True)

    def start(self) -> None:
        """Begin; on a host with one node there is nothing to find out."""
        if len(self._nodes) > 1:
            self._thread.start()

    def wait(self, timeout_s: float = WAIT_S_MAX) -> KernelTraits:
        """What was found, once it is, or what is known after this time."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return self._traits

    def traits(self) -> KernelTraits:
        """What is known by now."""
        return self._traits

    def _run(self) -> None:
        try:
            self._traits = probe(self._host, self._nodes)
        except (KernelCallError, OSError, ValueError) as error:
            # Whatever stands in the way of the probe, moves go on with the careful assumption.
            self.failure = str(error)


def probe(host: HostMemory, nodes: Sequence[NodeId]) -> KernelTraits:
    """Try the calls on a child; raises KernelCallError, OSError or ValueError if that cannot be done."""
    command = [sys.executable, "-I", "-S", "-c", _CHILD, str(PROBE_BYTES), str(HUGE_PROBE_BYTES)]
    with subprocess.Popen(  # noqa: S603 - our own interpreter with our own words
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        watchdog = threading.Timer(CHILD_S_MAX, child.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            if child.stdin is None or child.stdout is None or child.stdout.readline(ANSWER_CHARS_MAX) != "ready\n":
                raise ValueError("the probe's child did not start")
            memory = host.open(ProcessRef(child.pid, read_identity(child.pid).start_ticks))
            try:
                return _Probing(host, memory, (child.stdin, child.stdout), nodes).traits()
            finally:
                memory.close()
        finally:
            watchdog.cancel()
            child.kill()


class _Probing:
    """One child under probe."""

    def __init__(
        self, host: HostMemory, memory: ProcessMemory, child: tuple[IO[str], IO[str]], nodes: Sequence[NodeId]
    ) -> None:
        self._host, self._memory = host, memory
        self._said_to, self._heard_from = child
        self._addresses = self._touched().addresses
        self._a, self._b = nodes[0], nodes[1]

    def _touched(self) -> Pages:
        """The pages of the child's own memory that has most of them: the area that it touched.

        It is not the largest mapping: a thread's malloc sets aside 64 MB of address space and hardly touches it.
        """
        regions = [region for region in self._memory.regions() if not region.name]
        parts = [self._memory.pages(region.start, region.end) for region in regions]
        area = max(parts, key=lambda pages: pages.bytes, default=Pages.none())
        if area.bytes < PROBE_BYTES:
            raise ValueError(f"the probe's child has no {PROBE_BYTES >> 20} MB in one piece, but {area.bytes} bytes")
        return area.where(slice(PROBE_BYTES // self._host.base_bytes))

    def traits(self) -> KernelTraits:
        """Try it all."""
        self._move(self._a, 1)
        traits = replace(self._try_whole(), fixed_ms=self._fixed_ms())
        threads = min(THREADS_TRIED, os.cpu_count() or 1)
        one_s = several_s = float("inf")
        until_s = self._host.now_s() + ROUNDS_S_MAX
        for _ in range(ROUNDS):
            one_s = min(one_s, self._move(self._a, 1))
            several_s = min(several_s, self._move(self._b, threads))
            if self._host.now_s() > until_s:
                break
        worth = THREADS_GAIN if traits.migrate_holds_lock else THREADS_LOSS
        pay = threads if several_s <= worth * one_s else 1
        took_s = one_s if pay == 1 else several_s
        base_bytes_per_s = PROBE_BYTES / took_s / pay
        return replace(
            traits, threads_pay=pay, base_bytes_per_s=base_bytes_per_s, huge_bytes_per_s=self._huge_bytes_per_s()
        )

    def _huge_bytes_per_s(self) -> float | None:
        """How fast huge pages go, by one thread; None if the child has none that can be told from others."""
        self._ask("huge")
        regions = [region for region in self._memory.regions() if not region.name]
        pages = Pages.joined([self._memory.pages(region.start, region.end) for region in regions])
        huge = pages.where(pages.sizes > self._host.base_bytes)
        if not len(huge):
            return None
        self._send(huge.addresses, self._a)
        fastest_s = float("inf")
        for target in (self._b, self._a):
            began_s = self._host.now_s()
            self._send(huge.addresses, target)
            fastest_s = min(fastest_s, self._host.now_s() - began_s)
        return huge.bytes / fastest_s

    def _try_whole(self) -> KernelTraits:
        """Whole-process calls to and fro, and what most of them show.

        A CPU that somebody else had makes an mmap() wait too, or hides that it would have waited, but not every time.
        """
        shares, fastest_s = [], float("inf")
        source, target = self._a, self._b
        for _ in range(ROUNDS):
            self._longest_wait_s()
            began_s = self._host.now_s()
            self._memory.migrate(source, target)
            call_s = self._host.now_s() - began_s
            shares.append(self._longest_wait_s() / call_s)
            fastest_s = min(fastest_s, call_s)
            source, target = target, source
        return KernelTraits(median(shares) > LOCK_SHARE, PROBE_BYTES / fastest_s)

    def _fixed_ms(self) -> float:
        """What a call takes for a single page."""
        times_s = []
        for target in (self._a, self._b) * ROUNDS:
            began_s = self._host.now_s()
            self._send(self._addresses[:1], target)
            times_s.append(self._host.now_s() - began_s)
        return 1000 * median(times_s)

    def _longest_wait_s(self) -> float:
        """The child's longest wait since it was last asked."""
        return self._ask("longest") / 1e9

    def _ask(self, word: str) -> int:
        """Say a word to the child, whatever it is to do for it; always the longest wait until now, in ns."""
        self._said_to.write(f"{word}\n")
        self._said_to.flush()
        answer = self._heard_from.readline(ANSWER_CHARS_MAX)
        if not answer.endswith("\n"):
            raise ValueError(f"the probe's child ended, or took more than {CHILD_S_MAX:.0f} s, or said {answer!r}")
        return int(answer)

    def _move(self, target: NodeId, threads: int) -> float:
        """Take all pages to a node; returns the seconds it took."""
        parts = [self._addresses[i : i + BATCH_PAGES] for i in range(0, len(self._addresses), BATCH_PAGES)]
        began_s = self._host.now_s()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: self._send(part, target), parts))
        return self._host.now_s() - began_s

    def _send(self, addresses: Addresses, target: NodeId) -> None:
        nodes = np.full(len(addresses), target, np.int32)
        self._memory.move(addresses, nodes, fresh_status(len(addresses)), move_all=False)
