"""Every change that an agent must notice, on real kernels: tests/contract/noticing.py, run inside guests."""

import re
import sys

import pytest

from tests.lab.pytest_plugin import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
# Imports are slow under emulation: the guest's pytest gets none that the suite does not need.
OPTIONS = ["--noconftest", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
SUITE = ["python", "-m", "pytest", "-q", "-s", *OPTIONS, "tests/contract/noticing.py"]


@pytest.mark.parametrize("guest", ["two-6.1-v1", "two-6.1-v2", "two-6.12-v1", "two-6.12-v2"])
def test_every_change_is_noticed_whichever_watcher_is_missing(lab: Lab, guest: str) -> None:
    """The suite passes on both kernels and both cgroup versions; how long each change took to be seen is printed."""
    result = lab.guest(guest).run(SUITE, timeout_s=480, check=False)
    for line in re.findall(r"noticed: .*", result.stdout):
        sys.stdout.write(f"{guest}: {line}\n")
    assert result.exit_code == 0, result.stdout + result.stderr
