"""Pages that AutoNUMA has marked, on the kernel whose move_pages does not find them."""

import json

import pytest

from numaplace.model.ids import CpuId
from tests.harness.autonuma import autonuma
from tests.harness.job import Job
from tests.lab.pytest_plugin import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

MB = 1 << 20
JOB_MB = 32
FIRST, SECOND = frozenset({CpuId(0), CpuId(1)}), "2,3"
"""The CPUs of the two nodes."""


@pytest.mark.parametrize(("pages", "page_bytes"), [("base", 4096), ("thp", 2 * MB)])
def test_marked_pages_are_revealed_where_they_lie(lab: Lab, pages: str, page_bytes: int) -> None:
    """Marked pages are hidden, base pages and huge ones; reading reveals them all, and carries none to the reader."""
    guest = lab.guest("two-6.1-v2")
    with autonuma(guest, on=True), Job(guest, ["tests.jobs.hot", str(JOB_MB), pages, "--cold"], FIRST) as job:
        start = job.ready["address"]
        words = [str(word) for word in (job.pid, start, start + JOB_MB * MB, page_bytes)]
        told = guest.run(["taskset", "-c", SECOND, "python", "-m", "tests.jobs.reveal", *words], timeout_s=300)
        found = json.loads(told.stdout)
        count = JOB_MB * MB // page_bytes
        assert found["hidden"] >= 0.9 * count
        assert found["revealed"] == count
        assert found["still_hidden"] == 0
        assert found["nodes"] == found["nodes_after"] == [0]
        assert found["measured_without_frames"] == JOB_MB * MB // 4096
        assert "checksum" in job.ask("check")
