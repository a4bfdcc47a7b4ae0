"""The scheduler's state: events in, instructions out, one mutating method.

Rules it keeps:
- An order is stored before it is sent, an outcome before it is acknowledged: instructions are in that order.
- A task has at most one open order; every order ends once; the host is the truth about what became of it.
- Decisions are made at the end of an event, for the hosts that are in step, within the limits.
- Memory is bounded: see scheduler.state.bounds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from numaplace.model.ids import HostId, JobId, MoveId
from numaplace.model.move import MoveState
from numaplace.model.policy import FollowMode
from numaplace.model.session import PolicySet
from numaplace.model.worth import HostCosts
from scheduler.planning.records import HostRecord, Move, MoveLimits
from scheduler.state.agenda import Agenda, HostDue, OrderDue, Subject, TaskDue
from scheduler.state.book import MoveBook
from scheduler.state.bounds import Bounds
from scheduler.state.events import (
    AgentConnected,
    AgentLost,
    AgentReported,
    CancelRequested,
    Event,
    MeasureRequested,
    PolicyChanged,
    PolicyDeleted,
    Tick,
)
from scheduler.state.instructions import ForgetMoves, ForgetPolicy, Instruction, SendTo, StorePolicy, WakeAt
from scheduler.state.judging import Judging
from scheduler.state.orders import Orders
from scheduler.state.reports import Reports
from scheduler.state.sessions import Sessions
from scheduler.state.world import World

HELD = "a person cancelled its move; it is moved again after the next change of its home or policy"
AWAY = "its host has been away for a day; whether pages moved is not known"


@dataclass(frozen=True, slots=True)
class Restored:
    """What an earlier run left in the store. ``moves``: the history by its ends, then the open ones."""

    moves: tuple[Move, ...] = ()
    policies: PolicySet = field(default_factory=PolicySet)
    costs: Mapping[HostId, HostCosts] = field(default_factory=dict)


class SchedulerState:
    """All that the scheduler knows. ``epoch`` differs for each run and makes the ids of orders unique among runs."""

    def __init__(
        self,
        epoch: str,
        now_s: float,
        restored: Restored | None = None,
        limits: MoveLimits | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        restored = restored or Restored()
        self.epoch = epoch
        self.limits = limits or MoveLimits()
        self.bounds = bounds or Bounds()
        self.world = World(restored.policies, restored.costs)
        self.book = MoveBook(self.bounds.history_max)
        self.agenda = Agenda()
        self.sessions = Sessions(self.world, self.agenda, self.bounds)
        self._orders = Orders(epoch, self.world, self.book, self.agenda, self.sessions)
        self._reports = Reports(
            world=self.world,
            book=self.book,
            agenda=self.agenda,
            sessions=self.sessions,
            orders=self._orders,
            bounds=self.bounds,
        )
        self._judging = Judging(
            world=self.world,
            book=self.book,
            agenda=self.agenda,
            orders=self._orders,
            reports=self._reports,
            limits=self.limits,
        )
        self._wake_s: float | None = None
        self._surplus = tuple(self._restore(restored, now_s))

    def _restore(self, restored: Restored, now_s: float) -> Iterator[MoveId]:
        """Take up what the store holds; gives what the history, if it is shorter by now, has no room for."""
        for move in restored.moves:
            if not move.open:
                yield from self.book.end(move)
                continue
            self.book.add(move)
            if move.host not in self.world.hosts:
                self.world.put_host(HostRecord(move.host, now_s, boot_id=move.boot_id))
                self.sessions.expect_back(move.host, now_s)

    def handle(self, event: Event, now_s: float) -> list[Instruction]:
        """Take in one event at one time (monotonic seconds); returns what is to be done, in this order."""
        endings = self.book.endings
        done: list[Instruction] = [ForgetMoves(self._surplus)] if self._surplus else []
        self._surplus = ()
        done += self._dispatch(event, now_s)
        for subject in self.agenda.take_due(now_s):
            done += self._look_at(subject, now_s)
        if self.book.endings != endings:
            self._judging.reconsider()
        done += self._judging.run(now_s)
        wake_s = self.agenda.next_s()
        if wake_s != self._wake_s:
            self._wake_s = wake_s
            done.append(WakeAt(wake_s))
        return done

    def _dispatch(self, event: Event, now_s: float) -> Iterator[Instruction]:
        match event:
            case AgentConnected():
                yield from self.sessions.open(event, now_s)
            case AgentReported(session, _, report):
                host = yield from self.sessions.admit(event, now_s)
                if host is not None:
                    yield from self._reports.take(host, session, report, now_s)
            case AgentLost(session):
                self.sessions.lost(session, now_s)
            case PolicyChanged():
                yield from self._change_policy(event, now_s)
            case PolicyDeleted(job):
                self.world.put_policy(job, None)
                yield ForgetPolicy(job)
                yield from self._spread_policies(job, now_s)
            case CancelRequested():
                yield from self._cancel(event, now_s)
            case MeasureRequested(job):
                for record in self.world.tasks_of(job):
                    yield from self._reports.ask_where(record, now_s)
            case Tick():
                pass

    def _look_at(self, subject: Subject, now_s: float) -> Iterator[Instruction]:
        match subject:
            case TaskDue(key):
                self.world.concern(key)
            case OrderDue(move_id):
                yield from self._orders.unanswered(move_id, now_s)
            case HostDue(host):
                for move in self.book.open_on(host):
                    yield from self._orders.end_here(move, MoveState.FAILED, AWAY, now_s)
                self.world.forget_host(host)

    def _change_policy(self, event: PolicyChanged, now_s: float) -> Iterator[Instruction]:
        self.world.put_policy(event.job, event.policy)
        yield StorePolicy(event.job, event.policy)
        yield from self._spread_policies(event.job, now_s)

    def _spread_policies(self, job: JobId | None, now_s: float) -> Iterator[Instruction]:
        """Every agent needs the policies for when it is alone; whoever they concern is judged anew."""
        for session in self.sessions.all_open():
            yield SendTo(session, self.world.policies)
        records = tuple(self.world.all_tasks()) if job is None else self.world.tasks_of(job)
        for record in records:
            if job is None and record.task.job in self.world.policies.by_job:
                continue
            self.world.put_task(replace(record, held=""))
            move = self.book.of_task(record.key)
            mode = self.world.policy_of(record.task.job).mode
            if move is not None and mode in (FollowMode.NEVER, FollowMode.OBSERVE):
                yield from self._orders.cancel(move, f"the policy now says {mode.value}", now_s)

    def _cancel(self, event: CancelRequested, now_s: float) -> Iterator[Instruction]:
        move = self.book.open.get(event.move)
        if move is None:
            return
        record = self.world.task(move.key)
        if record is not None:
            self.world.put_task(replace(record, held=HELD))
        yield from self._orders.cancel(move, event.reason, now_s)
