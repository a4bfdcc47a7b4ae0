"""Looking at hosts as files, and trying things on this kernel."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from numaplace.doctor import Facts, State, Unseen, diagnose, look
from numaplace.doctor.facts import Answer, Cpusets, Feature
from numaplace.doctor.trying import try_all
from numaplace.kernel.swaps import SwapArea

HOSTS = Path(__file__).parents[1] / "kernel" / "hosts"


def facts_of(root: Path) -> Facts:
    """What is seen of a host as files."""
    return look({}, None, root)


def states(facts: Facts) -> dict[str, State]:
    """The state of each finding by its word."""
    return {finding.word: finding.state for finding in diagnose(facts)}


@pytest.mark.parametrize(
    ("host", "states_of_nodes"),
    [
        ("one-node", {"nodes": State.NOTE}),
        ("two-nodes", {"nodes": State.GOOD, "distances": State.GOOD}),
        ("eight-nodes-with-gaps", {"nodes": State.GOOD, "distances": State.GOOD}),
        ("memory-only-node", {"nodes": State.GOOD, "nodes-without-cpus": State.NOTE, "distances": State.NOTE}),
        ("cxl", {"nodes": State.GOOD, "nodes-without-cpus": State.NOTE, "distances": State.GOOD}),
        ("cpu-only-node", {"nodes": State.GOOD, "nodes-without-memory": State.NOTE, "distances": State.GOOD}),
    ],
)
def test_the_nodes_of_captured_hosts(host: str, states_of_nodes: dict[str, State]) -> None:
    """Nodes without CPUs or memory, gaps in the ids, distances that differ there and back: each is told."""
    found = states(facts_of(HOSTS / host))
    assert {word: state for word, state in found.items() if word.startswith(("nodes", "distances"))} == states_of_nodes


def test_cpusets_of_a_captured_host() -> None:
    """On v1 the root's memory_migrate is looked at."""
    assert facts_of(HOSTS / "eight-nodes-with-gaps").cpusets == Cpusets(1, available=True)


def test_a_host_without_any_files_is_a_host_about_which_little_is_known(tmp_path: Path) -> None:
    """Looking never fails: each fact is absent or unseen, with the reason."""
    (tmp_path / "proc").mkdir()
    facts = facts_of(tmp_path)
    assert facts.nodes is None
    assert isinstance(facts.rooms, Unseen)
    assert isinstance(facts.privileges, Unseen)
    assert not [finding for finding in diagnose(facts) if finding.state is State.MISSING]


