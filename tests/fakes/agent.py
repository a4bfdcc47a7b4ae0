"""A host, its mover, its journal and its watchers for the agent's core and shell, and a driver that checks the rules.

:class:`Driven` carries the core's instructions out as a shell would, and fails the test as soon as one breaks a rule
that holds always: what is reported is in the journal before, no process has two movers, an order ends once.
"""

import contextlib
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from node_agent.core.agent import AgentCore
from node_agent.core.desk import Limits
from node_agent.core.events import (
    CancelMover,
    Do,
    Event,
    HandMoveAsked,
    JournalAccept,
    JournalAcknowledge,
    JournalFinish,
    JournalPolicies,
    MeasurePages,
    MoverEnded,
    PagesMeasured,
    Publish,
    RefuseByHand,
    Send,
    StartMover,
    Swept,
    Told,
    WakeAt,
    Woke,
)
from node_agent.core.facts import Hint, Measured, ProcessRef, Remembered, Sweep, TaskFacts
from node_agent.ports import MoveControl, MoveJob, NotYoursError
from numaplace.model.hand import HAND_PREFIX, Prediction, Transfer
from numaplace.model.ids import CpuId, JobId, MoveId, NodeId, Nodes, TaskId
from numaplace.model.job import ChangeSource
from numaplace.model.move import LeftReason, MoveOrder, MoveOutcome, MoveProgress, MoveState
from numaplace.model.policy import Policy
from numaplace.model.residency import Residency
from numaplace.model.session import Abilities, HostLoad, MoveAccepted, PolicySet, Report, Snapshot
from numaplace.model.topology import Node, Topology

GIB = 1 << 30
CPUS_PER_NODE = 4
T = TaskId("cgroup:/a")
U = TaskId("cgroup:/b")


def nodes(*ids: int) -> Nodes:
    """Node ids as a set."""
    return frozenset(map(NodeId, ids))


def topology(count: int = 2) -> Topology:
    """So many nodes of four CPUs and 256 GiB each."""
    return Topology(
        tuple(
            Node(
                NodeId(n),
                frozenset(map(CpuId, range(CPUS_PER_NODE * n, CPUS_PER_NODE * (n + 1)))),
                256 * GIB,
                {NodeId(m): 10 if m == n else 20 for m in range(count)},
            )
            for n in range(count)
        )
    )


HOST = topology()


def facts(task: TaskId = T, home: int = 0, *, pid: int | None = None, uid: int = 0, job: str = "") -> TaskFacts:
    """A task whose CPUs are those of one node; without a pid it has one that follows from its id."""
    number = pid if pid is not None else 1000 + sum(map(ord, task))
    return TaskFacts(
        id=task,
        job=JobId(job or task.rpartition("/")[2]),
        command="job",
        processes=(ProcessRef(number, 7),),
        threads=1,
        cpus=frozenset(map(CpuId, range(CPUS_PER_NODE * home, CPUS_PER_NODE * (home + 1)))),
        mems=nodes(0, 1),
        started_s=1.0,
        cgroup=task.removeprefix("cgroup:"),
        uid=uid,
    )


def order(move: str, task: TaskId = T, home: int = 1, policy: Policy | None = None) -> MoveOrder:
    """An order to bring a task to one node from the other."""
    return MoveOrder(MoveId(move), task, nodes(home), nodes(1 - home), 1, policy or Policy())


def outcome(of: MoveOrder, state: MoveState = MoveState.COMPLETED) -> MoveOutcome:
    """The end of an order."""
    return MoveOutcome(of.id, of.task, state, "as told by a test", moved_bytes=GIB, seconds=1.0)


