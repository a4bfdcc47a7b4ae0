"""What `numaplace run` binds a program to, and why it refuses: without a kernel that has such nodes."""

import errno
from collections.abc import Collection

import pytest

from numaplace import mempolicy
from numaplace.cli import binding, exits
from numaplace.cli.binding import Binding, Place, Wish, chosen
from numaplace.kernel.errors import KernelCallError
from numaplace.kernel.policy import ModeFlag, PolicyMode
from numaplace.model.ids import CpuId, Cpus, NodeId, Nodes


def nodes(*numbers: int) -> Nodes:
    """A set of nodes."""
    return frozenset(map(NodeId, numbers))


def cpus(*numbers: int) -> Cpus:
    """A set of CPUs."""
    return frozenset(map(CpuId, numbers))


PLACE = Place(
    {NodeId(0): cpus(0, 1), NodeId(1): cpus(2, 3), NodeId(2): cpus(4), NodeId(4): cpus()},
    with_memory=nodes(0, 1, 4),
    mems=nodes(0, 4),
    online=cpus(0, 1, 2, 3, 4),
    cpus=cpus(1, 2),
)
"""Node 2 has CPUs only, 4 memory only; the cpuset allows the memory of 0 and 4, the affinity CPUs 1 and 2."""


@pytest.mark.parametrize(
    ("wish", "bound"),
    [
        (Wish(), Binding()),
        (Wish((PolicyMode.BIND, "all")), Binding(PolicyMode.BIND, nodes(0, 4))),
        (Wish((PolicyMode.BIND, "all"), everything=True), Binding(PolicyMode.BIND, nodes(0, 1, 4))),
        (Wish((PolicyMode.PREFERRED, "+1")), Binding(PolicyMode.PREFERRED, nodes(4))),
        (Wish((PolicyMode.INTERLEAVE, "!0")), Binding(PolicyMode.INTERLEAVE, nodes(4))),
        (Wish((PolicyMode.LOCAL, "")), Binding(PolicyMode.LOCAL)),
        (
            Wish((PolicyMode.BIND, "0"), balancing=True),
            Binding(PolicyMode.BIND, nodes(0), ModeFlag.NUMA_BALANCING),
        ),
        (Wish(cpu_nodes="0"), Binding(cpus=cpus(0, 1))),
        (Wish(cpu_nodes="2"), Binding(cpus=cpus(4))),
        (Wish(cpu_nodes="0,4"), Binding(cpus=cpus(0, 1))),
        (Wish(cpu_nodes="1", everything=True), Binding(cpus=cpus(2, 3))),
        (Wish(cpus="all"), Binding(cpus=cpus(1, 2))),
        (Wish(cpus="+0"), Binding(cpus=cpus(1))),
        (Wish(cpus="0", everything=True), Binding(cpus=cpus(0))),
        (
            Wish((PolicyMode.BIND, "4"), cpu_nodes="0"),
            Binding(PolicyMode.BIND, nodes(4), ModeFlag.NONE, cpus(0, 1)),
        ),
    ],
)
def test_what_is_bound(wish: Wish, bound: Binding) -> None:
    """Memory among the cpuset's nodes, CPUs of nodes whole, CPUs by number among the affinity; --all lifts both."""
    assert chosen(wish, PLACE) == bound


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (Wish((PolicyMode.BIND, "7")), "node 7 does not exist: this host has 0-2,4"),
        (Wish((PolicyMode.BIND, "2")), "node 2 has no memory: 0-1,4 have"),
        (Wish((PolicyMode.BIND, "1")), "node 1 is outside this process's cpuset, which allows nodes 0,4"),
        (Wish((PolicyMode.BIND, "+2")), "so many nodes there are not"),
        (Wish((PolicyMode.BIND, "netdev:eth0")), "by their numbers"),
        (Wish((PolicyMode.PREFERRED, "0,4")), "--preferred-many"),
        (Wish(balancing=True), "--balancing is for --membind"),
        (Wish((PolicyMode.INTERLEAVE, "0"), balancing=True), "--balancing is for --membind"),
        (Wish(cpu_nodes="1"), "outside this process's cpuset"),
        (Wish(cpu_nodes="4"), "nodes 4 have no CPUs"),
        (Wish(cpu_nodes="0", cpus="1"), "give one of them"),
        (Wish(cpus="9"), "CPU 9 is not online: 0-4 are"),
        (Wish(cpus="3"), "outside the CPUs that this process may use, 1-2; --all"),
        (Wish(cpus="+2"), "so many CPUs there are not"),
        (Wish(cpus="1-"), "not a list"),
    ],
)
def test_what_is_refused_is_refused_with_the_reason(wish: Wish, words: str) -> None:
    """Does not exist, has no memory, is outside the cpuset, cannot be meant so: each in words, all of them usage."""
    with pytest.raises(exits.Failure) as caught:
        chosen(wish, PLACE)
    assert words in caught.value.words
    assert caught.value.code == exits.USAGE


