"""Orders, controls and movers for tests of moving memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from node_agent.core.strategy import KernelTraits
from node_agent.linux.mover import MemoryMover
from node_agent.ports import MoveJob
from numaplace.model.hand import HandMove, Transfer
from numaplace.model.ids import MoveId, NodeId, Nodes, TaskId
from numaplace.model.move import MoveOrder, MoveOutcome, MoveProgress, MoveState
from numaplace.model.policy import Budget, Policy
from tests.fakes.kernel import FakeHost, FakeProcess

OLD, NEW = frozenset({NodeId(0)}), frozenset({NodeId(1)})
"""Where most tests move from and to."""

SMALL = Budget(headroom_bytes=0)
"""A budget for nodes of some megabytes."""


def on(*nodes: int) -> Nodes:
    """Nodes by number."""
    return frozenset(NodeId(n) for n in nodes)


@dataclass
class Control:
    """A control that keeps what was reported, and can cancel."""

    reported: list[MoveProgress] = field(default_factory=list)
    cancel_when: Callable[[], str | None] = lambda: None

    def cancelled(self) -> str | None:
        """The reason to end early."""
        return self.cancel_when()

    def report(self, progress: MoveProgress) -> None:
        """Keep it."""
        self.reported.append(progress)


def order(home: Nodes, previous: Nodes, policy: Policy | None = None) -> MoveOrder:
    """An order to go home."""
    return MoveOrder(MoveId("move"), TaskId("task"), home, previous, 1, policy or Policy(budget=SMALL))


def mover_of(host: FakeHost, traits: KernelTraits | None = None, owned: str = "") -> MemoryMover:
    """A mover on a fake host; cgroups of the name ``owned`` are ours."""
    return MemoryMover(
        host,
        sorted(host.nodes),
        lambda: traits or KernelTraits(),
        owns_cpuset=lambda path: bool(owned) and path == owned,
    )


def move(
    host: FakeHost,
    processes: Sequence[FakeProcess],
    home: Nodes = NEW,
    previous: Nodes = OLD,
    *,
    policy: Policy | None = None,
    mover: MemoryMover | None = None,
    control: Control | None = None,
    cgroup: str = "",
) -> MoveOutcome:
    """Move a task of these processes, and check what holds for every outcome."""
    task = host.task(processes, cgroup=cgroup)
    topology = host.topology()
    mover = mover or mover_of(host)
    outcome = mover.move(MoveJob(order(home, previous, policy), task, topology), control or Control())
    check(host, processes, home, outcome)
    return outcome


def job_by_hand(
    host: FakeHost, processes: Sequence[FakeProcess], what: HandMove, policy: Policy | None = None, cgroup: str = ""
) -> MoveJob:
    """What is asked for by hand, of a task of these processes."""
    home, previous = (what.targets, what.sources) if isinstance(what, Transfer) else (frozenset(what.nodes), on())
    return MoveJob(order(home, previous, policy), host.task(processes, cgroup=cgroup), host.topology(), what)


def move_by_hand(
    host: FakeHost,
    processes: Sequence[FakeProcess],
    what: HandMove,
    *,
    policy: Policy | None = None,
    mover: MemoryMover | None = None,
    control: Control | None = None,
) -> MoveOutcome:
    """Move by hand what was asked for, and check what always holds."""
    mover, job = mover or mover_of(host), job_by_hand(host, processes, what, policy)
    before = host.bytes_by_node(processes)
    outcome = mover.move(job, control or Control())
    assert outcome.state.final
    assert outcome.words
    after = host.bytes_by_node(processes)
    if outcome.state is not MoveState.REFUSED:
        assert dict(outcome.residency.by_node) == after, "the outcome's residency is not the host's"
    if isinstance(what, Transfer):
        others = {node for node in before if node not in what.sources | what.targets}
        assert {n: after.get(n, 0) for n in others} == {n: before[n] for n in others}, "strangers to the move moved"
    return outcome


def check(host: FakeHost, processes: Sequence[FakeProcess], home: Nodes, outcome: MoveOutcome) -> None:
    """What must hold after any move: the account agrees with the host, to the byte."""
    truth = host.bytes_by_node(processes)
    assert outcome.state.final
    assert dict(outcome.residency.by_node) == truth, "the outcome's residency is not the host's"
    remote = sum(size for node, size in truth.items() if node not in home)
    stayed = sum(size for reason, size in outcome.left.items() if reason.value != "vanished")
    assert stayed == remote, f"{stayed} bytes are explained, {remote} lie away from home"
    assert outcome.words
