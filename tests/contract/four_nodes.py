"""Relative position on a real kernel: nodes 0 and 1 to nodes 2 and 3 and back, by every strategy.

Run as root by pytest on a kernel with four nodes (tests/numa/test_memory_contract.py does so in a guest):

    NUMAPLACE_CONTRACT=real python -m pytest tests/contract/four_nodes.py
"""

import pytest

from node_agent.core.strategy import KernelTraits
from numaplace.model.ids import NodeId, Nodes
from numaplace.model.move import Strategy
from tests.contract.worlds import GENEROUS, HOLDS_THE_LOCK, PATIENT, RealJob, World
from tests.fakes.moves import on

LOW, HIGH = on(0, 1), on(2, 3)


class Pair:
    """Two processes of one task, the memory of the first on node 0, that of the second on node 1."""

    def __init__(self) -> None:
        self.jobs = [RealJob("base", 8, node) for node in (0, 1)]
        self.address = self.jobs[0].address
        self.size_bytes = sum(job.size_bytes for job in self.jobs)
        self.processes = tuple(process for job in self.jobs for process in job.processes)

    def unchanged(self) -> bool:
        """Whether not a byte of either has changed."""
        return all(job.unchanged() for job in self.jobs)

    def tried(self) -> None:
        """The kernel does not tell."""

    def bytes_on(self, node: NodeId) -> int:
        """How much of both lies on a node."""
        return sum(job.bytes_on(node) for job in self.jobs)

    def nodes(self) -> list[Nodes]:
        """The nodes that each one's memory lies on."""
        return [frozenset(NodeId(node) for node in range(4) if job.bytes_on(NodeId(node))) for job in self.jobs]

    def release(self) -> None:
        """Nothing is pinned."""

    def end(self) -> None:
        """End both."""
        for job in self.jobs:
            job.end()


@pytest.fixture
def pair(world: World) -> Pair:
    """A task of two processes; it ends before its cpuset goes."""
    made = Pair()
    world.jobs.append(made)
    return made


def test_relative_position_is_kept_whichever_strategy_is_used(world: World, pair: Pair) -> None:
    """The first source's pages go to the first target and the second's to the second, also by the kernel's own move."""
    outcome = world.move(pair, GENEROUS, HIGH, LOW)
    assert (outcome.strategy, pair.nodes()) == (Strategy.MOVE_PAGES, [on(2), on(3)])
    world.traits = HOLDS_THE_LOCK
    outcome = world.move(pair, PATIENT, LOW, HIGH)
    assert (outcome.strategy, pair.nodes()) == (Strategy.MIGRATE_PAGES, [on(0), on(1)])
    world.traits = KernelTraits()
    cpuset = world.cpuset(pair, LOW, ours=True)
    outcome = world.move(pair, GENEROUS, HIGH, LOW)
    assert (outcome.strategy, pair.nodes()) == (Strategy.CPUSET_HANDOVER, [on(2), on(3)])
    assert cpuset.mems() == HIGH
    world.owned.clear()
    cpuset.write_mems(LOW)
    outcome = world.move(pair, GENEROUS, LOW, HIGH)
    assert (outcome.strategy, pair.nodes()) == (Strategy.VERIFY_AND_FINISH, [on(0), on(1)])
    assert pair.unchanged()


def test_unequal_sets_are_gathered_and_spread(world: World, pair: Pair) -> None:
    """Two nodes' pages go to the one home there is, and come back over both of two equal ones."""
    world.move(pair, GENEROUS, on(3), LOW)
    assert pair.nodes() == [on(3), on(3)]
    world.move(pair, GENEROUS, LOW, on(3))
    held = [pair.bytes_on(NodeId(node)) for node in (0, 1)]
    assert sum(held) == pair.size_bytes
    assert min(held) > 0
    assert pair.unchanged()
