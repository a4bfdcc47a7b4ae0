"""The agent's brain: facts about the host and words of the scheduler in, instructions out, one mutating method.

Rules it keeps:
- An order is accepted once by its id, ends once, and its outcome is repeated until acknowledged.
- A task is moved by one mover at a time, and only towards the home it has now: a newer home ends the move.
- A move by hand is neither: it starts at once or is refused, and where it works no order does (core.by_hand).
- Without a session, after a short grace, the agent follows by the last policies it was given and reports later.

The shell opens a session only after the first sweep, so a snapshot is always the truth.

Most events change nothing for most tasks, so an event costs a look at each task, not a judgement: a verdict holds
until its task changes or the time comes that it named.
"""

from collections.abc import Iterator
from math import inf

from node_agent.core.at_work import AtWork
from node_agent.core.by_hand import HandMoves
from node_agent.core.desk import Desk, Limits
from node_agent.core.detector import Detector, TaskAppeared
from node_agent.core.events import (
    AbilitiesKnown,
    Do,
    Event,
    HandMoveAsked,
    JournalPolicies,
    LoadMeasured,
    MeasuringFailed,
    MoverEnded,
    MoverProgressed,
    PagesMeasured,
    Publish,
    Send,
    SessionClosed,
    SessionOpened,
    Swept,
    Told,
    WakeAt,
    Woke,
)
from node_agent.core.facts import Remembered
from node_agent.core.followed import Followed, Surroundings
from node_agent.core.history import History
from node_agent.core.locating import Locating
from node_agent.core.orders import Orders
from numaplace.model.ids import ALONE_PREFIX, MoveId, TaskId
from numaplace.model.job import HomeChange
from numaplace.model.move import MoveOrder, MoveOutcome
from numaplace.model.session import (
    Abilities,
    AcknowledgeOutcome,
    CancelMove,
    HostLoad,
    Instruction,
    Measure,
    PolicySet,
    ResidencyMeasured,
    Resync,
    Snapshot,
    TaskGone,
    Welcome,
)
from numaplace.model.topology import Topology
from numaplace.model.worth import BUSY_RETRY_S, WAITS_FOR_LOAD, Action, HostCosts, judge

ALONE_GRACE_S = 3.0
"""A scheduler that is away for less is not missed: its orders come after the reconnect."""