def test_files_that_no_kernel_writes_are_unseen_facts(tmp_path: Path) -> None:
    """Rubbish in one file is that fact's, and no other's."""
    files = {
        "proc/sys/kernel/numa_balancing": "yes\n",
        "proc/sys/vm/zone_reclaim_mode": "1\n",
        "proc/swaps": "what?\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    facts = facts_of(tmp_path)
    assert facts.zone_reclaim == 1
    for fact in (facts.numa_balancing, facts.swaps, facts.thp):
        assert isinstance(fact, Unseen)
        assert "unexpected" in fact.why


def test_what_is_read_of_memory_and_processes(tmp_path: Path) -> None:
    """Swap, free blocks of a huge page's size, khugepaged, demotion, commands, the root of cgroup v2."""
    thp = "sys/kernel/mm/transparent_hugepage"
    cgroup_line = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    files = {
        "proc/swaps": "Filename\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/my\\040swap  file\t\t1024\t\t16\t\t-2\n",
        "proc/buddyinfo": "Node 0, zone Normal  1 1 1 1 1 1 1 1 1 5 2\nNode 1, zone Normal  9 0 0 0 0 0 0 0 0 0 1\n",
        f"{thp}/enabled": "always [madvise] never\n",
        f"{thp}/defrag": "always defer defer+madvise [madvise] never\n",
        f"{thp}/hpage_pmd_size": "2097152\n",
        f"{thp}/khugepaged/defrag": "1\n",
        f"{thp}/khugepaged/pages_to_scan": "4096\n",
        f"{thp}/khugepaged/scan_sleep_millisecs": "10000\n",
        "sys/kernel/mm/numa/demotion_enabled": "false\n",
        "proc/1/comm": "systemd\n",
        "proc/9/comm": "numad\n",
        "proc/self/mountinfo": cgroup_line,
        "sys/fs/cgroup/cgroup.controllers": "cpuset cpu\n",
        "sys/fs/cgroup/cgroup.subtree_control": "cpu\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "proc/10").mkdir()  # it has ended since it was listed
    facts = facts_of(tmp_path)
    assert facts.swaps == (SwapArea("/my swap", 1 << 20, 16 << 10, -2),)
    assert facts.huge_blocks == {0: 5 + 2 * 2, 1: 2}
    assert facts.demotion is False
    assert facts.commands == frozenset({"systemd", "numad"})
    assert facts.cpusets == Cpusets(2, available=True, given_on=False)
    found = states(facts)
    assert (found["rival-numad"], found["khugepaged"]) == (State.NOTE, State.GOOD)


def test_everything_is_tried_and_nothing_fails() -> None:
    """On whatever kernel and with whatever rights this runs."""
    tried = try_all()
    assert set(tried) == set(Feature)
    assert all(bool(attempt.why) == (attempt.answer is not Answer.YES) for attempt in tried.values())


def test_trying_changes_nothing() -> None:
    """Neither this thread's policy nor its descriptors."""
    code = (
        "import os; from numaplace.doctor.trying import try_all; from numaplace import mempolicy\n"
        "before = mempolicy.get_mempolicy(), os.listdir('/proc/self/fd'); try_all(); try_all()\n"
        "assert (mempolicy.get_mempolicy(), os.listdir('/proc/self/fd')) == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


_FILTERED = """
import ctypes, json, struct, sys
from numaplace.doctor.trying import try_all
from numaplace.kernel.arch import native_numbers
from numaplace.kernel.status import read_privileges

# seccomp(2): load the call's number; if it is move_pages, EPERM; else let it pass.
load, jump_if, end = 0x20, 0x15, 0x06
program = b"".join(struct.pack("=HBBI", *step) for step in (
    (load, 0, 0, 0), (jump_if, 0, 1, native_numbers().move_pages), (end, 0, 0, 0x50001), (end, 0, 0, 0x7FFF0000)))
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(4, program))) == 0, ctypes.get_errno()
tried = {feature.value: attempt.answer.value for feature, attempt in try_all().items()}
print(json.dumps([read_privileges(__import__("os").getpid()).seccomp.name, tried]))
"""


def test_a_filter_of_system_calls_is_seen_by_what_it_forbids() -> None:
    """As in a container: move_pages and what needs it is denied, the other calls are not."""
    done = subprocess.run([sys.executable, "-c", _FILTERED], capture_output=True, text=True, timeout=60, check=True)
    seccomp, tried = json.loads(done.stdout)
    assert seccomp == "FILTER"
    assert (tried["move-pages"], tried["move-all"]) == ("denied", "denied")
    unfiltered = try_all()
    for feature in (Feature.MIGRATE_PAGES, Feature.MBIND, Feature.SET_MEMPOLICY, Feature.PAGEMAP_SCAN):
        assert tried[feature.value] == unfiltered[feature].answer.value


def test_without_rights_things_are_denied_and_not_absent() -> None:
    """As an ordinary user: own pages can be moved, shared ones not; frames are hidden, the cgroup tree not watched."""
    code = (
        "import ctypes, json, os; from numaplace.doctor.trying import try_all\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "ctypes.CDLL(None).prctl(4, 1)  # what has changed its user may not look at its own memory else\n"
        "print(json.dumps({feature.value: attempt.answer.value for feature, attempt in try_all().items()}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    tried = json.loads(done.stdout)
    ours = try_all()
    for feature in (Feature.MOVE_ALL, Feature.PAGEMAP_FRAMES):
        if ours[feature].answer is Answer.YES:
            assert tried[feature.value] == "denied"
    assert tried["move-pages"] == ours[Feature.MOVE_PAGES].answer.value
