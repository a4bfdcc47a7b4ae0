"""A private agent on a real kernel: a move by hand that is cancelled, one that is not, one whose asker is killed."""

import json
import time
from typing import Any

import pytest

from numaplace.kernel import numa_maps
from numaplace.model.ids import CpuId, NodeId
from tests.harness.job import Job
from tests.lab.guest import Guest
from tests.lab.pytest_plugin import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

MB = 1 << 20
JOB_MB = 64
WITHIN_S = 180.0


def kept_on(guest: Guest, job: Job, node: int) -> int:
    """The kernel's own count of the job's memory on a node, in bytes."""
    maps = numa_maps.parse(guest.read_text(f"/proc/{job.pid}/numa_maps"))
    area = next(mapping for mapping in maps if mapping.start == job.ready["address"])
    return area.pages_by_node.get(NodeId(node), 0) * 4096


def left_over(guest: Guest) -> str:
    """Private agents that run, and their folders."""
    find = "ls -d /tmp/numaplace-*/agent.sock; grep -lz 'node_agent[.]private' /proc/[0-9]*/cmdline"
    return guest.run(["sh", "-c", find], check=False).stdout


@pytest.mark.parametrize("name", ["two-6.1-v2", "two-6.12-v2"])
def test_a_move_by_hand_ends_as_whoever_asked_wants_it(lab: Lab, name: str) -> None:
    """Cancelled: some has moved, and no more does. Left alone: all. Its asker killed: it stops, and nothing is left."""
    guest = lab.guest(name)
    on_first = frozenset({CpuId(0), CpuId(1)})
    with Job(guest, ["tests.jobs.memory", "base", str(JOB_MB)], on_first) as job:
        with guest.popen(["python", "-u", "-m", "tests.jobs.by_hand", str(job.pid)]) as asker:
            lines = asker.lines(timeout_s=WITHIN_S)

            def said() -> dict[str, Any]:
                line = next(lines, None)
                assert line is not None, asker.wait(WITHIN_S)
                told: dict[str, Any] = json.loads(line)
                return told

            assert said()["serving_s"] > 0
            cancelled, whole = said(), said()
            assert (cancelled["state"], cancelled["words"].partition(";")[0]) == (
                "cancelled",
                "cancelled: as asked for",
            )
            assert 0 < cancelled["moved_bytes"] < JOB_MB * MB
            assert whole["moved_bytes"] + cancelled["moved_bytes"] >= JOB_MB * MB
            said()  # the third has begun
            asker.signal(9)
        deadline_s = time.monotonic() + WITHIN_S
        while left_over(guest) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        assert left_over(guest) == ""
        stayed = kept_on(guest, job, 1)
        assert 0 < stayed < JOB_MB * MB
        assert job.ask("check")["checksums"] == job.ready["checksums"]
        assert kept_on(guest, job, 1) == stayed
