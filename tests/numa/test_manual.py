"""The manual pages by the judge that the lab brings: what mandoc has to say of them."""

from pathlib import Path

import pytest

from tests.lab.pytest_plugin import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

PAGES = sorted((Path(__file__).resolve().parents[2] / "packaging/share/man/man1").glob("*.1"))


def test_the_pages_are_well_formed(lab: Lab) -> None:
    """Nothing is wrong with their form; that they bear no date is meant: they say what their version does."""
    guest = lab.guest("two-6.12-v2")
    told = guest.run(["mandoc", "-T", "lint", "-W", "all", *map(str, PAGES)], check=False, timeout_s=300)
    lines = [line for line in told.stdout.splitlines() if "WARNING: missing date" not in line]
    assert (lines, told.stderr) == ([], "")
    assert told.stdout.count("missing date") == len(PAGES) > 0