@contextmanager
def folder_for_all() -> Iterator[Path]:
    """A folder that every user may enter: pytest's own are closed to others, again with each run of pytest."""
    with tempfile.TemporaryDirectory(prefix="numaplace-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


class Driven:
    """The core, and a shell of plain values around it: everything that it ever said, and what is open now.

    Each step ends with a check of the rules that hold always. ``now_s`` only moves when a test moves it.
    """

    def __init__(self, remembered: Remembered | None = None, limits: Limits | None = None) -> None:
        self.now_s = 100.0
        self.limits = limits or Limits()
        self.core = AgentCore("me", remembered, limits)
        self.homes: dict[TaskId, int] = {}
        self.host = HOST
        self.done: list[Do] = []
        self.running: dict[MoveId, MoveOrder] = {}
        self.by_hand: dict[MoveId, MoveOrder] = {}
        self.refused: dict[MoveId, str] = {}
        self.held: dict[MoveId, frozenset[ProcessRef]] = {}
        self.cancels: dict[MoveId, str] = {}
        self.measuring: list[TaskId] = []
        self.wake_s: float | None = None
        past = remembered or Remembered()
        self.accepted: dict[MoveId, MoveOrder] = {order.id: order for order in past.open_moves}
        self.finished: dict[MoveId, MoveOutcome] = {outcome.move: outcome for outcome in past.outcomes}
        self.ended: Counter[MoveId] = Counter(outcome.move for outcome in past.finished)
        self.swept = False

    def tell(self, event: Event) -> list[Do]:
        """One event; returns and carries out what the core says."""
        done = self.core.handle(event, self.now_s)
        for do in done:
            self._carry_out(do)
        self.done += done
        self.swept = self.swept or isinstance(event, Swept)
        self._check()
        return done

    def told(self, instruction: object) -> list[Do]:
        """The scheduler says something."""
        return self.tell(Told(instruction))  # type: ignore[arg-type]  # tests name instructions alone

    def sweep(self, *hints: Hint, **homes: int) -> list[Do]:
        """A sweep that shows the tasks of ``self.homes``, after these changes: ``a=1`` is cgroup:/a on node 1."""
        self.homes |= {TaskId(f"cgroup:/{name}"): home for name, home in homes.items()}
        tasks = tuple(facts(task, home) for task, home in self.homes.items())
        return self.tell(Swept(Sweep(self.now_s, self.host, tasks), hints))

    def gone(self, task: TaskId) -> list[Do]:
        """A sweep that does not show this task any more."""
        del self.homes[task]
        return self.sweep()

    def end(self, move: str, state: MoveState = MoveState.COMPLETED, home_bytes: int = 0) -> list[Do]:
        """A mover ends; with ``home_bytes`` it says where the pages are."""
        of = self.running[MoveId(move)]
        residency = Residency.of_nodes({NodeId(min(of.home)): home_bytes})
        ended = MoveOutcome(of.id, of.task, state, "told", moved_bytes=GIB, seconds=1.0, residency=residency)
        return self.tell(MoverEnded(ended))

    def ask(self, move: str, of: TaskFacts) -> list[Do]:
        """Somebody asks to move all of these processes' pages from node 0 to node 1."""
        by_hand = MoveOrder(MoveId(move), of.id, nodes(1), nodes(0), 0, Policy())
        return self.tell(HandMoveAsked(by_hand, of, Transfer(nodes(0), nodes(1))))

    def end_by_hand(self, move: str, state: MoveState = MoveState.COMPLETED) -> list[Do]:
        """The mover of a move by hand ends."""
        return self.tell(MoverEnded(outcome(self.by_hand[MoveId(move)], state)))

    def located(self, task: TaskId = T, seconds: float = 0.001, **by_node: int) -> list[Do]:
        """The pages of a task that is being measured are located: ``n0=…, n1=…`` bytes."""
        where = Residency.of_nodes({NodeId(int(name[1:])): size for name, size in by_node.items()})
        return self.tell(PagesMeasured(task, Measured(where), {}, seconds))

    def wait(self, seconds: float) -> list[Do]:
        """Time passes; Woke comes whenever it was asked for, exactly then."""
        done: list[Do] = []
        until_s = self.now_s + seconds
        wakes = 0
        while self.wake_s is not None and self.wake_s <= until_s:
            self.now_s, self.wake_s = max(self.now_s, self.wake_s), None
            done += self.tell(Woke())
            wakes += 1
            assert wakes <= 4 * (seconds + 10) * (1 + len(self.homes)), "wakes without end"
        self.now_s = until_s
        return done

    @property
    def reports(self) -> list[Report]:
        """Everything that was sent so far."""
        return [do.report for do in self.done if isinstance(do, Send)]

    def state_of(self, move: str) -> MoveState | None:
        """How an order ended, None if it has not."""
        found = self.finished.get(MoveId(move))
        return found.state if found else None

    def _carry_out(self, do: Do) -> None:
        self._carry_out_by_hand(do)
        match do:
            case JournalAccept(accepted):
                assert accepted.id not in self.accepted, "accepted twice"
                self.accepted[accepted.id] = accepted
            case JournalFinish(ended):
                self.ended[ended.move] += 1
                assert self.ended[ended.move] == 1, "ended twice"
                self.finished[ended.move] = ended
                self.running.pop(ended.move, None)
                self.accepted.pop(ended.move, None)
            case JournalAcknowledge(move):
                assert move in self.finished, "acknowledged before it ended"
                del self.finished[move]
            case StartMover(starting, what=None):
                assert starting.id in self.accepted, "started and not in the journal"
                assert all(other.task != starting.task for other in self.running.values()), "two movers for a task"
                self.running[starting.id] = starting
                assert len(self.running) <= self.limits.movers_max
            case CancelMover(move, reason):
                assert move in self.running, "cancelled what does not run"
                assert move not in self.cancels, "cancelled twice"
                self.cancels[move] = reason
            case MeasurePages(task):
                assert all(order.task != task for order in self.running.values()), "measured in motion"
                assert self._free(do.processes), "measured in motion"
                self.measuring.append(task)
                assert len(self.measuring) <= self.limits.measurements_max
            case WakeAt(at_s):
                assert at_s > self.now_s, "asked to be woken in the past"
                self.wake_s = at_s
            case Send(report):
                self._check_sent(report)
            case JournalPolicies() | _:
                pass

    def _carry_out_by_hand(self, do: Do) -> None:
        match do:
            case StartMover(starting, task, _, what):
                assert self._free(task.processes), "two movers for a process"
                self.held[starting.id] = frozenset(task.processes)
                if what is not None:
                    self.by_hand[starting.id] = starting
            case RefuseByHand(move, words):
                assert move not in self.by_hand, "refused what runs"
                self.refused[move] = words
            case Publish(MoveOutcome() as ended):
                self.held.pop(ended.move, None)
                self.by_hand.pop(ended.move, None)
            case Send(MoveOutcome() | MoveProgress() as report):
                assert not report.move.startswith(HAND_PREFIX), "the scheduler hears of a move by hand"
            case _:
                pass

    def _free(self, processes: Iterable[ProcessRef]) -> bool:
        """Whether no mover has any of these."""
        return all(held.isdisjoint(processes) for held in self.held.values())

    def _check_sent(self, report: Report) -> None:
        match report:
            case MoveAccepted(move):
                assert move in self.accepted, "reported as accepted and not in the journal"
            case MoveOutcome():
                known = self.finished.get(report.move)
                turned_down = report.state in (MoveState.REFUSED, MoveState.CANCELLED) and known is None
                assert known == report or turned_down or self.ended[report.move], "reported and not in the journal"
            case Snapshot():
                assert {order.id for order in report.open_moves} == set(self.accepted)
                assert {outcome.move for outcome in report.outcomes} == set(self.finished)
                assert {task.id for task in report.tasks} == set(self.core.tasks)
            case _:
                pass

    def _check(self) -> None:
        open_moves = {order.id for order in self.core.orders.open_orders}
        assert open_moves == set(self.accepted) or not self.swept, "core and journal know other orders"
        assert {o.move for o in self.core.orders.unacknowledged} == set(self.finished)
        for task in set(self.core.tasks):
            active = self.core.orders.active(task)
            assert (active is not None) == any(order.task == task for order in self.running.values())

    def take_measured(self) -> TaskId:
        """The task that is being measured now; the next :meth:`located` is to be about it."""
        return self.measuring.pop(0)


class FakeClock:
    """A clock that a test sets."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.s = now_s

    def now_s(self) -> float:
        """Seconds since boot."""
        return self.s


class FakeTasks:
    """A host's tasks as a test puts them, swept at the clock's time; counts its sweeps."""

    def __init__(self, now_s: Callable[[], float], *tasks: TaskFacts) -> None:
        self._now_s = now_s
        self.tasks = {task.id: task for task in tasks}
        self.sweeps: list[bool] = []
        self.adopted: dict[JobId, list[tuple[TaskId, int]]] = {}
        self.fails: Exception | None = None

    def sweep(self, *, structural: bool) -> Sweep:
        """See :class:`node_agent.ports.TaskSource`."""
        self.sweeps.append(structural)
        if self.fails is not None:
            raise self.fails
        return Sweep(self._now_s(), HOST, tuple(self.tasks.values()))

    def find(self, *, pid: int | None = None, cgroup: str | None = None, alone: bool = False) -> TaskFacts:
        """See :class:`node_agent.ports.TaskSource`."""
        for task in self.tasks.values():
            named = tuple(process for process in task.processes if process.pid == pid)
            if task.cgroup == cgroup or named:
                return replace(task, processes=named) if alone and named else task
        raise LookupError(f"there is no {pid or cgroup}")

    def adopt(
        self, job: JobId, *, process: ProcessRef | None = None, cgroup: str | None = None, by_uid: int = 0
    ) -> TaskFacts:
        """See :class:`node_agent.ports.TaskSource`."""
        found = self.find(pid=None if process is None else process.pid, cgroup=cgroup)
        if process is not None and process not in found.processes:
            raise LookupError(f"there is no process {process.pid} any more")
        self.adopted.setdefault(job, []).append((found.id, by_uid))
        return replace(found, job=job)

    def release(self, job: JobId, *, by_uid: int = 0) -> int:
        """See :class:`node_agent.ports.TaskSource`."""
        named = self.adopted.get(job, [])
        kept = [(task, owner) for task, owner in named if by_uid not in (0, owner)]
        if named and len(kept) == len(named):
            raise NotYoursError(f"another user adopted {job}")
        self.adopted[job] = kept
        return len(named) - len(kept)


class FakeMover:
    """Moves nothing, on the shell's real threads: a move lasts until :meth:`finish`, :attr:`at_once`, or its cancel."""

    def __init__(self) -> None:
        self.measured: dict[int, Measured] = {}
        self.at_once = False
        self.move_fails: Exception | None = None
        self.measure_fails: Exception | None = None
        self.load_fails: Exception | None = None
        self.jobs: list[MoveJob] = []
        self.controls: dict[MoveId, MoveControl] = {}
        self.outcomes: dict[MoveId, MoveState] = {}
        self._changed = threading.Condition()

    def measure(self, processes: Sequence[ProcessRef]) -> Measured:
        """See :class:`node_agent.ports.Mover`."""
        if self.measure_fails is not None:
            raise self.measure_fails
        return self.measured.get(processes[0].pid, Measured(Residency()))

    def stuck(self, processes: Sequence[ProcessRef]) -> Mapping[LeftReason, int]:
        """See :class:`node_agent.ports.Mover`."""
        del processes
        return {}

    def load(self) -> HostLoad:
        """See :class:`node_agent.ports.Mover`."""
        if self.load_fails is not None:
            raise self.load_fails
        return HostLoad({NodeId(0): 128 * GIB, NodeId(1): 128 * GIB})

    def abilities(self) -> Abilities:
        """See :class:`node_agent.ports.Mover`."""
        return Abilities()

    def move(self, job: MoveJob, control: MoveControl) -> MoveOutcome:
        """See :class:`node_agent.ports.Mover`."""
        if self.move_fails is not None:
            raise self.move_fails
        move = job.order.id
        with self._changed:
            self.jobs.append(job)
            self.controls[move] = control
            self._changed.notify_all()
            # The wait is only a cancel's latency: finish() ends it at once.
            while not self.at_once and move not in self.outcomes and control.cancelled() is None:
                self._changed.wait(0.002)
        reason = control.cancelled()
        if reason is not None:
            state = MoveState.SUPERSEDED if reason.startswith("superseded") else MoveState.CANCELLED
            return MoveOutcome(move, job.order.task, state, reason)
        return MoveOutcome(move, job.order.task, self.outcomes.get(move, MoveState.COMPLETED), "told")

    def predict(self, job: MoveJob) -> Prediction:
        """See :class:`node_agent.ports.Mover`; all that was measured of its first process would move, in one second."""
        if self.move_fails is not None:
            raise self.move_fails
        return Prediction(self.measure(job.task.processes).residency.resident_bytes, 1.0, 2.0)

    def finish(self, move: str, state: MoveState = MoveState.COMPLETED) -> None:
        """Let a move end so."""
        with self._changed:
            self.outcomes[MoveId(move)] = state
            self._changed.notify_all()


class FakeJournal:
    """A journal in memory; ``fails`` is raised by the next write."""

    def __init__(self) -> None:
        self.open: dict[MoveId, MoveOrder] = {}
        self.outcomes: dict[MoveId, MoveOutcome] = {}
        self.finished: dict[MoveId, MoveOutcome] = {}
        self.policies: PolicySet | None = None
        self.boot_id: str | None = None
        self.fails: Exception | None = None

    def remember(self, boot_id: str) -> Remembered:
        """See :class:`node_agent.ports.Journal`."""
        same = self.boot_id in (None, boot_id)
        self.boot_id = boot_id
        outcomes, finished = tuple(self.outcomes.values()), tuple(self.finished.values())
        return Remembered(tuple(self.open.values()), outcomes, finished, self.policies, same)

    def accept(self, order: MoveOrder) -> None:
        """See :class:`node_agent.ports.Journal`."""
        self._may_fail()
        self.open[order.id] = order

    def finish(self, outcome: MoveOutcome) -> None:
        """See :class:`node_agent.ports.Journal`."""
        self._may_fail()
        self.open.pop(outcome.move, None)
        self.outcomes[outcome.move] = outcome

    def acknowledge(self, move: MoveId) -> None:
        """See :class:`node_agent.ports.Journal`."""
        self._may_fail()
        if (outcome := self.outcomes.pop(move, None)) is not None:
            self.finished[move] = outcome

    def keep_policies(self, policies: PolicySet) -> None:
        """See :class:`node_agent.ports.Journal`."""
        self._may_fail()
        self.policies = policies

    def _may_fail(self) -> None:
        if self.fails is not None:
            raise self.fails


class FakeWatcher:
    """A pipe whose reader hands out the hints that a test puts in."""

    def __init__(self, source: ChangeSource = ChangeSource.FANOTIFY) -> None:
        self._source = source
        self._hints: list[Hint] = []
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.fails: Exception | None = None
        self.drains = 0
        self.closed = False

    @property
    def source(self) -> ChangeSource:
        """See :class:`node_agent.ports.Watcher`."""
        return self._source

    def fileno(self) -> int:
        """See :class:`node_agent.ports.Watcher`."""
        return self._read

    def put(self, *hints: Hint) -> None:
        """The kernel says something."""
        self._hints += hints
        os.write(self._write, b"!")

    def drain(self) -> Sequence[Hint]:
        """See :class:`node_agent.ports.Watcher`."""
        self.drains += 1
        if self.fails is not None:
            raise self.fails
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)
        hints, self._hints = self._hints, []
        return hints

    def close(self) -> None:
        """See :class:`node_agent.ports.Watcher`."""
        assert not self.closed, "closed twice"
        self.closed = True
        os.close(self._read)
        os.close(self._write)
