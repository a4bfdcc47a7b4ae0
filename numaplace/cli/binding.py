"""What `numaplace run` binds a program to: options in numactl's notation made a memory policy and a set of CPUs.

:func:`chosen` is pure: it is given what this host has and what this process may use, and returns what to apply or
refuses with the reason. :meth:`Binding.apply` sets both for the calling thread; a program that is executed keeps them.
"""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from numaplace import mempolicy
from numaplace.cli import exits
from numaplace.kernel import sysfs
from numaplace.kernel.errors import Denied, KernelCallError, KernelFormatError, Unsupported
from numaplace.kernel.policy import ModeFlag, PolicyMode
from numaplace.kernel.status import read_status
from numaplace.model.choice import NotAmongError, choose
from numaplace.model.cpuset import format_id_list
from numaplace.model.ids import CpuId, Cpus, NodeId, Nodes

SINCE = {
    PolicyMode.PREFERRED_MANY: "--preferred-many needs Linux 5.15",
    PolicyMode.WEIGHTED_INTERLEAVE: "--weighted-interleave needs Linux 6.9",
}
BALANCING_SINCE = "--balancing needs Linux 5.12 with AutoNUMA built in (CONFIG_NUMA_BALANCING)"


@dataclass(frozen=True, slots=True)
class Place:
    """What this host has, and what of it this process may use: ``mems`` by its cpuset, ``cpus`` by its affinity."""

    nodes: Mapping[NodeId, Cpus]
    with_memory: Nodes
    mems: Nodes
    online: Cpus
    cpus: Cpus


@dataclass(frozen=True, slots=True)
class Wish:
    """The options as they were given; ``everything`` is --all."""

    memory: tuple[PolicyMode, str] | None = None
    balancing: bool = False
    cpu_nodes: str | None = None
    cpus: str | None = None
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Binding:
    """A memory policy and CPUs; None leaves what is."""

    mode: PolicyMode | None = None
    nodes: Nodes = field(default_factory=frozenset)
    flags: ModeFlag = ModeFlag.NONE
    cpus: Cpus | None = None

    def apply(self) -> None:
        """Set them for the calling thread; raises exits.Failure with the reason if the kernel refuses."""
        if self.cpus is not None:
            try:
                os.sched_setaffinity(0, self.cpus)
            except OSError as error:
                about = f"CPUs {format_id_list(self.cpus)}"
                outside = error.errno == errno.EINVAL
                why = "this process's cpuset allows none of them" if outside else error.strerror
                raise exits.Failure(exits.FAILED, f"{about} cannot be had: {why}") from error
        if self.mode is not None:
            try:
                mempolicy.set_mempolicy(self.mode, self.nodes, self.flags)
            except mempolicy.OutsideCpuset as error:
                words = f"nodes {format_id_list(self.nodes)} cannot be had: this process's cpuset allows none of them"
                raise exits.Failure(exits.FAILED, words) from error
            except KernelCallError as error:
                raise exits.Failure(exits.FAILED, self._why_not(error)) from error

    def _why_not(self, error: KernelCallError) -> str:
        if isinstance(error, Denied):
            return "this process may not set a memory policy: numaplace doctor says what forbids it"
        if error.errno == errno.EINVAL and self.flags & ModeFlag.NUMA_BALANCING:
            return f"this kernel cannot do that: {BALANCING_SINCE}"
        if error.errno == errno.EINVAL and self.mode in SINCE:
            return f"this kernel cannot do that: {SINCE[self.mode]}"
        return str(error.strerror)


def read_place() -> Place:
    """Read what there is, from files alone: a filter may forbid the calls, and a kernel without NUMA has no nodes.

    Raises exits.Failure.
    """
    try:
        mems = read_status(os.getpid()).mems_allowed
        online = sysfs.read_online_cpus()
        cpus = frozenset(map(CpuId, os.sched_getaffinity(0)))
        try:
            sets = sysfs.read_node_sets()
        except Unsupported:
            return Place({}, frozenset(), frozenset(), online, cpus)
        return Place({node: sysfs.read_node_cpus(node) for node in sets.online}, sets.with_memory, mems, online, cpus)
    except (KernelCallError, KernelFormatError) as error:
        raise exits.Failure(exits.FAILED, f"what this host has cannot be read: {error}") from error


