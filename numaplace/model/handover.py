"""The calm hand-over of a cpuset, planned: which files are written when, and which pages are moved in between.

On v2 the kernel migrates at every write of `cpuset.mems`, and when a task is attached to another cpuset: at once, once
per thread, without pace, account or end before its end. It has nothing to do while the new nodes contain the old ones.
So the nodes are widened, the pages are moved at a pace, and then the nodes are narrowed. Relative position is kept as
the page-migration document promises: the n-th old node's pages go to the n-th new node.

A plan is made from what the files say, carried out by others, and says for each step how to take it back.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from numaplace.model.cpuset import format_id_list
from numaplace.model.hand import Transfer, is_idle
from numaplace.model.ids import Cpus, Nodes
from numaplace.model.topology import Topology


@dataclass(frozen=True, slots=True)
class Cpuset:
    """A cpuset as its files say; ``path`` is its cgroup's.

    ``cpus`` and ``mems`` are what was written, which on v2 may be nothing: then the parent's are used. ``of_parent``
    are the nodes that it can have at most. ``kernel_moves``: whether the kernel moves pages itself (v1 can do without).
    """

    path: str
    cpus: Cpus
    mems: Nodes
    effective_cpus: Cpus
    effective_mems: Nodes
    of_parent: Nodes
    kernel_moves: bool = True


@dataclass(frozen=True, slots=True)
class WriteMems:
    """Write the nodes of a cpuset, none for its parent's; ``finds`` is what the file must hold before, if anything."""

    path: str
    mems: Nodes
    finds: Nodes | None = None


@dataclass(frozen=True, slots=True)
class WriteCpus:
    """Write the CPUs of a cpuset, none for its parent's; ``finds`` as of nodes."""

    path: str
    cpus: Cpus
    finds: Cpus | None = None


@dataclass(frozen=True, slots=True)
class Attach:
    """Move a process, with all its threads, into a cgroup."""

    path: str
    pid: int


Write = WriteMems | WriteCpus | Attach


@dataclass(frozen=True, slots=True)
class Step:
    """A write, and the one that takes it back."""

    do: Write
    undo: Write


