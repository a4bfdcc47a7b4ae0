"""Who uses which page, from page faults: each says which page was touched, and the CPU says from which node.

Two methods. `write-faults` clears the process's soft-dirty bits again and again, which harms nothing: the next write to
each page faults once, and so each round is one vote for every page that was written in it. `hint-faults` only listens
to the faults that AutoNUMA makes by itself, of reads and writes, but rarely and only where it looks; where AutoNUMA is
on, `write-faults` hears those as well.

What rounds cost the process: one pass over its page tables under its mmap lock, and a short fault for each page that it
writes afterwards. Both are measured, the fault on pages of our own. A round begins only when the one before has taken
less than 5 % of the time since. Threads of the target that begin later are traced too.
"""

import mmap
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from numaplace.kernel.errors import KernelCallError
from numaplace.kernel.page_faults import parse_faults
from numaplace.kernel.pagemap import PAGE_BYTES
from numaplace.kernel.soft_dirty import clear_soft_dirty, has_soft_dirty
from numaplace.kernel.sysfs import read_sysctl
from numaplace.kernel.tracefs import KERNEL_FAULT, USER_FAULT, TraceInstance
from numaplace.model.ids import CpuId, NodeId
from numaplace.profile.method import Progress, Usage, Votes
from numaplace.profile.target import Target
from numaplace.profile.tracing import Watch, drain, ending_early, instance, missing_event, wait

COST_SHARE: Final = 0.05
"""Of its time, the most that the rounds may cost a process."""
FAULT_S: Final = 2e-6
"""What a traced write fault costs where that was not measured."""
_TRIAL_PAGES: Final = 512
ROUND_S_MIN: Final = 0.25
_KERNEL_FROM: Final = 1 << 63


@dataclass(slots=True)
class Rounds:
    """When the next round may begin: pure, times in seconds since the run began; `fault_s` is what one fault costs."""

    fault_s: float = FAULT_S
    number: int = 0
    halt_s_max: float = 0.0
    next_s: float = 0.0
    _began_s: float = 0.0
    _halt_s: float = 0.0
    _faults: int = field(default=0)

    def began(self, now_s: float, halt_s: float) -> None:
        """A round began now, after a pass over the page tables that held the process's mmap lock so long."""
        self.number += 1
        self.halt_s_max = max(self.halt_s_max, halt_s)
        self._began_s, self._halt_s, self._faults = now_s, halt_s, 0
        self._plan()

    def saw(self, faults: int) -> None:
        """So many faults came in since."""
        self._faults += faults
        self._plan()

    def _plan(self) -> None:
        cost_s = self._halt_s + self._faults * self.fault_s
        self.next_s = self._began_s + max(ROUND_S_MIN, cost_s / COST_SHARE)


class Faults:
    """What a run has heard so far: votes, how many faults gave them or got lost, and when the next round may begin."""

    def __init__(self, node_of_cpu: Mapping[CpuId, NodeId], fault_s: float = FAULT_S) -> None:
        self.votes: Votes = {}
        self.seen = self.lost = self.unreadable = 0
        self.rounds = Rounds(fault_s)
        self._node_of_cpu = node_of_cpu

    def take(self, lines: list[bytes]) -> None:
        """Count the faults of these lines of the trace."""
        reading = parse_faults(lines)
        for cpu, address in reading.faults:
            node = self._node_of_cpu.get(cpu)
            if node is not None and address < _KERNEL_FROM:
                vote = (address - address % PAGE_BYTES, node)
                self.votes[vote] = self.votes.get(vote, 0.0) + 1.0
        self.seen += len(reading.faults)
        self.lost += reading.lost
        self.unreadable += reading.unreadable
        self.rounds.saw(len(reading.faults) + reading.lost)

    def remarks(self) -> list[str]:
        """What it cost, and what is missing, in words."""
        rounds = self.rounds
        said = [f"{self.seen} faults seen"]
        if rounds.number:
            cost_ms = 1000 * rounds.fault_s * (self.seen + self.lost)
            said = [f"{rounds.number} rounds, {self.seen} faults seen (about {cost_ms:.0f} ms of the process's time)"]
            said.append(f"its mmap lock was held for {1000 * rounds.halt_s_max:.1f} ms at most")
        if self.lost:
            said.append(f"{self.lost} faults came too fast to be read")
        if self.unreadable:
            said.append(f"{self.unreadable} lines of the trace were not understood")
        return said


