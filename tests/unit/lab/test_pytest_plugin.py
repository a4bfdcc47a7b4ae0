"""Where no guest can run, tests that need one say so: skipped by hand, failed in CI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]


@pytest.mark.parametrize(("ci", "outcome"), [("", "1 skipped"), ("true", "1 error")])
def test_a_lab_that_cannot_run_is_no_silent_pass(tmp_path: Path, ci: str, outcome: str) -> None:
    """The reason is given either way."""
    file = tmp_path / "test_it.py"
    file.write_text("import pytest\n@pytest.mark.lab\ndef test_it(lab):\n    pass\n")
    options = ["-p", "tests.lab.pytest_plugin", "-p", "no:cacheprovider", "-q", "--noconftest", "-c", "pyproject.toml"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={PROJECT}", str(file)],
        cwd=PROJECT,
        env={**os.environ, "NUMAPLACE_LAB": "off", "CI": ci},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert outcome in done.stdout
    assert "the NUMA lab cannot run: NUMAPLACE_LAB=off" in done.stdout
