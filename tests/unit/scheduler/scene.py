"""A stage for the state's tests: a two-node host with tasks, and a short way to say what its agent reports."""

import itertools
from collections.abc import Iterable
from typing import TypeVar

from numaplace.model.ids import CpuId, HostId, JobId, MoveId, NodeId, Nodes, TaskId
from numaplace.model.job import ChangeSource, Home, HomeChange, Task
from numaplace.model.move import MoveOrder, MoveOutcome, MoveState
from numaplace.model.policy import MIB
from numaplace.model.residency import Residency
from numaplace.model.session import Abilities, Hello, HostLoad, MoveAccepted, Report, Snapshot
from numaplace.model.topology import Node, Topology
from scheduler.planning.records import MoveLimits, TaskKey
from scheduler.state.bounds import Bounds
from scheduler.state.events import AgentConnected, AgentLost, AgentReported, Event, SessionId, Tick
from scheduler.state.instructions import Instruction, SendTo, StoreOrder
from scheduler.state.invariants import check
from scheduler.state.machine import Restored, SchedulerState

GIB = 1 << 30
HOST = HostId("h1")
TASK = TaskId("cgroup:/job")
T = TypeVar("T")


def nodes(*ids: int) -> Nodes:
    """Node ids."""
    return frozenset(NodeId(i) for i in ids)


def two_nodes() -> Topology:
    """Two nodes of two CPUs and 8 GiB each."""
    distances = {NodeId(0): {NodeId(0): 10, NodeId(1): 20}, NodeId(1): {NodeId(0): 20, NodeId(1): 10}}
    return Topology(
        tuple(
            Node(NodeId(i), frozenset({CpuId(2 * i), CpuId(2 * i + 1)}), 8 * GIB, distances[NodeId(i)])
            for i in range(2)
        )
    )


def make_task(
    task: str = TASK, job: str = "job", home: int = 0, version: int = 1, pages: dict[int, int] | None = None
) -> Task:
    """A task at home on one node, with 400 MiB on node 0 unless told otherwise; ``pages`` is bytes by node."""
    placed = {0: 400 * MIB} if pages is None else pages
    return Task(
        id=TaskId(task),
        job=JobId(job),
        command="sleep",
        cpus=frozenset({CpuId(2 * home)}),
        mems=nodes(0, 1),
        home=Home(nodes(home), version),
        previous_home=nodes(home),
        processes=1,
        threads=1,
        age_s=100.0,
        residency=Residency.of_nodes({NodeId(n): size for n, size in placed.items()}),
    )


def home_change(task: str = TASK, home: int = 1, version: int = 2, previous: int = 0) -> HomeChange:
    """A task's home becomes another node."""
    return HomeChange(
        task=TaskId(task),
        cpus=frozenset({CpuId(2 * home)}),
        mems=nodes(0, 1),
        home=Home(nodes(home), version),
        previous_home=nodes(previous),
        source=ChangeSource.SWEEP,
    )


def make_snapshot(
    tasks: Iterable[Task] = (),
    open_moves: Iterable[MoveOrder] = (),
    outcomes: Iterable[MoveOutcome] = (),
    abilities: Abilities | None = None,
) -> Snapshot:
    """The truth about a two-node host with 4 GiB free on each node."""
    return Snapshot(
        topology=two_nodes(),
        abilities=abilities or Abilities(),
        tasks=tuple(tasks),
        load=HostLoad({NodeId(0): 4 * GIB, NodeId(1): 4 * GIB}),
        open_moves=tuple(open_moves),
        outcomes=tuple(outcomes),
    )


def outcome_of(
    order: MoveOrder, state: MoveState = MoveState.COMPLETED, pages: dict[int, int] | None = None
) -> MoveOutcome:
    """How an order ended; by default all 400 MiB are at its home."""
    placed = dict.fromkeys(order.home, 400 * MIB) if pages is None else {NodeId(n): b for n, b in pages.items()}
    return MoveOutcome(
        order.id, order.task, state, "done", moved_bytes=400 * MIB, seconds=2.0, residency=Residency.of_nodes(placed)
    )


class Stage:
    """A state with a clock; every event is followed by a check of the invariants."""

    def __init__(
        self,
        restored: Restored | None = None,
        limits: MoveLimits | None = None,
        bounds: Bounds | None = None,
        epoch: str = "run1",
    ) -> None:
        self.now_s = 1000.0
        self.state = SchedulerState(epoch, self.now_s, restored, limits, bounds)
        self.log: list[Instruction] = []
        self._sessions = itertools.count(1)
        self._sequence: dict[SessionId, int] = {}

    def tell(self, event: Event) -> list[Instruction]:
        """Hand an event to the state; returns and logs what it wants done."""
        done = self.state.handle(event, self.now_s)
        check(self.state)
        self.log += done
        return done

    def dial(self, host: HostId = HOST, instance: str = "i1", boot_id: str = "b1", protocol: int = 1) -> SessionId:
        """An agent says hello."""
        session = SessionId(next(self._sessions))
        self._sequence[session] = 1
        self.tell(AgentConnected(session, Hello(host, instance, boot_id, protocol)))
        return session

    def report(self, session: SessionId, report: Report) -> list[Instruction]:
        """The agent's next message."""
        self._sequence[session] += 1
        return self.tell(AgentReported(session, self._sequence[session], report))

    def skip(self, session: SessionId) -> None:
        """A message of the agent is lost."""
        self._sequence[session] += 1

    def join(self, *tasks: Task, host: HostId = HOST, boot_id: str = "b1") -> SessionId:
        """An agent connects and sends its snapshot."""
        session = self.dial(host, boot_id=boot_id)
        self.report(session, make_snapshot(tasks))
        return session

    def lose(self, session: SessionId) -> list[Instruction]:
        """The connection breaks."""
        return self.tell(AgentLost(session))

    def pass_time(self, seconds: float) -> list[Instruction]:
        """Time passes, with a Tick at its end."""
        self.now_s += seconds
        return self.tell(Tick())

    def order(self, session: SessionId, home: int = 1, version: int = 2) -> MoveOrder:
        """The task's home changes, and the order that follows once it has settled."""
        self.report(session, home_change(home=home, version=version, previous=1 - home))
        done = self.pass_time(0.05)
        return only(sent(done, MoveOrder))

    def accept(self, session: SessionId, order: MoveOrder) -> None:
        """The agent has the order."""
        self.report(session, MoveAccepted(order.id))

    def stored_before_sent(self) -> bool:
        """Whether every order of the log was stored before it was sent for the first time."""
        stored: set[MoveId] = set()
        for done in self.log:
            if isinstance(done, StoreOrder):
                stored.add(done.move.id)
            elif isinstance(done, SendTo) and isinstance(done.message, MoveOrder) and done.message.id not in stored:
                return False
        return True

    def key(self, task: str = TASK, host: HostId = HOST) -> TaskKey:
        """A task's key."""
        return TaskKey(host, TaskId(task))


def sent(done: Iterable[Instruction], kind: type[T]) -> list[T]:
    """The messages of one kind that are sent to agents."""
    return [d.message for d in done if isinstance(d, SendTo) and isinstance(d.message, kind)]


def of_kind(done: Iterable[Instruction], kind: type[T]) -> list[T]:
    """The instructions of one kind."""
    return [d for d in done if isinstance(d, kind)]


def only(items: list[T]) -> T:
    """The one item there must be."""
    assert len(items) == 1, items
    return items[0]
