"""What the doctor finds in facts: each branch of each rule, without a host."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest

from numaplace.doctor import Facts, Finding, State, Unseen, diagnose
from numaplace.doctor.facts import Answer, Attempt, Cpusets, Feature, Nodes, Room
from numaplace.kernel.status import Capability, Privileges, Seccomp
from numaplace.kernel.swaps import SwapArea
from numaplace.kernel.sysfs import HugePool, Khugepaged, NodeSets, ThpSettings
from numaplace.model.ids import NodeId
from numaplace.model.session import Abilities

MIB, GIB = 1 << 20, 1 << 30
N0, N1, N2 = NodeId(0), NodeId(1), NodeId(2)
TWO = frozenset({N0, N1})
ROOT = Privileges(sum(1 << capability for capability in Capability), Seccomp.OFF)


def nodes(
    distances: Mapping[NodeId, Mapping[NodeId, int]] | None = None,
    with_cpus: frozenset[NodeId] = TWO,
    with_memory: frozenset[NodeId] = TWO,
) -> Nodes:
    """A host's nodes; two alike unless told."""
    online = with_cpus | with_memory
    known = distances or {a: {b: 10 if a == b else 21 for b in online} for a in online}
    return Nodes(NodeSets(online, online, with_cpus, with_memory), known, dict.fromkeys(with_memory, 64 * GIB))


def room(above_high_bytes: int) -> Room:
    """A node with so much to give."""
    return Room(above_high_bytes + 90 * MIB, 60 * MIB, 90 * MIB, above_high_bytes)


GOOD = Facts(
    machine="x86_64",
    nodes=nodes(),
    privileges=ROOT,
    tried=dict.fromkeys(Feature, Attempt(Answer.YES)),
    ptrace_scope=1,
    cpusets=Cpusets(2, available=True, given_on=True),
    numa_balancing=0,
    zone_reclaim=0,
    demotion=False,
    thp=ThpSettings("always", "madvise", 2 * MIB),
    khugepaged=Khugepaged(defrag=True, pages_to_scan=4096, sleep_ms=10_000),
    huge_blocks={N0: 4000, N1: 4000},
    pools={N0: (HugePool(2 * MIB, 0, 0, 0),), N1: (HugePool(2 * MIB, 0, 0, 0),)},
    rooms={N0: room(8 * GIB), N1: room(8 * GIB)},
    swaps=(),
    commands=frozenset({"systemd", "irqbalance", "kswapd0"}),
    agent=Abilities(),
)


def only(facts: Facts, word: str) -> Finding:
    """The one finding of that word."""
    (found,) = (finding for finding in diagnose(facts) if finding.word == word)
    return found


def test_a_host_that_lacks_nothing_is_good_throughout() -> None:
    """And nothing is to be changed."""
    assert [finding for finding in diagnose(GOOD) if finding.state is not State.GOOD or finding.remedy] == []


