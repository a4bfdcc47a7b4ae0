"""What a program's own placement comes to on real kernels with two nodes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.lab.kernels import prepare_tools
from tests.lab.pytest_plugin import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

ALL = 32
"""The pages of each area."""


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_memory_lies_where_a_program_says(lab: Lab, kernel: str) -> None:
    """Policies, moves and refusals of `numaplace.mempolicy`, as the kernel carries them out."""
    guest = lab.guest(f"two-{kernel}-v2")
    guest.write("/proc/sys/kernel/numa_balancing", "0")
    told: dict[str, Any] = json.loads(guest.run(["python", "-m", "tests.jobs.placing"], timeout_s=300).stdout)
    stays = (
        "KernelCallError: [Errno 5] mbind: pages lie on other nodes and stay there, and strict is to be told of them:"
        " Input/output error"
    )
    assert told["binding"] == {
        "none": {"0": ALL},
        "strict": stays,
        "own": {"1": ALL},
        # Pages that are not only ours are skipped without a word, strict or not: `where` tells.
        "shared strict": "done",
        "shared own": {"0": ALL},
        "shared all": {"1": ALL},
    }
    weighted = {name: said for name, said in told["modes"].items() if name.startswith("WEIGHTED")}
    assert {said for name, said in told["modes"].items() if name not in weighted} == {True}
    assert told["allocating"] == {
        "onnode": {"1": ALL},
        "local": {"0": ALL},
        "interleaved": {"0": ALL // 2, "1": ALL // 2},
        "array": {"1": ALL},
        "home node": {"1": ALL},
        "block": {"1": ALL},
    }
    if kernel == "6.1":
        unknown = "Unsupported: [Errno 22] mbind: this kernel does not know WEIGHTED_INTERLEAVE: Invalid argument"
        assert told["weighted"] == {"refused": unknown}
        assert set(weighted.values()) == {unknown}
    else:
        assert told["weighted"] == {"three to one": {"0": ALL * 3 // 4, "1": ALL // 4}}
        assert set(weighted.values()) == {True}
    moving = told["moving"]
    absent = "EFAULT" if kernel == "6.1" else "ENOENT"
    assert moving["moved"] == ALL + ALL // 2
    assert moving["left"] == {"EBUSY": ALL // 2, absent: ALL}
    assert (moving["plain"], moving["pinned"]) == ({"0": ALL}, {"0": ALL // 2, "1": ALL // 2})
    assert moving["nowhere"] == "MoveStoppedError: there is no node 7 with memory; 0 pages moved, 0 in place"
    assert (moving["migrated"], moving["migrated back"]) == ({"1": ALL}, {"0": ALL})
    assert told["confined"]["allowed"] == [0]
    assert "nodes [1] are not among the [0] that this thread may use" in told["confined"]["allocate"]
    assert told["confined"]["move"].startswith("MoveStoppedError: node 1 is outside the cpuset of the process; 0 pages")


@pytest.mark.usefixtures("lab")
def test_every_function_of_libnuma_is_on_the_page() -> None:
    """Ours, or why there is none: by the names that the library itself exports."""
    (library,) = (prepare_tools() / "usr/lib").glob("*/libnuma.so.1.0.0")
    exported = set(re.findall(rb"\0((?:numa|copy)_[a-z_0-9]+)(?=\0)", library.read_bytes()))
    page = (Path(__file__).resolve().parents[2] / "docs/mempolicy.md").read_text()
    named = set(re.findall(r"`((?:numa|copy)_[a-z_0-9]+)`", page))
    assert b"numa_alloc_onnode" in exported
    assert {name.decode() for name in exported} - named == set()
