"""What is measured on this host itself: the agent at rest, and the cost of a task's residency per page.

Emulated times are good for ratios only; these two have bounds of their own.
"""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from node_agent.core.facts import ProcessRef
from node_agent.linux.host_memory import LinuxHostMemory
from node_agent.linux.residency import measure
from numaplace.client import NumaplaceError
from numaplace.kernel import procfs
from numaplace.kernel.errors import KernelCallError
from numaplace.kernel.pagemap import PAGE_BYTES
from numaplace.model.ids import CpuId
from tests.bench.follow.figures import GROUP
from tests.bench.records import NOTHING, AtMost, AtMostAbove, Record
from tests.harness.cluster import AgentProcess, Certificates, ClusterError, SchedulerProcess, wait_job
from tests.harness.job import Job
from tests.harness.stage import NativeStage
from tests.lab.process import GuestError

log = logging.getLogger(__name__)

THREADS = 2000
REST_S = 60.0
SETTLE_S = 15.0
CORE_PERCENT_MAX = 0.5
RSS_MB_MAX = 70.0
NS_PER_PAGE_MAX = 40.0
STALL_MS_MORE = 5.0
"""A time slice of whoever else runs; a stall by the reading would be of the length of the reading."""
BUSY_NS = 10_000_000
WINDOWS = 5
WINDOW_S = 1.0


class RestingAgent(AgentProcess):
    """An agent on this host, apart from any that is installed or shown here."""

    STATE = "/run/numaplace-bench"


def at_rest(quick: bool) -> Iterator[Record]:  # noqa: FBT001 - one of several measurements with the same shape
    """CPU time and memory of an agent that watches many threads and has nothing to do."""
    percent, rss_mb = _at_rest(REST_S / 10 if quick else REST_S)
    case = f"{THREADS} threads watched"
    yield Record(GROUP, "agent at rest, CPU", case, "% of a core", percent, bounds=(AtMost(CORE_PERCENT_MAX),))
    yield Record(GROUP, "agent at rest, memory", case, "MB", rss_mb, bounds=(AtMost(RSS_MB_MAX),))


def _at_rest(rest_s: float) -> tuple[float, float]:
    stage = NativeStage()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="numaplace-bench-")))
        certificates = Certificates.make(folder / "certs", ("rest",))
        scheduler = stack.enter_context(SchedulerProcess(folder, certificates))
        client = stack.enter_context(scheduler.client())
        # What an earlier run followed is none of this one's rest.
        shutil.rmtree(RestingAgent.STATE, ignore_errors=True)
        stack.callback(shutil.rmtree, RestingAgent.STATE, ignore_errors=True)
        agent = RestingAgent(stage, "rest", scheduler, certificates)
        agent.start()
        stack.callback(agent.kill)
        agent.wait_connected(client)
        everywhere = frozenset(CpuId(cpu) for cpu in os.sched_getaffinity(0))
        job = stack.enter_context(Job(stage, ["tests.bench.follow.sleepers", str(THREADS)], everywhere))
        agent.adopt("rest", job.pid)
        wait_job(client, "rest")
        time.sleep(SETTLE_S)
        before_s, began_s = _cpu_s(agent.pid), time.monotonic()
        time.sleep(rest_s)
        percent = 100 * (_cpu_s(agent.pid) - before_s) / (time.monotonic() - began_s)
        return percent, procfs.read_stat(agent.pid).rss_pages * PAGE_BYTES / 1e6


def _cpu_s(pid: int) -> float:
    """CPU time of a process and all its threads, also those that have ended."""
    stat = procfs.read_stat(pid)
    return (stat.user_ticks + stat.system_ticks) / os.sysconf("SC_CLK_TCK")


def residency(quick: bool) -> Iterator[Record]:  # noqa: FBT001 - one of several measurements with the same shape
    """What it costs to locate a task's pages, and what the task feels of it."""
    everywhere = frozenset(CpuId(cpu) for cpu in os.sched_getaffinity(0))
    size_mb = 256 if quick else 1024
    host = LinuxHostMemory()
    with Job(NativeStage(), ["tests.jobs.hot", str(size_mb), "base"], everywhere) as job:
        identity = procfs.read_identity(job.pid)
        task = (ProcessRef(identity.pid, identity.start_ticks),)
        costs: list[float] = []
        with_us: list[tuple[float, float]] = []
        without: list[tuple[float, float]] = []
        for _ in range(WINDOWS):
            without.append(_felt(job, _be_busy))
            with_us.append(_felt(job, lambda: costs.append(_ns_per_page(host, task))))
    case = f"{size_mb} MB hot 4 KB"
    yield Record(GROUP, "residency of a task", case, "ns/page", median(costs), bounds=(AtMost(NS_PER_PAGE_MAX),))
    for figure, at in (("longest mmap() while located", 0), ("longest touch while located", 1)):
        yield Record(
            GROUP, figure, case, "ms", median(felt[at] for felt in with_us),
            {NOTHING: median(felt[at] for felt in without)}, (AtMostAbove(STALL_MS_MORE, NOTHING),),
        )  # fmt: skip


def _felt(job: Job, do: Callable[[], None]) -> tuple[float, float]:
    """The job's longest mmap() and touch while something is done again and again."""
    job.ask("stalls")
    until_s = time.monotonic() + WINDOW_S
    while time.monotonic() < until_s:
        do()
    stalls = job.ask("stalls")
    return stalls["mmap_ms"], stalls["touch_ms"]


def _be_busy() -> None:
    """As much work as locating takes, on nobody's memory: what is left between the two is the locating's."""
    until_ns = time.thread_time_ns() + BUSY_NS
    while time.thread_time_ns() < until_ns:
        pass


def _ns_per_page(host: LinuxHostMemory, task: tuple[ProcessRef, ...]) -> float:
    """CPU time, ours and the kernel's on our behalf: on a machine that others use too, time by the clock is theirs."""
    began_ns = time.thread_time_ns()
    measured = measure(host, task)
    return (time.thread_time_ns() - began_ns) / (measured.residency.resident_bytes / PAGE_BYTES)


@dataclass(frozen=True, slots=True)
class NativeCase:
    """A measurement on this host and the figures it gives, for when it fails."""

    measure: Callable[[bool], Iterator[Record]]
    figures: tuple[str, ...]


CASES: Mapping[str, NativeCase] = {
    "native: agent at rest": NativeCase(at_rest, ("agent at rest, CPU", "agent at rest, memory")),
    "native: residency": NativeCase(
        residency, ("residency of a task", "longest mmap() while located", "longest touch while located")
    ),
}


def measured(name: str, *, quick: bool) -> Iterator[Record]:
    """The records of a case; if it fails, its figures without values."""
    case = CASES[name]
    try:
        yield from list(case.measure(quick))
    except (ClusterError, GuestError, NumaplaceError, KernelCallError, OSError, StopIteration) as error:
        log.warning("%s: not measured: %s", name, error)
        yield from (Record(GROUP, figure, "native", "", None) for figure in case.figures)