@pytest.mark.parametrize(
    ("changed", "word", "state", "words"),
    [
        ({"machine": "mips64", "known_machine": False}, "machine", State.MISSING, "mips64"),
        ({"nodes": None}, "nodes", State.NOTE, "without NUMA"),
        ({"nodes": nodes(with_cpus=frozenset({N0}), with_memory=frozenset({N0}))}, "nodes", State.NOTE, "nowhere"),
        ({"nodes": nodes(with_memory=TWO | {N2})}, "nodes-without-cpus", State.NOTE, "nodes 2 have no CPUs"),
        ({"nodes": nodes(with_cpus=TWO | {N2})}, "nodes-without-memory", State.NOTE, "nodes 2 have no memory"),
        ({"nodes": nodes({N0: {N0: 10, N1: 20}, N1: {N0: 31, N1: 10}})}, "distances", State.NOTE, "20 to 31"),
        ({"privileges": Privileges(0, Seccomp.OFF)}, "cap-sys-nice", State.WARNING, "share stay"),
        ({"privileges": Privileges(0, Seccomp.OFF)}, "cap-sys-ptrace", State.WARNING, "of your own"),
        ({"privileges": Privileges(0, Seccomp.OFF)}, "cap-sys-admin", State.WARNING, "hidden"),
        ({"privileges": Privileges(0, Seccomp.OFF)}, "cap-dac-read-search", State.WARNING, "closed"),
        ({"privileges": Privileges(ROOT.effective, Seccomp.FILTER)}, "seccomp", State.NOTE, "filtered"),
        ({"privileges": Privileges(0, Seccomp.OFF)}, "ptrace-scope", State.NOTE, "1: moving needs no attaching"),
        ({"ptrace_scope": 3}, "ptrace-scope", State.NOTE, "3: moving needs no attaching"),
        ({"ptrace_scope": None}, "ptrace-scope", State.GOOD, "does not limit"),
        ({"tried": {}}, "move-pages", State.NOTE, "not tried"),
        ({"cpusets": Cpusets(0)}, "cgroup", State.NOTE, "no cgroup hierarchy"),
        ({"cpusets": Cpusets(2)}, "cpuset", State.WARNING, "not in this hierarchy"),
        ({"cpusets": Cpusets(2, available=True)}, "cpuset", State.NOTE, "to no cgroup"),
        ({"cpusets": Cpusets(1, available=True)}, "cpuset", State.GOOD, "memory_migrate is 0"),
        ({"cpusets": Cpusets(1, available=True, memory_migrate=True)}, "cpuset", State.NOTE, "memory_migrate is 1"),
        ({"numa_balancing": None}, "numa-balancing", State.GOOD, "has no AutoNUMA"),
        ({"numa_balancing": 1}, "numa-balancing", State.NOTE, "touch them often"),
        ({"numa_balancing": 2}, "numa-balancing", State.NOTE, "promoted"),
        ({"zone_reclaim": 1}, "zone-reclaim", State.WARNING, "page cache"),
        ({"zone_reclaim": None}, "zone-reclaim", State.GOOD, ""),
        ({"demotion": True}, "demotion", State.NOTE, "slower nodes"),
        ({"demotion": None}, "demotion", State.GOOD, ""),
        ({"thp": None}, "thp", State.NOTE, "no transparent huge pages"),
        ({"thp": ThpSettings("never", "madvise", 2 * MIB)}, "thp", State.NOTE, "no transparent huge pages"),
        ({"thp": ThpSettings("always", "always", 2 * MIB)}, "thp-defrag", State.WARNING, "waits for compaction"),
        ({"khugepaged": None}, "khugepaged", State.NOTE, "no khugepaged"),
        ({"khugepaged": Khugepaged(defrag=True, pages_to_scan=0, sleep_ms=1)}, "khugepaged", State.NOTE, "no pages"),
        ({"huge_blocks": {N0: 4000, N1: 3}}, "huge-blocks", State.WARNING, "node 1: 3"),
        ({"rooms": {N0: room(8 * GIB), N1: room(9 * MIB)}}, "headroom", State.WARNING, "node 1: 9 MiB"),
        ({"swaps": (SwapArea("/s", GIB, 0, -2),)}, "swap", State.GOOD, "nothing in it"),
        ({"swaps": (SwapArea("/s", GIB, 5 * MIB, -2),)}, "swap", State.NOTE, "5 MiB of 1024 MiB"),
        ({"agent": None}, "agent", State.NOTE, "no numaplace-agent"),
        ({"agent": Abilities(can_move=False)}, "agent", State.WARNING, "cannot move"),
        ({"agent": Abilities(remarks=("no tracefs: mount it",))}, "agent-lacks", State.WARNING, "no tracefs: mount it"),
    ],
)  # fmt: skip
def test_what_is_found(changed: dict[str, Any], word: str, state: State, words: str) -> None:
    """One thing is other than it should be: its finding says so."""
    found = only(replace(GOOD, **changed), word)
    assert found.state is state
    assert words in found.words