def _measure_fault(trace: TraceInstance) -> float:
    """How many seconds a traced write fault takes: by pages of our own, written before and after clearing their bits.

    Takes the trace empty and not recording, and leaves it so.
    """
    trace.only_threads([threading.get_native_id()])
    trace.record(on=True)
    with mmap.mmap(-1, _TRIAL_PAGES * PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as pages:
        _write_each(pages)
        plain_s = _write_each(pages)
        clear_soft_dirty(os.getpid())
        faulting_s = _write_each(pages)
    trace.record(on=False)
    while not drain(trace, lambda _lines: None):
        pass
    return max(0.0, faulting_s - plain_s) / _TRIAL_PAGES


def _write_each(pages: mmap.mmap) -> float:
    """Write each page; how many seconds that took."""
    began_s = time.perf_counter()
    for start in range(0, len(pages), PAGE_BYTES):
        pages[start] = 1
    return time.perf_counter() - began_s


class FaultMethod:
    """Votes by page faults; with `rounds` it makes them, without it listens to AutoNUMA's."""

    def __init__(self, *, rounds: bool) -> None:
        self._rounds = rounds
        self.name = "write-faults" if rounds else "hint-faults"
        self.tells = "who writes each page" if rounds else "who reads or writes each page that AutoNUMA looks at"

    def missing(self) -> str | None:
        """What this host lacks for it."""
        lacking = missing_event(USER_FAULT)
        if lacking is not None:
            return lacking
        try:
            if self._rounds:
                return None if has_soft_dirty() else "this kernel keeps no soft-dirty bits (CONFIG_MEM_SOFT_DIRTY)"
            if read_sysctl("kernel/numa_balancing") & 1:
                return None
        except KernelCallError as error:
            return str(error)
        return "AutoNUMA is off: sysctl kernel.numa_balancing=1 would make it look, and also move pages"

    def unfit(self, target: Target) -> str | None:
        """It fits every process: each fault has a CPU."""
        del target
        return None

    def run(self, target: Target, seconds: float, progress: Progress) -> Usage:
        """Watch the process; see Method."""
        node_of_cpu = target.topology.memory_of_cpu
        faults = Faults(node_of_cpu)
        usage = Usage(faults.votes)
        with ending_early(usage, target.pid), instance(len(node_of_cpu)) as trace:
            trace.record(on=False)  # until it is said whose faults are wanted
            trace.enable(USER_FAULT)
            trace.enable(KERNEL_FAULT)
            if self._rounds:
                faults.rounds.fault_s = _measure_fault(trace)
            trace.only_threads(sorted(target.threads))
            trace.record(on=True)
            try:
                for watch in Watch(seconds).turns():
                    if drain(trace, faults.take):
                        self._perhaps_round(target.pid, watch, faults.rounds)
                        wait(trace)
                    progress(watch.part, f"{faults.seen} faults on {len(faults.votes)} pages")
            finally:
                trace.record(on=False)
                while not drain(trace, faults.take):
                    pass
        usage.remarks += faults.remarks()
        return usage

    def _perhaps_round(self, pid: int, watch: Watch, rounds: Rounds) -> None:
        """Begin a round if one is due, and everything of the one before has been read."""
        if self._rounds and watch.now_s >= rounds.next_s:
            began_s = watch.now_s
            clear_soft_dirty(pid)
            rounds.began(watch.now_s, watch.now_s - began_s)
