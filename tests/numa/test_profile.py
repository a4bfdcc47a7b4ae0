"""Who uses which page, on real kernels: two threads on two nodes, each with one half of an array, are told apart."""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from numaplace.model.ids import CpuId, NodeId
from numaplace.pagelog import PageLog, Place, read_log
from tests.harness.autonuma import autonuma
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


@pytest.mark.parametrize("name", ["two-6.12-v2", "two-6.1-v2"])
def test_huge_pages_are_told_apart_too(lab: Lab, name: str) -> None:
    """A huge page faults once a round, wherever it is written: its block goes to its thread's node."""
    guest = lab.guest(name)
    with autonuma(guest, on=False), halves(guest, pages="thp") as job:
        huge = 2 * MB
        blocks = frozenset(range(job.ready["address"], job.ready["address"] + JOB_MB * MB, huge))
        result = profile(guest, job, "--method", "write-faults")
        assert right_shares(job, targets(log_of(result), blocks), huge) == [1.0, 1.0]


@pytest.mark.parametrize("name", ["two-6.12-v2", "two-6.1-v2"])
def test_reads_are_seen_where_autonuma_looks(lab: Lab, name: str) -> None:
    """Threads that only read are told apart by AutoNUMA's hint faults."""
    guest = lab.guest(name)
    with autonuma(guest, on=True), halves(guest, "--read") as job:
        result = profile(guest, job, "--method", "hint-faults", "--format", "json", seconds=8)
        assert json.loads(result.stdout.splitlines()[0])["meta"]["method"] == "hint-faults"
        assert min(right_shares(job, targets(log_of(result)))) >= RIGHT_SHARE, result.stderr


def test_damon_tells_hot_from_cold(lab: Lab) -> None:
    """Of a job on one node, the quarter that is used weighs far more than the rest, and goes to that node."""
    guest = lab.guest("two-6.12-v2")
    with autonuma(guest, on=False), halves(guest, "--share", "0.25", "--read", second="0-1") as job:
        log = log_of(profile(guest, job, "--method", "damon", seconds=10))
        assert guest.read_text(DAMON).strip() == "0"
        start = job.ready["address"]
        weights = {address: sum(nodes.values()) for address, _, nodes in log._units(frozenset(), PAGE)}
        hot, cold = [0.0, 0.0], [0.0, 0.0]
        for page in range(2 * HALF_PAGES):
            side = hot if page % HALF_PAGES < HALF_PAGES // 4 else cold
            side[0] += weights.get(start + page * PAGE, 0.0)
            side[1] += 1
        assert hot[0] / hot[1] > 4 * cold[0] / cold[1]
        assert set(targets(log).values()) == {0}


def test_what_sees_no_who_refuses_a_job_on_two_nodes(lab: Lab) -> None:
    """It says which method would do, and changes nothing."""
    guest = lab.guest("two-6.12-v2")
    with halves(guest) as job:
        argv = ["numaplace", "profile", "--pid", str(job.pid), "--method", "damon"]
        result = guest.run(argv, check=False)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert "use write-faults" in result.stderr
        assert guest.read_text(DAMON).strip() == "0"
