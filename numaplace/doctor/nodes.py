"""Rules on what the host is: its machine, its nodes, the distances between them."""

from collections.abc import Iterable, Iterator

from numaplace.doctor.facts import Nodes
from numaplace.doctor.finding import Finding, State
from numaplace.doctor.rule import Rule, rule
from numaplace.kernel.arch import NUMBERS
from numaplace.model.cpuset import format_id_list

_GIB = 1 << 30


def _machine(told: tuple[str, bool]) -> Iterable[Finding]:
    machine, known = told
    if known:
        yield Finding("machine", State.GOOD, f"{machine}: its system calls are known")
    else:
        words = f"{machine or 'this machine'} with this Python: its system calls are not known, nothing can be moved"
        yield Finding("machine", State.MISSING, words, f"use a 64-bit Python on one of {', '.join(sorted(NUMBERS))}")


def _nodes(nodes: Nodes | None) -> Iterator[Finding]:
    if nodes is None:
        words = "this kernel was built without NUMA: to it all memory is equally near"
        yield Finding("nodes", State.NOTE, words, "boot a kernel with CONFIG_NUMA if this machine has several nodes")
        return
    sets = nodes.sets
    listed = ", ".join(f"{node}: {nodes.memory_bytes[node] / _GIB:.1f} GiB" for node in sorted(sets.with_memory))
    if len(sets.with_memory) < 2:  # noqa: PLR2004 - two nodes to move between
        words = f"one node with memory ({listed}): there is nowhere to move pages to"
        remedy = "switch memory interleaving off in the firmware, if this machine has several sockets"
        yield Finding("nodes", State.NOTE, words, remedy)
        return
    yield Finding("nodes", State.GOOD, f"{len(sets.with_memory)} nodes with memory ({listed})")
    if no_cpus := sets.with_memory - sets.with_cpus:
        words = "have no CPUs (CXL, HBM): pages go there only if somebody says so"
        yield Finding("nodes-without-cpus", State.NOTE, f"nodes {format_id_list(no_cpus)} {words}")
    if no_memory := (sets.with_cpus & sets.online) - sets.with_memory:
        words = "have no memory: the home of their CPUs is the nearest node that has some"
        yield Finding("nodes-without-memory", State.NOTE, f"nodes {format_id_list(no_memory)} {words}")
    yield _distances(nodes)


def _distances(nodes: Nodes) -> Finding:
    with_memory = sorted(nodes.sets.with_memory)
    away = {(a, b): nodes.distances[a][b] for a in with_memory for b in with_memory if a != b}
    lowest, highest = min(away.values()), max(away.values())
    told = f"{lowest}" if lowest == highest else f"{lowest} to {highest}"
    if any(away[b, a] != distance for (a, b), distance in away.items()):
        return Finding("distances", State.NOTE, f"{told} between nodes, not the same there and back")
    return Finding("distances", State.GOOD, f"{told} between nodes (10 is a node's own)")


RULES: tuple[Rule, ...] = (
    rule("machine", lambda facts: (facts.machine, facts.known_machine), _machine),
    rule("nodes", lambda facts: facts.nodes, _nodes),
)