def test_only_what_stands_in_the_way_of_all_moving_is_missing() -> None:
    """Each feature absent, and each denied: never good; missing is move_pages alone, and an unknown machine."""
    for answer in (Answer.ABSENT, Answer.DENIED):
        found = diagnose(replace(GOOD, tried=dict.fromkeys(Feature, Attempt(answer, "said the kernel"))))
        by_word = {finding.word: finding for finding in found}
        assert {word for word, finding in by_word.items() if finding.state is State.MISSING} == {"move-pages"}
        for feature in Feature:
            assert by_word[feature.value].state is not State.GOOD
            assert ("said the kernel" in by_word[feature.value].words) == (answer is Answer.DENIED)


def test_a_refused_right_has_its_remedy() -> None:
    """Where something can be changed it is said."""
    for word in ("cap-sys-nice", "cap-sys-ptrace", "cap-sys-admin", "cap-dac-read-search"):
        assert "root" in only(replace(GOOD, privileges=Privileges(0, Seccomp.OFF)), word).remedy
    denied = dict.fromkeys(Feature, Attempt(Answer.DENIED))
    for feature in Feature:
        assert only(replace(GOOD, tried=denied), feature.value).remedy


@pytest.mark.parametrize("field", [f.name for f in fields(Facts) if isinstance(f.default, Unseen)])
def test_what_could_not_be_looked_at_is_said(field: str) -> None:
    """Never good, never wrong: a note with the reason, and with the way to see it if there is one."""
    unseen: dict[str, Any] = {field: Unseen("Permission denied", as_root=True)}
    found = [finding for finding in diagnose(replace(GOOD, **unseen)) if finding.state is not State.GOOD]
    assert found
    for finding in found:
        assert finding.state is State.NOTE
        assert finding.words == "not looked at: Permission denied"
        assert "as root" in finding.remedy


def test_pools_of_huge_pages() -> None:
    """Pages in use need a free one where they go; those of a size that nobody uses do not matter."""

    def found(first: HugePool, second: HugePool) -> Finding:
        return only(replace(GOOD, pools={N0: (first,), N1: (second,)}), "hugetlb")

    assert found(HugePool(2 * MIB, 8, 4, 0), HugePool(2 * MIB, 8, 8, 0)).state is State.GOOD
    assert found(HugePool(2 * MIB, 8, 8, 0), HugePool(2 * MIB, 0, 0, 0)).state is State.GOOD
    full = found(HugePool(2 * MIB, 8, 4, 0), HugePool(2 * MIB, 0, 0, 0))
    assert (full.state, "to nodes 1," in full.words) == (State.WARNING, True)
    assert "nr_hugepages" in full.remedy


def test_without_huge_pages_their_blocks_do_not_matter() -> None:
    """Nothing is said of them."""
    facts = replace(GOOD, thp=ThpSettings("never", "madvise", 2 * MIB), huge_blocks={N0: 0})
    assert not [finding for finding in diagnose(facts) if finding.word == "huge-blocks"]


@pytest.mark.parametrize(
    ("commands", "rivals"),
    [
        ({"numad", "kubelet"}, {"rival-numad", "rival-kubelet"}),
        ({"kdamond.0", "kdamond.1"}, {"rival-kdamond"}),
        ({"virtqemud", "memtierd"}, {"rival-virtqemud", "rival-memtierd"}),
        ({"libvirtd"}, {"rival-libvirtd"}),
        ({"irqbalance", "numademo", "my-kubelet"}, {"rivals"}),
    ],
)
def test_rivals_are_known_by_their_commands(commands: set[str], rivals: set[str]) -> None:
    """DAMON's by its threads; irqbalance is none."""
    found = diagnose(replace(GOOD, commands=frozenset(commands)))
    assert {finding.word for finding in found if finding.word.startswith("rival")} == rivals


def test_a_finding_is_one_line() -> None:
    """Whatever the facts: words and remedy are lines, not texts."""
    bad = replace(GOOD, privileges=Privileges(0, Seccomp.FILTER), tried=dict.fromkeys(Feature, Attempt(Answer.DENIED)))
    for facts in (GOOD, bad, Facts()):
        for finding in diagnose(facts):
            assert finding.words
            assert "\n" not in finding.words + finding.remedy
