"""What an agent reports becomes what the scheduler believes: tasks come and go, homes change, pages are located.

The host is the truth about the host. A report that fits nothing known (a task or node nobody spoke of) is not
guessed at: it is noted as a fault, and a new snapshot is asked for.
"""

from collections.abc import Iterator
from dataclasses import replace

from numaplace.model.ids import HostId, Nodes
from numaplace.model.job import HomeChange, Task
from numaplace.model.move import MoveOutcome, MoveProgress
from numaplace.model.session import HostLoad, Measure, MoveAccepted, Report, ResidencyMeasured, Snapshot, TaskGone
from numaplace.model.worth import BOUNCE_WINDOW_S, WAITS_FOR_LOAD, Lacked, Reason
from scheduler.planning.records import TaskKey, TaskRecord, Tried
from scheduler.state.agenda import Agenda, TaskDue
from scheduler.state.book import MoveBook
from scheduler.state.bounds import Bounds
from scheduler.state.events import SessionId
from scheduler.state.instructions import Fault, FaultKind, Instruction, SendTo
from scheduler.state.orders import SUPERSEDED, Orders, with_lesson
from scheduler.state.reconcile import Reconciliation
from scheduler.state.sessions import Sessions
from scheduler.state.world import World

RECENT_CHANGES_MAX = 64
"""So many changes within the bounce window are remembered; a task that bounces more is no different."""
MEASURE_AGAIN_S = 5.0
"""A measurement that was asked for and did not come is asked for again after this time."""

_Do = Iterator[Instruction]