class AgentCore:
    """The state of one agent. Only :meth:`handle` changes it; ``instance`` makes the ids of its own orders unique."""

    def __init__(self, instance: str, remembered: Remembered | None = None, limits: Limits | None = None) -> None:
        self._remembered = remembered or Remembered()
        self._instance = instance
        self._limits = limits or Limits()
        self.policies = self._remembered.policies or PolicySet()
        self.tasks: dict[TaskId, Followed] = {}
        self.topology = Topology(())
        self.abilities = Abilities()
        self.load = HostLoad()
        self.in_session = False
        self._costs = HostCosts()
        self._swept = False
        self._alone_since_s: float | None = None
        self._own_orders = 0
        self._wake_s: float | None = None
        self._detector = Detector()
        self.orders = Orders()
        self.orders.recall(self._remembered.finished, self._remembered.outcomes)
        self.history = History(self._owner_uid, (*self._remembered.finished, *self._remembered.outcomes))
        self._at_work = AtWork()
        self._desk = Desk(self.orders, self._limits, self.tasks.get, self._at_work, self.history)
        self._locating = Locating(self.tasks, self.orders, self._at_work, self._limits.measurements_max)
        self.by_hand = HandMoves(self._at_work, self.history, self.orders, self.tasks)

    def handle(self, event: Event, now_s: float) -> list[Do]:
        """Take in one event at one time (boot-time seconds); returns what is to be done, in order."""
        done = list(self._dispatch(event, now_s))
        if self._swept:
            done += self._follow_alone(now_s)
            done += self._desk.start_waiting(self.topology)
            done += self._locating.begin_due(now_s)
            done += self._wake(now_s)
        return done

    def _dispatch(self, event: Event, now_s: float) -> Iterator[Do]:
        match event:
            case Swept():
                yield from self._take_sweep(event, now_s)
            case PagesMeasured() | MeasuringFailed():
                yield from self._locating.take(event, now_s)
            case LoadMeasured(load):
                for task in self.tasks.values():
                    task.hear_load(load, self.load, now_s)
                self.load = load
                yield Send(load)
            case AbilitiesKnown(abilities):
                self.abilities = abilities
                self._judge_all_again(now_s)
            case SessionOpened():
                self.in_session, self._alone_since_s = True, None
                yield from self._send_all(now_s)
            case SessionClosed():
                self._begin_alone(now_s)
            case Told(instruction):
                yield from self._obey(instruction, now_s)
            case HandMoveAsked() | MoverProgressed() | MoverEnded():
                yield from self._take_move(event, now_s)
            case Woke():
                self._wake_s = None

    def _take_move(self, event: HandMoveAsked | MoverProgressed | MoverEnded, now_s: float) -> Iterator[Do]:
        by_hand = self.by_hand.running
        match event:
            case HandMoveAsked():
                yield from self.by_hand.take(event, self.topology)
            case MoverProgressed(progress) if progress.move in by_hand:
                yield Publish(progress, by_hand[progress.move].task.uid)
            case MoverProgressed(progress):
                yield Send(progress)
                yield Publish(progress, self._desk.owner_uid(progress.move))
            case MoverEnded(outcome) if outcome.move in by_hand:
                yield from self.by_hand.ended(outcome, now_s)
            case MoverEnded(outcome):
                yield from self._end_move(outcome, now_s)

    def _owner_uid(self, task: TaskId) -> int:
        return self.tasks[task].facts.uid if task in self.tasks else 0

    def _take_sweep(self, event: Swept, now_s: float) -> Iterator[Do]:
        rebuilt = event.sweep.topology != self.topology
        self.topology = event.sweep.topology
        for facts in event.sweep.tasks:
            known = self.tasks.get(facts.id)
            if known is not None:
                renamed = facts.job != known.facts.job
                known.facts = facts
                if renamed:  # adopted under another name, or its cgroup serves another job now
                    known.judge_due_s = now_s
                    yield Send(known.as_task(now_s))
        for hint in event.hints:
            self._detector.note(hint, event.sweep.at_s)
        for seen in self._detector.observe(event.sweep):
            match seen:
                case TaskAppeared(facts, home):
                    self.tasks[facts.id] = Followed(facts, home, home.nodes, now_s)
                    yield Send(self.tasks[facts.id].as_task(now_s))
                case HomeChange():
                    self.tasks[seen.task].change(seen, now_s)
                    yield Send(seen)
                    yield Publish(seen, self._owner_uid(seen.task))
                    yield from self._desk.home_changed(self.tasks[seen.task])
                case TaskGone(task):
                    del self.tasks[task]
                    yield Send(seen)
                    yield from self._desk.task_gone(task)
        if not self._swept:
            self._swept = True
            yield from self._desk.resume(self._remembered.open_moves, same_boot=self._remembered.same_boot)
            if not self.in_session:
                self._begin_alone(now_s)
        elif rebuilt:
            self._judge_all_again(now_s)
            yield from self._send_all(now_s)

    def _obey(self, instruction: Instruction, now_s: float) -> Iterator[Do]:
        match instruction:
            case MoveOrder():
                yield from self._desk.take(instruction, can_move=self.abilities.can_move)
            case CancelMove(move, reason):
                yield from self._desk.cancel(move, reason)
            case AcknowledgeOutcome(move):
                yield from self._desk.acknowledge(move)
            case PolicySet() as policies:
                yield from self._take_policies(policies, now_s)
            case Welcome(policies):
                yield from self._take_policies(policies, now_s)
            case Resync():
                yield from self._send_all(now_s)
            case Measure(task):
                if task in self.tasks:
                    self.tasks[task].ask_measure(now_s)

    def _take_policies(self, policies: PolicySet, now_s: float) -> Iterator[Do]:
        if policies != self.policies:
            self.policies = policies
            self._judge_all_again(now_s)
            yield JournalPolicies(policies)

    def _end_move(self, outcome: MoveOutcome, now_s: float) -> Iterator[Do]:
        self._costs = self._costs.learned_from(outcome.moved_bytes, outcome.seconds)
        order = self.orders.order(outcome.move)
        if order is not None and order.task in self.tasks:
            self.tasks[order.task].end_move(outcome, order.home, now_s)
            self.tasks[order.task].hear_load(self.load, self.load, now_s)
        yield from self._desk.ended(outcome)
        for task in self.tasks.values():
            if task.judge_due_s < inf:
                task.judge_due_s = now_s  # the host may have been too busy for it

    def _wake(self, now_s: float) -> Iterator[Do]:
        """Ask to be woken for what only time can bring, if that is another time than was asked for before."""
        times_s: list[float] = []
        if self._alone_since_s is not None:
            times_s = [self._alone_since_s + ALONE_GRACE_S, *(task.judge_due_s for task in self.tasks.values())]
        if self._locating.has_room:
            times_s += [task.measure_due_s for task in self.tasks.values()]
        wake_s = min((at_s for at_s in times_s if now_s < at_s < inf), default=None)
        if wake_s is not None and wake_s != self._wake_s:
            self._wake_s = wake_s
            yield WakeAt(wake_s)

    # Alone

    def _begin_alone(self, now_s: float) -> None:
        if self.in_session or self._alone_since_s is None:
            self.in_session, self._alone_since_s = False, now_s
            self._judge_all_again(now_s)

    def _judge_all_again(self, now_s: float) -> None:
        for task in self.tasks.values():
            task.judge_due_s = now_s

    def _follow_alone(self, now_s: float) -> Iterator[Do]:
        if self._alone_since_s is None or now_s < self._alone_since_s + ALONE_GRACE_S:
            return
        for task in self.tasks.values():
            if task.judge_due_s <= now_s and not self.orders.of_task(task.facts.id):
                yield from self._judge_alone(task, now_s)

    def _judge_alone(self, task: Followed, now_s: float) -> Iterator[Do]:
        if task.measured is None:
            task.judge_due_s = inf  # until its pages are located
            return
        policy = self.policies.of(task.facts.job)
        open_moves = self.orders.open_count
        around = Surroundings(self.topology, self.load, self._costs, open_moves, self._limits.movers_max)
        verdict = judge(task.situation(now_s, policy, around))
        task.judge_due_s = inf if verdict.not_before_s is None else verdict.not_before_s
        task.waits_for_load = verdict.reason in WAITS_FOR_LOAD
        if verdict.action is Action.MOVE and self.abilities.can_move:
            task.judge_due_s = now_s + BUSY_RETRY_S
            self._own_orders += 1
            move = MoveId(f"{ALONE_PREFIX}{self._instance}-{self._own_orders}")
            order = MoveOrder(move, task.facts.id, task.home.nodes, task.previous_home, task.home.version, policy)
            yield from self._desk.take(order, can_move=True)

    def _send_all(self, now_s: float) -> Iterator[Do]:
        """A snapshot, and what it has no room for."""
        yield Send(self.snapshot(now_s))
        for task in self.tasks.values():
            if task.measured and task.stuck:
                yield Send(ResidencyMeasured(task.facts.id, task.measured.residency, task.stuck))

    def snapshot(self, now_s: float) -> Snapshot:
        """The whole truth about the host."""
        return Snapshot(
            topology=self.topology,
            abilities=self.abilities,
            tasks=tuple(task.as_task(now_s) for task in self.tasks.values()),
            load=self.load,
            open_moves=self.orders.open_orders,
            outcomes=self.orders.unacknowledged,
        )