@pytest.mark.parametrize(
    ("bound", "refusal", "words"),
    [
        (Binding(PolicyMode.WEIGHTED_INTERLEAVE, nodes(0)), None, "--weighted-interleave needs Linux 6.9"),
        (Binding(PolicyMode.PREFERRED_MANY, nodes(0)), None, "--preferred-many needs Linux 5.15"),
        (Binding(PolicyMode.BIND, nodes(0), ModeFlag.NUMA_BALANCING), None, "--balancing needs Linux 5.12"),
        (Binding(PolicyMode.BIND, nodes(0)), None, "Invalid argument"),
        (Binding(PolicyMode.BIND, nodes(0)), mempolicy.Denied("set_mempolicy", errno.EPERM), "numaplace doctor"),
        (Binding(PolicyMode.BIND, nodes(1)), mempolicy.OutsideCpuset("set_mempolicy", errno.EINVAL), "cpuset allows"),
    ],
)
def test_what_the_kernel_refuses_is_said_in_words(
    monkeypatch: pytest.MonkeyPatch, bound: Binding, refusal: KernelCallError | None, words: str
) -> None:
    """EINVAL for a mode that came later means an old kernel."""

    def refuse(_mode: PolicyMode, _nodes: Collection[int], _flags: ModeFlag) -> None:
        raise refusal or KernelCallError("set_mempolicy", errno.EINVAL)

    monkeypatch.setattr("numaplace.mempolicy.set_mempolicy", refuse)
    with pytest.raises(exits.Failure) as caught:
        bound.apply()
    assert words in caught.value.words
    assert caught.value.code == exits.FAILED


def test_cpus_outside_the_cpuset_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's EINVAL for an affinity means that nothing of it is left."""

    def refuse(_pid: int, _cpus: Cpus) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("os.sched_setaffinity", refuse)
    with pytest.raises(exits.Failure, match="CPUs 3 cannot be had: this process's cpuset allows none of them"):
        Binding(cpus=cpus(3)).apply()


def test_a_kernel_without_numa_has_cpus_to_choose_and_no_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names nodes there is told so."""

    def absent() -> None:
        raise mempolicy.Unsupported("reading nodes", errno.ENOENT)

    monkeypatch.setattr("numaplace.kernel.sysfs.read_node_sets", absent)
    place = binding.read_place()
    assert place.nodes == {}
    assert chosen(Wish(cpus="all"), place).cpus == place.cpus
    for wish in (Wish((PolicyMode.BIND, "all")), Wish(cpu_nodes="0")):
        with pytest.raises(exits.Failure, match="without NUMA"):
            chosen(wish, place)


def test_what_may_be_named_here_is_read() -> None:
    """From this host's own files: every node has its CPUs, and what this process may use is among them."""
    place = binding.read_place()
    assert place.cpus <= place.online
    assert place.mems & place.with_memory <= frozenset(place.nodes)
    assert place.mems & place.with_memory