def chosen(wish: Wish, place: Place) -> Binding:
    """What to apply. Raises exits.Failure for a wish that cannot be meant so or cannot be had, with the reason."""
    mode, nodes, flags = _memory(wish, place)
    if wish.cpu_nodes is not None and wish.cpus is not None:
        raise exits.Failure(exits.USAGE, "--cpunodebind and --physcpubind both choose CPUs: give one of them")
    if wish.cpu_nodes is not None:
        return Binding(mode, nodes, flags, _cpus_of_nodes(wish.cpu_nodes, place, everything=wish.everything))
    if wish.cpus is not None:
        return Binding(mode, nodes, flags, _cpus(wish.cpus, place, everything=wish.everything))
    return Binding(mode, nodes, flags)


def _memory(wish: Wish, place: Place) -> tuple[PolicyMode | None, Nodes, ModeFlag]:
    if wish.balancing and (wish.memory is None or wish.memory[0] is not PolicyMode.BIND):
        raise exits.Failure(exits.USAGE, "--balancing is for --membind: AutoNUMA moves pages within its nodes")
    if wish.memory is None:
        return None, frozenset(), ModeFlag.NONE
    mode, text = wish.memory
    if mode is PolicyMode.LOCAL:
        return mode, frozenset(), ModeFlag.NONE
    nodes = _nodes(text, place.with_memory if wish.everything else place.with_memory & place.mems, place)
    if mode is PolicyMode.PREFERRED and len(nodes) > 1:
        words = f"--preferred takes one node, not {format_id_list(nodes)}: --preferred-many takes several"
        raise exits.Failure(exits.USAGE, words)
    return mode, nodes, ModeFlag.NUMA_BALANCING if wish.balancing else ModeFlag.NONE


def _nodes(text: str, among: Nodes, place: Place) -> Nodes:
    if not place.nodes:
        raise exits.Failure(exits.FAILED, "this kernel was built without NUMA: there are no nodes to name")
    try:
        return frozenset(map(NodeId, choose(text, among)))
    except NotAmongError as error:
        raise exits.Failure(exits.USAGE, _why_no_node(error, place)) from error
    except ValueError as error:
        raise exits.Failure(exits.USAGE, str(error)) from error


def _why_no_node(error: NotAmongError, place: Place) -> str:
    if error.id is None:
        return f"{error}: so many nodes there are not"
    node = NodeId(error.id)
    if node not in place.nodes:
        return f"node {node} does not exist: this host has {format_id_list(place.nodes)}"
    if node not in place.with_memory:
        return f"node {node} has no memory: {format_id_list(place.with_memory)} have"
    return f"node {node} is outside this process's cpuset, which allows nodes {format_id_list(place.mems)}"


def _cpus_of_nodes(text: str, place: Place, *, everything: bool) -> Cpus:
    """CPUs of nodes; the cpuset's nodes may be named, and those without memory, which no cpuset speaks of."""
    memoryless = frozenset(place.nodes) - place.with_memory
    nodes = _nodes(text, frozenset(place.nodes) if everything else (place.with_memory & place.mems) | memoryless, place)
    cpus = frozenset(cpu for node in nodes for cpu in place.nodes[node])
    if not cpus:
        raise exits.Failure(exits.USAGE, f"nodes {format_id_list(nodes)} have no CPUs to run on, only memory")
    return cpus


def _cpus(text: str, place: Place, *, everything: bool) -> Cpus:
    try:
        return frozenset(map(CpuId, choose(text, place.online if everything else place.cpus)))
    except NotAmongError as error:
        words = _why_no_cpu(error, place)
    except ValueError as error:
        words = str(error)
    raise exits.Failure(exits.USAGE, words)


def _why_no_cpu(error: NotAmongError, place: Place) -> str:
    if error.id is None:
        return f"{error}: so many CPUs there are not"
    if error.id not in place.online:
        return f"CPU {error.id} is not online: {format_id_list(place.online)} are"
    allowed = format_id_list(place.cpus)
    return f"CPU {error.id} is outside the CPUs that this process may use, {allowed}; --all lifts its affinity"