@dataclass(frozen=True, slots=True)
class Handover:
    """What to write, what to move then, and what to write in the end; ``remarks`` are for the user, in plain words."""

    before: tuple[Step, ...] = ()
    move: Transfer | None = None
    after: tuple[WriteMems, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def undo(self) -> tuple[Write, ...]:
        """What takes all of ``before`` back."""
        return tuple(step.undo for step in reversed(self.before))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no calm way, and what to do instead."""

    words: str


def plan_mems(cpuset: Cpuset, mems: Nodes, below: Iterable[Cpuset]) -> Handover | Refusal:
    """Give a cpuset other nodes; ``below`` are its descendants, whose own nodes the change may not take away."""
    refused = _bounds(cpuset, mems, below)
    if refused is not None:
        return refused
    if mems == cpuset.mems == cpuset.effective_mems:
        return Handover(remarks=(f"{cpuset.path} allows nodes {format_id_list(mems)} already",))
    before = () if cpuset.effective_mems <= mems else _widened(cpuset, mems)
    holds = cpuset.effective_mems | mems if before else cpuset.mems
    return Handover(before, _move(cpuset.effective_mems, mems), (WriteMems(cpuset.path, mems, holds),))


def plan_cpus(
    cpuset: Cpuset, cpus: Cpus, mems: Nodes | None, below: Iterable[Cpuset], topology: Topology
) -> Handover | Refusal:
    """Give a cpuset other CPUs, and with ``mems`` other nodes; the pages follow to the CPUs' home."""
    write = Step(WriteCpus(cpuset.path, cpus, cpuset.cpus), WriteCpus(cpuset.path, cpuset.cpus, cpus))
    nodes = Handover() if mems is None else plan_mems(cpuset, mems, below)
    if isinstance(nodes, Refusal):
        return nodes
    allowed = cpuset.effective_mems if mems is None else mems
    homing, remarks = _homing(cpuset.effective_cpus, cpus, cpuset.effective_mems, allowed, topology)
    return Handover((*nodes.before, write), nodes.move or homing, nodes.after, remarks)


def plan_attach(pid: int, origin: Cpuset, destination: Cpuset, topology: Topology) -> Handover | Refusal:
    """Bring a process from one cpuset into another; ``origin`` is where it is now."""
    if origin.path == destination.path:
        return Handover(remarks=(f"process {pid} is in {destination.path} already",))
    attach = Step(Attach(destination.path, pid), Attach(origin.path, pid))
    old, new = origin.effective_mems, destination.effective_mems
    if not new or not destination.effective_cpus:
        return Refusal(f"{destination.path} has no CPUs or no nodes yet; give it both first")
    if old <= new:
        homing, remarks = _homing(origin.effective_cpus, destination.effective_cpus, old, new, topology)
        return Handover((attach,), homing, (), remarks)
    if not destination.kernel_moves:
        return Handover((attach,), _move(old, new))
    missing = old - destination.of_parent
    if missing:
        return Refusal(
            f"{destination.path} cannot have node {format_id_list(missing)} for the while, because its parent does not"
            f" allow it, so the kernel would move all of process {pid} at once; allow it there first"
        )
    back = WriteMems(destination.path, destination.mems, old | new)
    remarks = (f"while pages move, tasks of {destination.path} may use nodes {format_id_list(old | new)}",)
    return Handover((*_widened(destination, old), attach), _move(old, new), (back,), remarks)


def _bounds(cpuset: Cpuset, mems: Nodes, below: Iterable[Cpuset]) -> Refusal | None:
    missing = mems - cpuset.of_parent
    if missing:
        has = format_id_list(cpuset.of_parent)
        return Refusal(f"the parent of {cpuset.path} allows nodes {has}, not {format_id_list(missing)}")
    for each in below:
        lost = each.mems - mems
        if lost:
            both = format_id_list(cpuset.effective_mems | mems)
            return Refusal(
                f"{each.path} below it has nodes of its own ({format_id_list(each.mems)}), which would lose"
                f" {format_id_list(lost)}; give {cpuset.path} the nodes {both} first, then change {each.path},"
                f" and then {cpuset.path} again"
            )
    return None


def _widened(cpuset: Cpuset, mems: Nodes) -> tuple[Step, ...]:
    """Allow these nodes as well; nothing to do if they are allowed."""
    wide = cpuset.effective_mems | mems
    if wide == cpuset.effective_mems:
        return ()
    return (Step(WriteMems(cpuset.path, wide, cpuset.mems), WriteMems(cpuset.path, cpuset.mems, wide)),)


def _move(old: Nodes, new: Nodes) -> Transfer | None:
    if not old:
        return None
    transfer = Transfer(old, new)
    return None if is_idle(transfer) else transfer


def _homing(
    cpus: Cpus, new_cpus: Cpus, holding: Nodes, allowed: Nodes, topology: Topology
) -> tuple[Transfer | None, tuple[str, ...]]:
    """The way of the pages to the new CPUs' home, as far as it is allowed; and what is to be said of it."""
    home, old_home = topology.home_of(new_cpus), topology.home_of(cpus)
    remarks: tuple[str, ...] = ()
    outside = home - allowed
    if outside:
        where = f"CPUs {format_id_list(new_cpus)} are at home on node {format_id_list(home)}"
        remarks = (f"{where}, and pages follow as far as nodes {format_id_list(allowed)} go; --mems changes both",)
    target = home & allowed
    if not target or home == old_home:
        return None, remarks
    # As many nodes as before: relative position is kept. Else whatever is away from home goes there.
    return _move(old_home if len(old_home) == len(target) else holding | old_home, target), remarks