class Reports:
    """Takes in one report after the other."""

    def __init__(
        self,
        *,
        world: World,
        book: MoveBook,
        agenda: Agenda,
        sessions: Sessions,
        orders: Orders,
        bounds: Bounds,
    ) -> None:
        self._world = world
        self._book = book
        self._agenda = agenda
        self._sessions = sessions
        self._orders = orders
        self._bounds = bounds
        self._reconciliation = Reconciliation(world, book, orders, bounds)

    def take(self, host: HostId, session: SessionId, report: Report, now_s: float) -> _Do:
        """One report of a host that is in step."""
        match report:
            case Snapshot():
                yield from self._take_snapshot(host, session, report, now_s)
            case Task():
                yield from self._appear(host, report, now_s)
                yield from self._supersede(TaskKey(host, report.id), now_s)
            case TaskGone(task):
                self._drop(TaskKey(host, task))
            case HomeChange():
                yield from self._change_home(host, report, now_s)
            case ResidencyMeasured():
                yield from self._locate(host, report, now_s)
            case HostLoad():
                self._load(host, report)
            case MoveAccepted():
                yield from self._orders.accepted(host, report)
            case MoveProgress():
                yield from self._orders.progressed(host, report)
                self._follow_progress(host, report, now_s)
            case MoveOutcome():
                yield from self._orders.finished(host, session, report, now_s)

    # The whole truth at once

    def _take_snapshot(self, host: HostId, session: SessionId, snapshot: Snapshot, now_s: float) -> _Do:
        record = self._world.hosts[host]
        self._world.put_host(
            replace(record, topology=snapshot.topology, abilities=snapshot.abilities, load=snapshot.load)
        )
        present = {task.id for task in snapshot.tasks}
        for task_id in tuple(self._world.tasks_on(host)):
            if task_id not in present:
                self._drop(TaskKey(host, task_id))
        for task in snapshot.tasks:
            yield from self._appear(host, task, now_s)
        for outcome in snapshot.outcomes:
            yield from self._orders.finished(host, session, outcome, now_s)
        yield from self._reconciliation.with_open(host, session, snapshot.open_moves, now_s)

    # Tasks

    def _appear(self, host: HostId, task: Task, now_s: float) -> _Do:
        known = self._world.task(TaskKey(host, task.id))
        if known is None and len(self._world.tasks_on(host)) >= self._bounds.tasks_per_host_max:
            words = f"more than {self._bounds.tasks_per_host_max} tasks; {task.id} is not followed"
            yield Fault(host, FaultKind.TOO_MUCH, words)
            return
        located = bool(task.residency.cells)
        if known is None:
            record = TaskRecord(host, task, now_s, now_s, measured_s=now_s if located else None)
            record = with_lesson(record, self._book.latest_ended(record.key), self._world.hosts[host].load)
        else:
            residency = task.residency if located else known.task.residency
            record = replace(known, task=replace(task, residency=residency), reported_s=now_s)
            record = replace(record, measured_s=now_s if located else known.measured_s)
            if task.home.version != known.task.home.version:
                record = _with_change(record, known, now_s)
        self._world.put_task(record)

    def _drop(self, key: TaskKey) -> None:
        self._world.drop_task(key)
        self._agenda.drop(TaskDue(key))

    def _miss(self, key: TaskKey, what: str, now_s: float) -> _Do:
        yield Fault(key.host, FaultKind.UNKNOWN_TASK, f"{what} of {key.task}, which is not known")
        yield from self._sessions.resync(key.host, f"{what} of unknown task {key.task}", now_s)

    # Homes

    def _change_home(self, host: HostId, change: HomeChange, now_s: float) -> _Do:
        key = TaskKey(host, change.task)
        known = self._world.task(key)
        if known is None:
            yield from self._miss(key, "home change", now_s)
            return
        if change.home.version < known.task.home.version:
            words = f"home {change.home.version} of {change.task} after {known.task.home.version}"
            yield Fault(host, FaultKind.STALE_CHANGE, words)
            return
        if strange := change.home.nodes - self._nodes(host):
            yield Fault(host, FaultKind.UNKNOWN_NODE, f"home of {change.task} on unknown nodes {sorted(strange)}")
            yield from self._sessions.resync(host, f"home on unknown nodes {sorted(strange)}", now_s)
            return
        task = replace(
            known.task,
            cpus=change.cpus,
            mems=change.mems,
            home=change.home,
            previous_home=change.previous_home,
            age_s=known.task.age_s + now_s - known.reported_s,
        )
        record = replace(known, task=task, reported_s=now_s, last_change=change)
        if change.home.version != known.task.home.version:
            record = _with_change(record, known, now_s)
        self._world.put_task(record)
        yield from self._supersede(key, now_s)

    def _nodes(self, host: HostId) -> Nodes:
        return frozenset(self._world.hosts[host].topology.by_id)

    def _supersede(self, key: TaskKey, now_s: float) -> _Do:
        """A move towards an older home ends; the next decision is made when its outcome has come."""
        record, move = self._world.task(key), self._book.of_task(key)
        if record is None or move is None or move.order is None:
            return
        if move.order.home != record.task.home.nodes:
            reason = f"{SUPERSEDED}its home is now {sorted(record.task.home.nodes)}"
            yield from self._orders.cancel(move, reason, now_s)

    # Pages

    def _locate(self, host: HostId, report: ResidencyMeasured, now_s: float) -> _Do:
        key = TaskKey(host, report.task)
        known = self._world.task(key)
        if known is None:
            yield from self._miss(key, "residency", now_s)
            return
        task = replace(known.task, residency=report.residency)
        self._world.put_task(replace(known, task=task, measured_s=now_s, stuck=dict(report.stuck)))

    def _follow_progress(self, host: HostId, report: MoveProgress, now_s: float) -> None:
        move = self._book.open.get(report.move)
        record = self._world.task(move.key) if move is not None and move.host == host else None
        if record is not None and report.residency.cells:
            task = replace(record.task, residency=report.residency)
            self._world.put_task(replace(record, task=task, measured_s=now_s), concerned=False)

    def ask_where(self, record: TaskRecord, now_s: float) -> _Do:
        """Have a task's pages located, unless an answer is due."""
        session = self._sessions.ready(record.host)
        if session is None or _answer_is_due(record, now_s):
            return
        self._world.put_task(replace(record, asked_s=now_s), concerned=False)
        yield SendTo(session, Measure(record.task.id))

    def _load(self, host: HostId, load: HostLoad) -> None:
        self._world.put_host(replace(self._world.hosts[host], load=load))
        for record in tuple(self._world.tasks_on(host).values()):
            if record.verdict is not None and record.verdict.reason in WAITS_FOR_LOAD:
                self._world.concern(record.key)
            if record.tried is not None and record.tried.lacked is not None:
                self._look_for_room(record, record.tried, record.tried.lacked, load)

    def _look_for_room(self, record: TaskRecord, tried: Tried, lacked: Lacked, load: HostLoad) -> None:
        """A move found its target full: try again at once when there is room, not only after a while."""
        free_bytes = load.free_at(tried.home)
        if not lacked.fits(free_bytes):
            tried = replace(tried, lacked=lacked.seen(free_bytes))
            self._world.put_task(replace(record, tried=tried), concerned=False)
        elif record.verdict is not None and record.verdict.reason is Reason.TRIED:
            self._world.concern(record.key)


def _answer_is_due(record: TaskRecord, now_s: float) -> bool:
    asked_s, measured_s = record.asked_s, record.measured_s
    unanswered = asked_s is not None and (measured_s is None or measured_s < asked_s)
    return unanswered and asked_s is not None and now_s < asked_s + MEASURE_AGAIN_S


def _with_change(record: TaskRecord, before: TaskRecord, now_s: float) -> TaskRecord:
    """The record after a change of its home: what held it before, or was tried towards elsewhere, holds no more."""
    recent = tuple(t for t in before.recent_changes_s if now_s - t < BOUNCE_WINDOW_S)
    tried = before.tried
    if record.task.mems != before.task.mems:
        tried = None
    return replace(
        record, changed_s=now_s, recent_changes_s=(*recent, now_s)[-RECENT_CHANGES_MAX:], held="", tried=tried
    )
