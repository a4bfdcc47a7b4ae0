"""``numaplace run`` beside the real numactl, on real kernels: the same options, the same policy, the same CPUs."""

import json
from typing import Any

import pytest

from numaplace.model.ids import CpuId, NodeId
from tests.harness.job import Cpusets
from tests.lab.guest import Guest
from tests.lab.pytest_plugin import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

EVERYWHERE = (
    "--membind=0-1", "-m !0", "-b -m 1", "-p 1", "-P 0,1", "-i all", "-l", "-N 1 -m +0", "-C +1-2", "-C !0 --",
)  # fmt: skip
REFUSED = ("-m 7", "-m 0 -i 1", "-C 9", "-p 0,1")
IN_A_CPUSET = ("-m all", "-N +0", "-C all", "-a -i 0-1 -N all")
OUTSIDE_THE_CPUSET = ("-m 0", "-C 0", "-a -m 0")
"""For a cpuset of node 1 and its CPUs."""


def rows(guest: Guest, options: tuple[str, ...], cgroup: str = "") -> list[dict[str, Any]]:
    """What both did with each of these."""
    enter = f"echo $$ > {cgroup}/cgroup.procs && " if cgroup else ""
    script = f'{enter}exec python -m tests.jobs.bound "$@"'
    found: list[dict[str, Any]] = json.loads(
        guest.run(["sh", "-c", script, "sh", *options], timeout_s=300).stdout.splitlines()[-1]
    )
    return found


def check_alike(found: list[dict[str, Any]]) -> None:
    """The program ran under both, and saw the same."""
    for row in found:
        assert row["ours"] == row["numactl"], row
        assert row["ours"]["code"] == 0
        assert row["ours"]["policies"]


@pytest.mark.parametrize("name", ["two-6.1-v2", "two-6.12-v2"])
def test_what_numactl_does(lab: Lab, name: str) -> None:
    """The policies of numa_maps and the affinity are numactl's for each option; what it refuses is refused in words."""
    guest = lab.guest(name)
    check_alike(rows(guest, EVERYWHERE))
    for row in rows(guest, REFUSED):
        assert row["numactl"]["code"] != 0
        assert row["ours"]["code"] == 2
        assert "Traceback" not in row["ours"]["words"]
    cpusets = Cpusets(guest, "run-alike")
    cpusets.make("one", frozenset({CpuId(2), CpuId(3)}), frozenset({NodeId(1)}))
    check_alike(rows(guest, IN_A_CPUSET, cpusets.path("one")))
    for row in rows(guest, OUTSIDE_THE_CPUSET, cpusets.path("one")):
        assert row["numactl"]["code"] != 0
        assert row["ours"]["code"] in {1, 2}
        assert any(words in row["ours"]["words"] for words in ("cpuset allows", "cpuset, which allows", "may use, 2-3"))
    guest.run(["rmdir", cpusets.path("one"), cpusets.path("")])


@pytest.mark.parametrize(("name", "code"), [("two-6.1-v2", 1), ("two-6.12-v2", 0)])
def test_weighted_interleave_is_there_or_said_not_to_be(lab: Lab, name: str, code: int) -> None:
    """The packaged numactl does not know it: the kernel's own word is what counts."""
    (row,) = rows(lab.guest(name), ("-w all",))
    assert row["ours"]["code"] == code
    if code:
        assert "needs Linux 6.9" in row["ours"]["words"]
    else:
        assert row["ours"]["policies"] == [["WEIGHTED_INTERLEAVE", 0, [0, 1]]]
