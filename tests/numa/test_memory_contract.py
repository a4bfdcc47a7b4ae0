"""The contract suites on real kernels: what passes on the fake passes on 6.1 and 6.12, cgroup v1 and v2."""

import pytest

from tests.harness.autonuma import autonuma
from tests.harness.settings import settings
from tests.lab.guest import Guest
from tests.lab.pytest_plugin import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
PYTEST = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
SUITE_S_MAX = 800
HUGE_PAGES_A_NODE = 16
POOLS = [f"/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages" for node in (0, 1)]
KHUGEPAGED = "/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs"
NEVER_MS = "3600000"


@pytest.mark.parametrize("name", ["two-6.1-v1", "two-6.1-v2", "two-6.12-v1", "two-6.12-v2"])
def test_the_contract_holds_on_this_kernel(lab: Lab, name: str) -> None:
    """Every kind of memory moves, or stays for its reason, by every strategy, and not a byte of any job changes."""
    guest = lab.guest(name)
    # AutoNUMA would move pages too, and khugepaged make huge ones: right, but not this suite's business.
    kept = {KHUGEPAGED: NEVER_MS} | dict.fromkeys(POOLS, str(HUGE_PAGES_A_NODE))
    with autonuma(guest, on=False), settings(guest, kept):
        passes(guest, "tests/contract")


def test_relative_position_is_kept_on_four_nodes(lab: Lab) -> None:
    """Whichever strategy is used, the n-th source's pages go to the n-th target."""
    guest = lab.guest("four-6.1-v2")
    with autonuma(guest, on=False):
        passes(guest, "tests/contract/four_nodes.py")


def passes(guest: Guest, suite: str) -> None:
    """A suite passes whole in this guest."""
    argv = [*PYTEST, suite]
    result = guest.run(argv, env={"NUMAPLACE_CONTRACT": "real"}, check=False, timeout_s=SUITE_S_MAX)
    assert result.exit_code == 0, result.stdout
    assert " passed" in result.stdout
    assert "skipped" not in result.stdout
