"""Plans of calm hand-overs: the kernel never finds anything to move, and what was written before comes back exactly."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace.model.hand import Transfer
from numaplace.model.handover import (
    Attach,
    Cpuset,
    Handover,
    Refusal,
    Step,
    WriteCpus,
    WriteMems,
    plan_attach,
    plan_cpus,
    plan_mems,
)
from numaplace.model.ids import CpuId, Cpus, NodeId, Nodes
from numaplace.model.topology import Node, Topology

NODES = 4
ALL = frozenset(map(NodeId, range(NODES)))


def nodes(*numbers: int) -> Nodes:
    """A set of nodes."""
    return frozenset(map(NodeId, numbers))


def cpus(*numbers: int) -> Cpus:
    """A set of CPUs."""
    return frozenset(map(CpuId, numbers))


HOST = Topology(tuple(Node(node, cpus(2 * node, 2 * node + 1), 1 << 30, {}) for node in sorted(ALL)))
"""Four nodes of two CPUs each."""


def cpuset(path: str, mems: Iterable[int], of: Iterable[int] = (0, 1), parent: Nodes = ALL) -> Cpuset:
    """A cpuset whose words all hold."""
    allowed, able = nodes(*mems), cpus(*of)
    return Cpuset(path, able, allowed, able, allowed, parent)


def planned(plan: Handover | Refusal) -> Handover:
    """A plan, and no refusal."""
    assert isinstance(plan, Handover)
    return plan


def refused(plan: Handover | Refusal) -> str:
    """A refusal's words."""
    assert isinstance(plan, Refusal)
    return plan.words


def test_nodes_are_widened_moved_from_and_narrowed() -> None:
    """The calm hand-over, each write with what the file must hold, and the way back."""
    plan = planned(plan_mems(cpuset("/a", [0, 1]), nodes(2, 3), ()))
    widen = Step(WriteMems("/a", nodes(0, 1, 2, 3), nodes(0, 1)), WriteMems("/a", nodes(0, 1), nodes(0, 1, 2, 3)))
    assert plan.before == (widen,)
    assert plan.move == Transfer(nodes(0, 1), nodes(2, 3))
    assert plan.after == (WriteMems("/a", nodes(2, 3), nodes(0, 1, 2, 3)),)
    assert plan.undo == (widen.undo,)


def test_what_was_written_comes_back_exactly() -> None:
    """On v2 nothing written means the parent's nodes: undoing writes nothing again."""
    inherits = replace(cpuset("/a", [0]), mems=nodes())
    plan = planned(plan_mems(inherits, nodes(1), ()))
    assert plan.undo == (WriteMems("/a", nodes(), nodes(0, 1)),)


def test_fewer_nodes_need_no_widening_and_more_need_no_move() -> None:
    """There is one write then, over what was read."""
    fewer = planned(plan_mems(cpuset("/a", [0, 1]), nodes(1), ()))
    assert (fewer.before, fewer.move) == ((), Transfer(nodes(0, 1), nodes(1)))
    assert fewer.after == (WriteMems("/a", nodes(1), nodes(0, 1)),)
    more = planned(plan_mems(cpuset("/a", [0]), nodes(0, 1), ()))
    assert (more.before, more.move, more.after) == ((), None, (WriteMems("/a", nodes(0, 1), nodes(0)),))
    same = planned(plan_mems(cpuset("/a", [0]), nodes(0), ()))
    assert (same.before, same.move, same.after) == ((), None, ())
    assert "already" in same.remarks[0]


def test_nodes_that_the_parent_or_a_child_forbids_are_refused() -> None:
    """With the word of which, and of the order in which it can be done."""
    assert "allows nodes 0, not 1" in refused(plan_mems(cpuset("/a", [0], parent=nodes(0)), nodes(1), ()))
    child = cpuset("/a/b", [0])
    words = refused(plan_mems(cpuset("/a", [0]), nodes(1), [child]))
    assert "/a/b below it" in words
    assert "give /a the nodes 0-1 first" in words
    # That order is possible, step by step.
    assert planned(plan_mems(cpuset("/a", [0]), nodes(0, 1), [child])).move is None
    assert planned(plan_mems(child, nodes(1), ())).move == Transfer(nodes(0), nodes(1))
    assert planned(plan_mems(cpuset("/a", [0, 1]), nodes(1), [cpuset("/a/b", [1])]))
    inherits = replace(child, mems=nodes())
    assert planned(plan_mems(cpuset("/a", [0]), nodes(1), [inherits]))


@given(st.sets(st.sampled_from(sorted(ALL)), min_size=1), st.sets(st.sampled_from(sorted(ALL)), min_size=1))
def test_no_write_before_the_move_takes_a_node_away(old: set[NodeId], new: set[NodeId]) -> None:
    """So the kernel has nothing to move and no task is without nodes; and in the end the nodes are the ones wanted."""
    plan = planned(plan_mems(cpuset("/a", old), frozenset(new), ()))
    held = frozenset(old)
    for step in plan.before:
        assert isinstance(step.do, WriteMems)
        assert (step.do.finds, step.undo) == (held, WriteMems("/a", held, step.do.mems))
        assert step.do.mems >= held
        held = step.do.mems
    if plan.move is not None:
        assert plan.move.targets <= held
    for write in plan.after:
        assert write.finds == held
        held = write.mems
    assert held == new


