"""Moves by hand on real kernels, by the real command: pages where they should be, true words, files as asked."""

import json
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from numaplace.cli.handover import NEXT_TO_NOTHING_BYTES
from numaplace.cli.units import parse_size
from numaplace.kernel import numa_maps
from numaplace.model.cpuset import parse_nodes
from numaplace.model.ids import CpuId, NodeId, Nodes
from tests.harness.autonuma import autonuma
from tests.harness.cluster import polls
from tests.harness.job import Cpusets, Job
from tests.lab.guest import Guest
from tests.lab.process import Result
from tests.lab.pytest_plugin import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

MB = 1 << 20
JOB_MB = 48
GUESTS = ("two-6.12-v2", "two-6.1-v2", "two-6.1-v1")
N0, N1 = NodeId(0), NodeId(1)
FIRST, SECOND = frozenset({CpuId(0), CpuId(1)}), frozenset({CpuId(2), CpuId(3)})
WITHIN_S = 240.0
OK, STAYED, INTERRUPTED = 0, 5, 130
DONE = {OK, STAYED}
"""Python's own libraries are mapped by others too, and stay."""
SLIGHT_BYTES = MB // 2


STATE = "/run/numaplace-hand"
SOCKET = f"{STATE}/agent.sock"
AGENT = ["python", "-m", "node_agent", "run", "--state-dir", STATE, "--socket", SOCKET]


@contextmanager
def agent(guest: Guest) -> Iterator[None]:
    """An agent that follows nothing: one of each command's own would start again and again, slowly in a guest."""
    guest.run(["rm", "-rf", STATE])
    with guest.popen(AGENT) as running:
        for _ in polls(WITHIN_S):
            if guest.run(["test", "-S", SOCKET], check=False).exit_code == 0:
                break
        yield
        running.kill()


@dataclass(frozen=True, slots=True)
class Scene:
    """A job that touches nothing, its pages on node 0, on a kernel that moves none on its own."""

    guest: Guest
    job: Job

    def command(self, *arguments: str) -> Result:
        """Run ``numaplace``, whatever it ends with."""
        return self.guest.run(["numaplace", *arguments, "--socket", SOCKET], timeout_s=WITHIN_S, check=False)

    def told(self, *arguments: str) -> dict[str, Any]:
        """Run ``numaplace … --json`` to a good end: what it tells."""
        ended = self.command(*arguments, "--json")
        assert ended.exit_code in DONE, f"{ended.stdout}\n{ended.stderr}"
        found: dict[str, Any] = json.loads(ended.stdout)
        return found

    def mappings(self) -> tuple[numa_maps.NumaMapping, ...]:
        """What the kernel itself says of the job's pages."""
        return tuple(numa_maps.parse(self.guest.read_text(f"/proc/{self.job.pid}/numa_maps")))

    def own(self) -> dict[int, Mapping[NodeId, int]]:
        """Its own memory, which no other process maps, by mapping and node."""
        return {each.start: each.bytes_by_node for each in self.mappings() if each.anon and each.mapmax == 1}

    def area_nodes(self) -> Nodes:
        """The nodes of the array that it filled, which may be one mapping with a little else."""
        array = max(each for each in self.own() if each <= self.job.ready["address"])
        assert sum(self.own()[array].values()) >= JOB_MB * MB
        return frozenset(self.own()[array])

    def bytes_at(self, node: NodeId) -> int:
        """All of its pages there."""
        return sum(each.bytes_by_node.get(node, 0) for each in self.mappings())

    def demand_unchanged(self) -> None:
        """Not a byte of it has changed."""
        assert self.job.ask("check")["checksum"] == self.job.ready["checksum"]


@contextmanager
def scene(guest: Guest) -> Iterator[Scene]:
    """The job on the first node's CPUs."""
    argv = ["tests.jobs.hot", str(JOB_MB), "base", "--cold"]
    with autonuma(guest, on=False), agent(guest), Job(guest, argv, FIRST) as job:
        yield Scene(guest, job)


@pytest.mark.parametrize("name", GUESTS)
def test_a_move_puts_pages_where_migratepages_does(lab: Lab, name: str) -> None:
    """The same pages of the job's own on the same nodes, and an account that agrees with the kernel."""
    with scene(lab.guest(name)) as on:
        pid = str(on.job.pid)
        assert on.area_nodes() == {N0}
        on.guest.run(["migratepages", pid, "0", "1"], timeout_s=WITHIN_S)
        theirs = on.own()
        on.guest.run(["migratepages", pid, "1", "0"], timeout_s=WITHIN_S)
        before = on.bytes_at(N1)
        foretold = on.told("move", "--pid", pid, "--from", "0", "--to", "1", "--dry-run")
        assert on.area_nodes() == {N0}
        outcome = on.told("move", "--pid", pid, "--from", "0", "--to", "1")
        ours = on.own()  # some of it has grown meanwhile
        assert {at: set(ours[at]) for at in theirs if at in ours} == {
            at: set(theirs[at]) for at in theirs if at in ours
        }
        assert on.area_nodes() == {N1}
        assert abs(on.bytes_at(N1) - before - outcome["moved_bytes"]) <= SLIGHT_BYTES, outcome
        assert abs(foretold["move_bytes"] - outcome["moved_bytes"]) <= SLIGHT_BYTES, foretold
        assert outcome["move"].startswith("hand-")
        on.demand_unchanged()


