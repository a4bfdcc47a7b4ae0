"""The doctor on real kernels: what each version has, what root may do, and what an ordinary user may not."""

import json

import pytest

from tests.lab.guest import Guest
from tests.lab.pytest_plugin import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

ROOTS = {
    "machine", "nodes", "distances", "cap-sys-nice", "cap-sys-ptrace", "cap-sys-admin", "cap-dac-read-search",
    "move-pages", "move-all", "migrate-pages", "set-mempolicy", "mbind", "home-node", "preferred-many",
    "pagemap-frames", "soft-dirty", "cgroup", "thp", "khugepaged", "swap", "zone-reclaim", "rivals",
}  # fmt: skip
"""Good on every kernel of the lab."""
LATER = {"pagemap-scan", "weighted-interleave", "damon"}
"""Of Linux 6.7, 6.9, and Debian's 6.12."""
LACKING = {"cap-sys-nice", "cap-sys-ptrace", "cap-sys-admin", "move-all", "pagemap-frames", "tracefs"}
"""What an ordinary user is warned of."""
DOCTOR = """
import contextlib, ctypes, io, os, sys
from numaplace.cli import main
if sys.argv[1] == "nobody":
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
        main(["doctor", "--json"])  # all that it needs is loaded by root: the project's files may be closed to others
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1)  # what has changed its user may not look at its own memory else
main(["doctor", "--json"])
"""
"""As root, or as nobody."""


def states(guest: Guest, user: str) -> dict[str, str]:
    """The state of each finding; the exit code says that nothing is missing."""
    done = guest.run(["python", "-c", DOCTOR, user], timeout_s=120)
    return {finding["word"]: finding["state"] for finding in json.loads(done.stdout)}


@pytest.mark.parametrize("name", ["two-6.1-v1", "two-6.12-v2"])
def test_what_a_kernel_has_and_a_user_may(lab: Lab, name: str) -> None:
    """Absent is absent and denied denied; neither is an error, and none is missing on a host that can move pages."""
    guest = lab.guest(name)
    new = name == "two-6.12-v2"
    by_root = states(guest, "root")
    assert {word: by_root.get(word) for word in ROOTS} == dict.fromkeys(ROOTS, "good")
    assert {word: by_root[word] for word in LATER} == dict.fromkeys(LATER, "good" if new else "note")
    by_nobody = states(guest, "nobody")
    assert {word: by_nobody[word] for word in LACKING} == dict.fromkeys(LACKING, "warning")
    assert by_nobody["move-pages"] == by_nobody["migrate-pages"] == "good"
