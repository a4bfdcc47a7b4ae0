"""`numaplace show` on real kernels: the same pages as numastat -p and numa_maps, to the byte, and what could move."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from numaplace.kernel import numa_maps
from numaplace.kernel.numa_maps import NumaMapping
from numaplace.model.ids import CpuId
from tests.harness.autonuma import autonuma
from tests.harness.job import Job
from tests.harness.stage import Stage
from tests.lab.guest import Guest
from tests.lab.pytest_plugin import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

MB = 1 << 20
JOB_MB = 8
POOL = JOB_MB // 2
HUGE_FREE = 2
"""Pages in the pool of node 0, which the job leaves free: it lies on node 1."""
FIRST, SECOND = (0, 1), (2, 3)
"""The CPUs of the two nodes."""
LOOKS_MAX = 20
Shown = dict[str, Any]


@contextlib.contextmanager
def pools(guest: Guest, pages: Mapping[int, int]) -> Iterator[None]:
    """Huge pages on the nodes; afterwards as it was."""
    paths = {n: f"/sys/devices/system/node/node{n}/hugepages/hugepages-2048kB/nr_hugepages" for n in pages}
    found = {node: guest.read_text(path).strip() for node, path in paths.items()}
    try:
        for node, path in paths.items():
            guest.write(path, str(pages[node]))
        yield
    finally:
        for node, path in paths.items():
            guest.write(path, found[node])


@contextlib.contextmanager
def cgroup(guest: Guest, path: str, pids: list[int]) -> Iterator[None]:
    """A cgroup with these processes, which go back to the root's afterwards."""
    guest.run(["mkdir", "-p", path])
    try:
        for pid in pids:
            guest.write(f"{path}/cgroup.procs", str(pid))
        yield
    finally:
        for pid in pids:
            guest.write("/sys/fs/cgroup/cgroup.procs", str(pid))
        guest.run(["rmdir", path])


def show(guest: Stage, *arguments: str) -> Shown:
    """What the command says, without an agent."""
    told = guest.run(["numaplace", "show", *arguments, "--json", "--socket", "/nowhere"], timeout_s=300)
    shown: Shown = json.loads(told.stdout)
    return shown


def numastat(guest: Stage, pid: int) -> dict[str, list[float]]:
    """The rows of numastat -p: MB by node, and all of them."""
    lines = guest.run(["numastat", "-p", str(pid)]).stdout.splitlines()
    words = [line.split() for line in lines]
    return {row[0]: [float(value) for value in row[1:]] for row in words if len(row) == 4 and row[0].isalpha()}


def by_node(lines: list[NumaMapping]) -> dict[str, int]:
    """What numa_maps adds up to, as JSON names nodes."""
    total: dict[str, int] = {}
    for line in lines:
        for node, size in line.bytes_by_node.items():
            total[str(node)] = total.get(str(node), 0) + size
    return total


def at_rest(guest: Guest, pid: int) -> tuple[Shown, dict[str, list[float]], list[NumaMapping]]:
    """One moment seen by all three: looked at again if a page came or went between the first and the last."""
    for _ in range(LOOKS_MAX):
        before = list(numa_maps.parse(guest.read_text(f"/proc/{pid}/numa_maps")))
        seen = show(guest, str(pid)), numastat(guest, pid), before
        if by_node(list(numa_maps.parse(guest.read_text(f"/proc/{pid}/numa_maps")))) == by_node(before):
            return seen
    raise AssertionError("the job never comes to rest")


def mapping_of(shown: Shown, address: int, lines: list[NumaMapping]) -> Shown:
    """The mapping that holds an address."""
    line = max((line for line in lines if line.start <= address), key=lambda line: line.start)
    names = {f"{line.start:x}", line.file}
    (found,) = [m for m in shown["mappings"] if m["name"] in names and m["policy"] == str(line.policy)]
    return dict(found)


@pytest.mark.parametrize("name", ["two-6.1-v2", "two-6.12-v2"])
def test_the_same_pages_as_numastat_and_numa_maps(lab: Lab, name: str) -> None:
    """To the byte, by node and by kind; and once its CPUs are others, what could follow and what could not."""
    guest = lab.guest(name)
    job_cpus = frozenset(map(CpuId, SECOND))
    with (
        autonuma(guest, on=False),
        pools(guest, {0: HUGE_FREE, 1: POOL}),
        Job(guest, ["tests.jobs.mixed", str(JOB_MB)], job_cpus) as job,
    ):
        pids, areas = job.ready["pids"], job.ready["addresses"]
        shown, stat, lines = at_rest(guest, job.pid)
        assert shown["by_node"] == by_node(lines)
        for row, kinds in {"Huge": {"hugetlb"}, "Heap": {"heap"}, "Stack": {"stack"}}.items():
            assert_same(stat[row], [m for m in shown["mappings"] if m["kind"] in kinds])
        private = [m for m in shown["mappings"] if m["kind"] not in {"hugetlb", "heap", "stack"}]
        assert_same(stat["Private"], private)
        assert_same(stat["Total"], shown["mappings"])
        found = {kind: mapping_of(shown, address, lines) for kind, address in areas.items()}
        size = JOB_MB * MB
        assert (found["bound"]["policy"], found["bound"]["by_node"]) == ("bind:0", {"0": size})
        assert (found["thp"]["thp_bytes"], found["bound"]["thp_bytes"]) == (size, 0)
        assert (found["hugetlb"]["kind"], found["hugetlb"]["page_bytes"]) == ("hugetlb", 2 * MB)
        assert (found["file"]["kind"], found["file"]["deleted"]) == ("file", True)
        assert (found["shm"]["kind"], found["shm"]["shared_bytes"]) == ("shared", size)
        assert (shown["home"], shown["remote"]["stays"]) == ([1], {"shared": shown["remote"]["stays"].get("shared", 0)})

        job.pin(FIRST)
        guest.run(["taskset", "-pc", "0,1", str(pids[1])])
        away = show(guest, str(job.pid), "--threads")
        assert (away["home"], {tuple(thread["nodes"]) for thread in away["threads"]}) == ([0], {(0,)})
        assert away["remote"]["bytes"] == away["by_node"]["1"] >= 4 * size
        (pool,) = [m for m in away["mappings"] if m["kind"] == "hugetlb"]
        assert pool["by_node"] == {"1": size}
        assert away["free_huge"][str(2 * MB)] == {"0": HUGE_FREE * 2 * MB, "1": 0}
        assert away["remote"]["stays"]["hugetlb-pool"] == size - HUGE_FREE * 2 * MB
        assert away["remote"]["stays"]["shared"] >= size
        assert away["remote"]["movable_bytes"] >= 2 * size + HUGE_FREE * 2 * MB
        with cgroup(guest, "/sys/fs/cgroup/show-test", pids):
            both = show(guest, "/show-test")
        assert [process["pid"] for process in both["processes"]] == sorted(pids)
        (shm,) = [m for m in both["mappings"] if m["kind"] == "shared"]
        assert (shm["processes"], shm["shared_bytes"], shm["unknown_bytes"]) == (2, 0, 0)
        assert shm["by_node"] == {"1": 2 * size}


def assert_same(row: list[float], mappings: list[Shown]) -> None:
    """A row of numastat is what these mappings add up to, at its precision."""
    nodes = [sum(m["by_node"].get(str(node), 0) for m in mappings) / MB for node in (0, 1)]
    assert row == pytest.approx([*nodes, sum(nodes)], abs=0.0051)