@pytest.mark.parametrize("name", ["two-6.12-v2", "two-6.1-v2"])
def test_ctrl_c_ends_a_move_and_what_it_says_is_true(lab: Lab, name: str) -> None:
    """SIGINT to the real command in mid-move: its code, and how far it came by the kernel's own word."""
    with scene(lab.guest(name)) as on:
        before = on.bytes_at(N1)
        slow = ["--from", "0", "--to", "1", "--pace", "4M", "--socket", SOCKET]
        with on.guest.popen(["numaplace", "move", "--pid", str(on.job.pid), *slow]) as moving:
            assert next(moving.lines("stderr", timeout_s=WITHIN_S)).startswith("moved ")
            moving.signal(signal.SIGINT)
            ended = moving.wait(WITHIN_S)
        assert ended.exit_code == INTERRUPTED, ended.stderr
        said = re.match(r"cancelled: (\S+ \S+) moved", ended.stdout)
        assert said is not None, ended.stdout
        moved = on.bytes_at(N1) - before
        assert 0 < moved < JOB_MB * MB
        assert abs(parse_size(said[1]) - moved) <= SLIGHT_BYTES
        assert "not-reached" in ended.stdout
        on.demand_unchanged()


@pytest.mark.parametrize("name", GUESTS)
def test_pages_follow_every_change_of_a_cpuset(lab: Lab, name: str) -> None:
    """CPUs, nodes, another cpuset: the pages end where they should, and the files say what was asked for."""
    with scene(lab.guest(name)) as on:
        cpusets = Cpusets(on.guest, f"numaplace-hand-{on.job.pid}")
        if cpusets.v1:
            on.guest.write(cpusets.path("") + "/cpuset.memory_migrate", "1")
        cpusets.make("a", FIRST)
        cpusets.make("b", SECOND, frozenset({N1}))
        cpusets.attach("a", on.job.pid)

        def mems(group: str) -> Nodes:
            return parse_nodes(on.guest.read_text(f"{cpusets.path(group)}/cpuset.mems"))

        on.told("cpuset", "cpus", cpusets.path("a"), "2-3")
        assert on.area_nodes() == {N1}
        assert on.guest.read_text(f"{cpusets.path('a')}/cpuset.cpus").strip() == "2-3"

        told = on.told("cpuset", "mems", cpusets.path("a"), "0")
        assert on.area_nodes() == {N0}
        assert mems("a") == {N0}
        demand_calm(told)

        told = on.told("cpuset", "move", str(on.job.pid), cpusets.path("b"))
        assert on.area_nodes() == {N1}
        assert mems("b") == {N1}
        assert str(on.job.pid) in on.guest.read_text(f"{cpusets.path('b')}/cgroup.procs").split()
        demand_calm(told)
        on.demand_unchanged()


def demand_calm(told: dict[str, Any]) -> None:
    """It was done, and by us: when the nodes were narrowed the kernel found next to nothing to move."""
    assert told["handed"]["state"] == "done", told
    outcome = told["handed"]["moved"]["outcome"]
    assert outcome["moved_bytes"] >= JOB_MB * MB
    assert sum(outcome["left"].values()) <= NEXT_TO_NOTHING_BYTES, told


@pytest.mark.parametrize("pages", ["base", "thp"])
def test_pages_go_to_whom_a_profile_says_uses_them(lab: Lab, pages: str) -> None:
    """Two threads on two nodes, each with one half of an array: after profile | move both halves are local."""
    guest = lab.guest("two-6.12-v2")
    argv = ["tests.jobs.halves", "16", pages, "0-1", "2-3"]
    with autonuma(guest, on=False), agent(guest), Job(guest, argv, FIRST) as job:
        pid, start, half = job.pid, job.ready["address"], job.ready["size_bytes"] // 2
        line = f"numaplace profile --pid {pid} --seconds 5 | numaplace move --pid {pid} --pages - --socket {SOCKET}"
        ended = guest.run(["sh", "-c", line], timeout_s=WITHIN_S, check=False)
        assert ended.exit_code in DONE, f"{ended.stdout}\n{ended.stderr}"
        locate = (
            "import sys; from numaplace.mempolicy import locate; pid, start, size = map(int, sys.argv[1:])\n"
            "print(*locate(range(start, start + size, 4096), pid=pid))"
        )
        asked = ["python", "-c", locate, str(pid), str(start), str(2 * half)]
        where = guest.run(asked, timeout_s=WITHIN_S).stdout.split()
        first, second = where[: len(where) // 2], where[len(where) // 2 :]
        assert first.count("0") >= 0.95 * len(first), ended.stderr
        assert second.count("1") >= 0.95 * len(second), ended.stderr
        assert job.ask("check")["checksum"] == job.ready["checksum"]
