"""``numaplace run`` beside the real numactl, on real kernels: the same options, the same policy, the same CPUs."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from numaplace.kernel import numa_maps
from numaplace.model.ids import CpuId, NodeId
from tests.harness.autonuma import autonuma
from tests.harness.cluster import polls
from tests.harness.job import Cpusets, Job
from tests.lab.guest import Guest
from tests.lab.pytest_plugin import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

EVERYWHERE = (
    "--membind=0-1", "-m !0", "-b -m 1", "-p 1", "-P 0,1", "-i all", "-l", "-N 1 -m +0", "-C +1-2", "-C !0",
)  # fmt: skip
REFUSED = ("-m 7", "-m 0 -i 1", "-C 9", "-p 0,1")
IN_A_CPUSET = ("-m all --", "-N +0", "-C all", "-a -i 0-1 -N all")
OUTSIDE_THE_CPUSET = ("-m 0", "-C 0", "-a -m 0")
"""For a cpuset of node 1 and its CPUs."""
WEIGHTED = "-w all"


Row = dict[str, Any]


def both_did(guest: Guest, *options: str) -> dict[str, Row]:
    """What numactl and we did with each of these; all at once, as beginning takes seconds in a guest."""
    done = guest.run(["python", "-m", "tests.jobs.bound", *options], timeout_s=600)
    return {row["options"]: row for row in json.loads(done.stdout.splitlines()[-1])}


def check_weighted(row: Row, kernel: str) -> None:
    """The packaged numactl does not know it: the kernel's own word is what counts."""
    if kernel == "6.1":
        assert row["code"] == 1
        assert "needs Linux 6.9" in row["words"]
    else:
        assert row["policies"] == [["WEIGHTED_INTERLEAVE", 0, [0, 1]]]


@pytest.mark.parametrize("name", ["two-6.1-v2", "two-6.12-v2"])
def test_what_numactl_does(lab: Lab, name: str) -> None:
    """The policies of numa_maps and the affinity are numactl's for each option; what it refuses is refused in words."""
    guest = lab.guest(name)
    cpusets = Cpusets(guest, "run-alike")
    cpusets.make("one", frozenset({CpuId(2), CpuId(3)}), frozenset({NodeId(1)}))
    found = both_did(guest, *EVERYWHERE, *REFUSED, WEIGHTED, cpusets.path("one"), *IN_A_CPUSET, *OUTSIDE_THE_CPUSET)
    guest.run(["rmdir", cpusets.path("one"), cpusets.path("")])
    for options in EVERYWHERE + IN_A_CPUSET:
        row = found[options]
        assert row["ours"] == row["numactl"], row
        assert row["ours"]["code"] == 0
        assert row["ours"]["policies"]
    for options in REFUSED + OUTSIDE_THE_CPUSET:
        assert found[options]["numactl"]["code"] != 0
        assert found[options]["ours"]["code"] in {1, 2}
        assert "Traceback" not in found[options]["ours"]["words"]
    for options in OUTSIDE_THE_CPUSET:
        words = found[options]["ours"]["words"]
        assert any(reason in words for reason in ("cpuset allows", "cpuset, which allows", "may use, 2-3")), words
    check_weighted(found[WEIGHTED]["ours"], guest.description.kernel)


JOB_MB = 48
SHARE_HOME = 0.95
WITHIN_S = 120.0
PID = "/run/run-follow.pid"
SOCKET = "/run/run-follow.sock"
SAY_PID = ["--", "sh", "-c", f'echo $$ > {PID}; exec "$@"', "sh"]
STATE = "/run/run-follow"
OWN_AGENT = [
    "python", "-m", "node_agent", "run", "--host", "guest", "--mode", "at-once", "--state-dir", STATE,
    "--socket", SOCKET,
]  # fmt: skip


@contextlib.contextmanager
def the_hosts_agent(guest: Guest) -> Iterator[list[str]]:
    """An agent that listens in the guest; the options that name it."""
    with guest.popen(OWN_AGENT):
        for _ in polls(WITHIN_S):
            if guest.run(["test", "-S", SOCKET], check=False).exit_code == 0:
                break
        yield ["--socket", SOCKET]
    guest.run(["rm", "-rf", SOCKET, STATE])


def home_share(guest: Guest, pid: int, address: int) -> float:
    """How much of the job's memory is on node 1, by the kernel's own word; its mapping may begin before it."""
    mappings = numa_maps.parse(guest.read_text(f"/proc/{pid}/numa_maps"))
    area = max((mapping for mapping in mappings if mapping.start <= address), key=lambda mapping: mapping.start)
    return area.bytes_by_node.get(NodeId(1), 0) / (JOB_MB << 20)


def check_counted(guest: Guest, options: list[str]) -> None:
    """``numaplace counters`` has the agent's moves, and their own part of what the host counted meanwhile."""
    moves: list[dict[str, Any]] = []
    for _ in polls(WITHIN_S):
        moves = json.loads(guest.run(["numaplace", "counters", "--json", *options]).stdout)["moves"]
        if moves:
            break
    ours = sum(move["counters"]["ours"]["pgmigrate_success"] for move in moves)
    host = sum(move["counters"]["host"]["pgmigrate_success"] for move in moves)
    assert SHARE_HOME * (JOB_MB << 20) / 4096 <= ours <= host


@pytest.mark.parametrize("name", ["two-6.1-v2", "two-6.12-v2"])
def test_the_pages_of_a_followed_program_follow(lab: Lab, name: str) -> None:
    """By an agent of its own (6.12), which ends with it, and by the host's (6.1), which knows it by its name."""
    guest = lab.guest(name)
    with contextlib.ExitStack() as stack:
        stack.enter_context(autonuma(guest, on=False))
        private = name == "two-6.12-v2"
        options = [] if private else stack.enter_context(the_hosts_agent(guest))
        prefix = ["numaplace", "run", "-N", "0", "-l", "--follow", "--name", "mine", *options, *SAY_PID]
        first = frozenset({CpuId(0), CpuId(1)})
        job = stack.enter_context(Job(guest, ["tests.jobs.hot", str(JOB_MB), "base", "--cold"], first, prefix))
        parent, job.pid = job.pid, int(guest.read_text(PID))
        assert (parent == job.pid) is not private
        assert home_share(guest, job.pid, job.ready["address"]) == 0
        job.pin({2, 3})
        for _ in polls(WITHIN_S):
            if home_share(guest, job.pid, job.ready["address"]) >= SHARE_HOME:
                break
        assert home_share(guest, job.pid, job.ready["address"]) >= SHARE_HOME
        assert job.ask("check")["checksum"] == job.ready["checksum"]
        if not private:
            check_counted(guest, options)