def test_pages_follow_cpus_to_their_home() -> None:
    """CPUs are written first, since the kernel moves nothing then; relative position is kept."""
    both = cpuset("/a", [0, 1, 2, 3], [0, 2])
    plan = planned(plan_cpus(both, cpus(4, 6), None, (), HOST))
    assert plan.before == (Step(WriteCpus("/a", cpus(4, 6), cpus(0, 2)), WriteCpus("/a", cpus(0, 2), cpus(4, 6))),)
    assert (plan.move, plan.after, plan.remarks) == (Transfer(nodes(0, 1), nodes(2, 3)), (), ())
    spread = planned(plan_cpus(both, cpus(4), None, (), HOST))
    assert spread.move == Transfer(ALL, nodes(2))
    assert planned(plan_cpus(both, cpus(1, 3), None, (), HOST)).move is None


def test_pages_follow_cpus_only_as_far_as_the_nodes_allow() -> None:
    """What does not is said, and --mems changes both."""
    plan = planned(plan_cpus(cpuset("/a", [0]), cpus(2), None, (), HOST))
    assert plan.move is None
    assert "at home on node 1" in plan.remarks[0]
    both = planned(plan_cpus(cpuset("/a", [0]), cpus(2), nodes(1), (), HOST))
    assert [type(step.do) for step in both.before] == [WriteMems, WriteCpus]
    assert [type(write) for write in both.undo] == [WriteCpus, WriteMems]
    assert (both.move, both.remarks) == (Transfer(nodes(0), nodes(1)), ())
    assert both.after == (WriteMems("/a", nodes(1), nodes(0, 1)),)
    assert "below it" in refused(plan_cpus(cpuset("/a", [0]), cpus(2), nodes(1), [cpuset("/a/b", [0])], HOST))


def test_a_process_is_attached_to_nodes_that_have_been_widened() -> None:
    """The new cpuset allows the old nodes for the while, and then has its own words back."""
    plan = planned(plan_attach(7, cpuset("/a", [0, 1]), cpuset("/b", [2, 3]), HOST))
    wide = WriteMems("/b", ALL, nodes(2, 3))
    assert [step.do for step in plan.before] == [wide, Attach("/b", 7)]
    assert plan.move == Transfer(nodes(0, 1), nodes(2, 3))
    assert plan.after == (WriteMems("/b", nodes(2, 3), ALL),)
    assert plan.undo == (Attach("/a", 7), WriteMems("/b", nodes(2, 3), ALL))
    smaller = planned(plan_attach(7, cpuset("/a", [0, 1]), cpuset("/b", [1]), HOST))
    assert smaller.before[0].do == WriteMems("/b", nodes(0, 1), nodes(1))


def test_attaching_where_the_kernel_moves_nothing_writes_no_nodes() -> None:
    """Where the old nodes are allowed, and on v1 without memory_migrate; pages follow the CPUs or the nodes."""
    wider = planned(plan_attach(7, cpuset("/a", [0], [0]), cpuset("/b", [0, 1], [2]), HOST))
    assert [step.do for step in wider.before] == [Attach("/b", 7)]
    assert (wider.move, wider.after) == (Transfer(nodes(0), nodes(1)), ())
    quiet = replace(cpuset("/b", [1]), kernel_moves=False)
    v1 = planned(plan_attach(7, cpuset("/a", [0]), quiet, HOST))
    assert ([step.do for step in v1.before], v1.after) == ([Attach("/b", 7)], ())
    assert v1.move == Transfer(nodes(0), nodes(1))


def test_where_a_process_cannot_be_attached_calmly_is_refused() -> None:
    """An empty cpuset of v1, a parent that does not allow the old nodes; being there already is no fault."""
    assert "no nodes yet" in refused(plan_attach(7, cpuset("/a", [0]), cpuset("/b", []), HOST))
    bounded = cpuset("/b", [1], parent=nodes(1))
    assert "cannot have node 0 for the while" in refused(plan_attach(7, cpuset("/a", [0]), bounded, HOST))
    there = planned(plan_attach(7, cpuset("/a", [0]), cpuset("/a", [0]), HOST))
    assert (there.before, there.move) == ((), None)


@pytest.mark.parametrize("origin", [[0], [0, 1], [0, 1, 2], [2]])
@pytest.mark.parametrize("destination", [[0], [1, 2], [3]])
def test_a_process_is_never_attached_to_fewer_nodes_than_it_had(origin: list[int], destination: list[int]) -> None:
    """At the moment of the attach, so that the kernel has nothing to move."""
    plan = planned(plan_attach(7, cpuset("/a", origin), cpuset("/b", destination), HOST))
    held = nodes(*destination)
    for step in plan.before:
        if isinstance(step.do, WriteMems):
            held = step.do.mems
    assert held >= nodes(*origin)
