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
NEARLY_ALL = 0.9
"""AutoNUMA passes over what is in use by the kernel just then."""
FIRST, SECOND = frozenset({CpuId(0), CpuId(1)}), "2,3"
"""The CPUs of the two nodes."""


@pytest.mark.parametrize(("pages", "page_bytes"), [("base", 4096), ("thp", 2 * MB)])
def test_marked_pages_are_revealed_where_they_lie(lab: Lab, pages: str, page_bytes: int) -> None:
    """Marked pages are hidden, base pages and huge ones; reading reveals them all, and carries none to the reader."""
    guest = lab.guest("two-6.1-v2")
    with autonuma(guest, on=True), Job(guest, ["tests.jobs.hot", str(JOB_MB), pages, "--cold"], FIRST) as job:
        start = job.ready["address"]
        words = [str(word) for word in (job.pid, start, start + JOB_MB * MB, page_bytes)]
        job.ask("mark")
        with guest.popen(["taskset", "-c", SECOND, "python", "-m", "tests.jobs.reveal", *words]) as reveal:
            lines = reveal.lines(timeout_s=300)
            first = json.loads(next(lines))
            job.ask("mark")
            reveal.write("again\n")
            second = json.loads(next(lines))
        count = JOB_MB * MB // page_bytes
        assert min(first["hidden"], second["hidden"]) >= NEARLY_ALL * count
        assert first["revealed"] == count
        assert first["still_hidden"] == 0
        assert first["nodes"] == first["nodes_after"] == [0]
        assert second["measured_without_frames"] == JOB_MB * MB // 4096
        assert "checksum" in job.ask("check")
