"""Who uses which page, on real kernels: two threads on two nodes, each with one half of an array, are told apart."""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from numaplace.model.ids import CpuId, NodeId
from numaplace.pagelog import PageLog, Place, read_log
from tests.harness.autonuma import SLOW, autonuma
from tests.harness.cluster import polls
from tests.harness.job import Job
from tests.lab.guest import Guest
from tests.lab.process import Result
from tests.lab.pytest_plugin import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

MB = 1 << 20
PAGE = 4096
JOB_MB = 16
HALF_PAGES = JOB_MB * MB // PAGE // 2
FIRST = frozenset({CpuId(0), CpuId(1)})
PLACE = Place(PAGE, frozenset({NodeId(0), NodeId(1)}), {CpuId(cpu): NodeId(cpu // 2) for cpu in range(4)})
RIGHT_SHARE = 0.95
TRACES = "/sys/kernel/tracing/instances"
WITHIN_S = 120.0
SEEN = f"{TRACES}/numaplace-*/per_cpu/*/stats"
DAMON = "/sys/kernel/mm/damon/admin/kdamonds/nr_kdamonds"


def profile(guest: Guest, job: Job, *options: str, seconds: float = 5) -> Result:
    """Profile a job in its guest; nothing may be left in the kernel afterwards."""
    argv = ["numaplace", "profile", "--pid", str(job.pid), "--seconds", str(seconds), *options]
    result = guest.run(argv, timeout_s=300)
    assert guest.run(["ls", TRACES]).stdout == ""
    return result


def log_of(result: Result) -> PageLog:
    """The log that was written."""
    return read_log(io.BytesIO(result.stdout.encode()), PLACE)


def targets(log: PageLog, huge_blocks: frozenset[int] = frozenset()) -> Mapping[int, int]:
    """The node that each page shall go to."""
    picking = log.pick(huge_blocks=huge_blocks)
    return dict(zip(picking.addresses, picking.nodes, strict=True))


@contextmanager
def halves(guest: Guest, *options: str, second: str = "2-3", pages: str = "base") -> Iterator[Job]:
    """The job, its array on node 0, its threads on the CPUs of node 0 and on `second`."""
    with Job(guest, ["tests.jobs.halves", str(JOB_MB), pages, "0-1", second, *options], FIRST) as job:
        yield job


def right_shares(job: Job, found: Mapping[int, int], page_bytes: int = PAGE) -> list[float]:
    """Of each half the share of its pages that is to go to the node of its thread."""
    half_bytes = JOB_MB * MB // 2
    starts = (job.ready["address"], job.ready["address"] + half_bytes)
    pages = half_bytes // page_bytes
    return [
        sum(found.get(start + page * page_bytes) == node for page in range(pages)) / pages
        for node, start in enumerate(starts)
    ]


@pytest.mark.parametrize("name", ["two-6.12-v2", "two-6.1-v2"])
def test_each_half_is_seen_from_the_node_of_its_thread(lab: Lab, name: str) -> None:
    """The best method for such a job is found, and tells for nearly every page of each half who writes it."""
    guest = lab.guest(name)
    with autonuma(guest, on=False), halves(guest) as job:
        before = job.ask("rounds")["rounds"]
        result = profile(guest, job)
        after = job.ask("rounds")["rounds"]
        assert "by write-faults" in result.stderr
        assert min(right_shares(job, targets(log_of(result)))) >= RIGHT_SHARE, result.stderr
        assert all(later > earlier for earlier, later in zip(before, after, strict=True))
        assert job.ask("check")["checksum"] == job.ready["checksum"]


def test_huge_pages_are_told_apart_too(lab: Lab) -> None:
    """A huge page faults once a round, wherever it is written: its block goes to its thread's node."""
    guest = lab.guest("two-6.12-v2")
    with autonuma(guest, on=False), halves(guest, pages="thp") as job:
        huge = 2 * MB
        blocks = frozenset(range(job.ready["address"], job.ready["address"] + JOB_MB * MB, huge))
        result = profile(guest, job, "--method", "write-faults")
        assert right_shares(job, targets(log_of(result), blocks), huge) == [1.0, 1.0]


@pytest.mark.parametrize("name", ["two-6.12-v2", "two-6.1-v2"])
def test_reads_are_seen_where_autonuma_looks(lab: Lab, name: str) -> None:
    """Threads that only read are told apart by AutoNUMA's hint faults, page by page as it comes to look at them."""
    guest = lab.guest(name)
    with autonuma(guest, on=True, pace=SLOW), halves(guest, "--read") as job:
        result = profile(guest, job, "--method", "hint-faults", "--format", "json", seconds=10)
        assert json.loads(result.stdout.splitlines()[0])["meta"]["method"] == "hint-faults"
        found = targets(log_of(result))
        start, end = job.ready["address"], job.ready["address"] + JOB_MB * MB
        seen = [(page, node) for page, node in found.items() if start <= page < end]
        assert len(seen) >= HALF_PAGES // 4, result.stderr
        right = sum(node == (page - start) // (HALF_PAGES * PAGE) for page, node in seen)
        assert right >= RIGHT_SHARE * len(seen)


@pytest.mark.parametrize(
    ("name", "method"), [("two-6.12-v2", "damon"), ("two-6.12-v2", "written"), ("two-6.1-v2", "written")]
)
def test_hot_is_told_from_cold(lab: Lab, name: str, method: str) -> None:
    """Of a job on one node, the quarter that is used weighs far more than the rest, and goes to that node."""
    guest = lab.guest(name)
    with autonuma(guest, on=False), halves(guest, "--share", "0.25", second="0-1") as job:
        log = log_of(profile(guest, job, "--method", method, seconds=8))
        start = job.ready["address"]
        weights = {address: sum(nodes.values()) for address, _, nodes in log._units(frozenset(), PAGE)}
        hot, cold = 0.0, 0.0
        for page in range(2 * HALF_PAGES):
            weight = weights.get(start + page * PAGE, 0.0)
            if page % HALF_PAGES < HALF_PAGES // 4:
                hot += weight
            else:
                cold += weight / 3  # there is three times as much of it
        assert hot > 4 * cold
        assert set(targets(log).values()) == {0}


def test_an_interrupted_profile_leaves_nothing_behind(lab: Lab) -> None:
    """SIGTERM in mid-watch: DAMON is off again, the trace is gone, and what was seen is written."""
    guest = lab.guest("two-6.12-v2")
    with halves(guest, second="0-1") as job:
        argv = ["numaplace", "profile", "--pid", str(job.pid), "--method", "damon", "--seconds", "600"]
        with guest.popen(argv) as running:
            for _ in polls(WITHIN_S):
                if guest.run(["sh", "-c", f"grep -l 'read events: [0-9]\\{{4\\}}' {SEEN}"], check=False).exit_code == 0:
                    break
            running.signal(15)
            result = running.wait(WITHIN_S)
        assert "ended early: interrupted" in result.stderr
        assert guest.read_text(DAMON).strip() == "0"
        assert guest.run(["ls", TRACES]).stdout == ""
        assert result.exit_code == 0
