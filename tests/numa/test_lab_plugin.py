"""The emulation cannot spoil a verdict: a test that it broke is run again, and one that it did not break is not."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.pytest_plugin import TEST_ATTEMPTS

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
RUN_S_MAX = 800.0
"""It boots guests, for which a busy machine takes its time."""
PROJECT = Path(__file__).parents[2]

HEAD = """
import pytest
from pathlib import Path
from tests.lab.guest import EmulationOopsError, GuestDiedError
pytestmark = pytest.mark.lab
runs = Path(__file__).with_name("runs")

def count():
    with runs.open("a") as file:
        file.write("x")
    return runs.stat().st_size
"""


def outcome(folder: Path, test: str) -> tuple[str, int]:
    """Run a test in a pytest of its own: its last lines, and how often the test ran."""
    file = folder / "test_it.py"
    file.write_text(HEAD + test)
    options = ["-p", "tests.lab.pytest_plugin", "-p", "no:cacheprovider", "-q", "--noconftest", "-c", "pyproject.toml"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={PROJECT}", str(file)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S_MAX,
    )
    return done.stdout, (folder / "runs").stat().st_size


def test_an_emulation_oops_runs_the_test_again_with_fresh_fixtures(tmp_path: Path) -> None:
    """The second run is the verdict, and the first one is named."""
    text, runs = outcome(
        tmp_path,
        """
@pytest.fixture(scope="module")
def made():
    return count()

def test_it(made):
    if made == 1:
        raise EmulationOopsError("guest a: int3")
""",
    )
    assert "1 passed" in text
    assert "guest a: int3; run again (2 of 3)" in text
    assert runs == 2


def test_an_emulation_that_always_oopses_is_a_failure_in_the_end(tmp_path: Path) -> None:
    """The number of runs is bounded."""
    text, runs = outcome(tmp_path, "def test_it():\n    count()\n    raise EmulationOopsError('guest a: int3')\n")
    assert "1 failed" in text
    assert runs == TEST_ATTEMPTS


@pytest.mark.parametrize("failure", ["raise GuestDiedError('guest a: panic')", "assert False"])
def test_a_real_failure_is_not_run_again(tmp_path: Path, failure: str) -> None:
    """A guest that died of its own, and a plain failure, are verdicts."""
    text, runs = outcome(tmp_path, f"def test_it():\n    count()\n    {failure}\n")
    assert "1 failed" in text
    assert runs == 1


def test_a_fault_that_a_guest_survived_fails_the_test_that_used_it(tmp_path: Path) -> None:
    """A kernel that complains of itself spoils what was seen on it, and the guest is not used again."""
    text, runs = outcome(
        tmp_path,
        """
def test_it(lab):
    count()
    guest = lab.guest("two-6.12-v2")
    guest.write("/dev/kmsg", "<0>watchdog: BUG: soft lockup - CPU#1 stuck for 99s!\\n")
    while guest.fault() is None:
        guest.run(["true"])
""",
    )
    assert "1 passed, 1 error" in text
    assert "KernelFaultError: guest two-6.12-v2" in text
    assert runs == 1


def test_an_oops_behind_another_failure_is_found(tmp_path: Path) -> None:
    """A test that fails otherwise because its guest was oopsed is run again too."""
    text, runs = outcome(
        tmp_path,
        """
def test_it(lab):
    if count() == 1:
        guest = lab.fresh("two-6.12-v2")
        guest.write("/dev/kmsg", "<0>Oops: int3: 0000 [#1] SMP\\n")
        while guest.fault() is None:
            guest.run(["true"])
        assert False
""",
    )
    assert "1 passed" in text
    assert runs == 2


def test_a_guest_that_answers_nobody_is_no_verdict(tmp_path: Path) -> None:
    """A test that fails and leaves such a guest is run again, in another one."""
    text, runs = outcome(
        tmp_path,
        """
import os, signal
import tests.lab.guest

tests.lab.guest.Guest.answers.__defaults__ = (5.0,)

def test_it(lab):
    guest = lab.guest("two-6.12-v2")
    if count() == 1:
        guest.write("/dev/kmsg", "<0>watchdog: BUG: soft lockup - CPU#3 stuck for 157s!\\n")
        while guest.fault() is None:
            guest.run(["true"])
        supervisor = guest._machine.process.pid
        (qemu,) = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        os.kill(int(qemu), signal.SIGSTOP)
        assert False
    assert guest.run(["true"]).exit_code == 0
""",
    )
    assert "1 passed" in text
    assert "guest two-6.12-v2: it answers nobody (" in text
    assert "run again (2 of 3)" in text
    assert runs == 2
