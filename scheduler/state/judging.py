"""Who is judged when, and what follows from a verdict: an order, a time to ask again, or nothing.

A task is judged when something about it changed, when a time that its last verdict named has come, and, if the
limits held it back, when any move has ended.

A move begins with what is known of the pages, and measures them itself: to locate them first would only make the job
wait. Whoever is not moved after a change is located, so that what is told of it, and the next verdict, are true.
"""

from collections.abc import Iterator
from dataclasses import replace

from numaplace.model.ids import HostId
from numaplace.model.worth import Action, Reason, Verdict
from scheduler.planning.choose import Decision, decide
from scheduler.planning.records import MoveLimits, TaskKey, TaskRecord
from scheduler.planning.situation import Candidate
from scheduler.state.agenda import Agenda, TaskDue
from scheduler.state.book import MoveBook
from scheduler.state.instructions import Decided, Instruction
from scheduler.state.orders import Orders
from scheduler.state.queue import WaitingQueue
from scheduler.state.reports import Reports
from scheduler.state.world import World

TELLS_SOON = (Reason.ALREADY_MOVING, Reason.SETTLING)
"""Verdicts after which a move, or the next verdict, comes soon."""
FRESH_S = 0.5
"""A residency that was this young when its task's home changed still holds: a change moves no pages by itself."""
BUSY = (Reason.HOST_BUSY, Reason.CLUSTER_BUSY)
"""Verdicts that the end of another move may change."""

_Do = Iterator[Instruction]


class Judging:
    """Judges the concerned tasks of hosts that are in step."""

    def __init__(
        self,
        *,
        world: World,
        book: MoveBook,
        agenda: Agenda,
        orders: Orders,
        reports: Reports,
        limits: MoveLimits,
    ) -> None:
        self._world = world
        self._book = book
        self._agenda = agenda
        self._orders = orders
        self._reports = reports
        self._limits = limits
        self._waiting = WaitingQueue()
        self._later: dict[TaskKey, None] = {}

    def reconsider(self) -> None:
        """A move has ended: whoever is most worth the free places is judged again, and whoever waits for quiet."""
        running = self._book.running(self._connected())
        in_cluster = self._limits.in_cluster_max - sum(running.values())
        hosts = self._waiting.hosts()
        free = {host: min(self._limits.per_host_max - running.get(host, 0), in_cluster) for host in hosts}
        keys = self._waiting.shortlist({host: places for host, places in free.items() if places > 0})
        for key in (*keys, *self._later):
            self._world.concern(key)

    def _connected(self) -> Iterator[HostId]:
        return (host.id for host in self._world.hosts.values() if host.connected)

    def run(self, now_s: float) -> _Do:
        """Judge all concerned tasks together, so that the most worthwhile move goes first."""
        for key in self._world.take_gone():
            self._waiting.drop(key)
            self._later.pop(key, None)
        concerned = self._world.take_concerned()
        if not concerned:
            return
        candidates = [c for record in concerned if (c := self._candidate(record)) is not None]
        for decision in decide(candidates, self._book.running(self._connected()), self._limits, now_s):
            yield from self._follow(decision, now_s)

    def _candidate(self, record: TaskRecord) -> Candidate | None:
        host = self._world.hosts[record.host]
        if not host.in_step:
            return None
        moving = self._book.of_task(record.key) is not None
        return Candidate(record, host, self._world.policy_of(record.task.job), moving)

    def _follow(self, decision: Decision, now_s: float) -> _Do:
        before, verdict = decision.candidate.record, decision.verdict
        if verdict.reason in BUSY:
            verdict = replace(verdict, not_before_s=self._waiting.ask_again_s(now_s))
        record = replace(before, verdict=verdict, decided_s=now_s)
        self._world.put_task(record, concerned=False)
        self._note(record, verdict, decision.gain_per_s)
        if before.verdict is None or (before.verdict.action, before.verdict.reason) != (verdict.action, verdict.reason):
            yield Decided(record.key, record.task.job, verdict)
        if verdict.action is Action.MOVE:
            yield from self._orders.give(record, verdict, now_s)
        elif verdict.reason is Reason.UNKNOWN_RESIDENCY or _is_outdated(record):
            yield from self._reports.ask_where(record, now_s)

    def _note(self, record: TaskRecord, verdict: Verdict, gain_per_s: float) -> None:
        if verdict.not_before_s is None:
            self._agenda.drop(TaskDue(record.key))
        else:
            self._agenda.put(TaskDue(record.key), verdict.not_before_s)
        if verdict.reason in BUSY:
            self._waiting.put(record.key, gain_per_s)
        else:
            self._waiting.drop(record.key)
        if verdict.reason is Reason.LATER:
            self._later[record.key] = None
        else:
            self._later.pop(record.key, None)


def _is_outdated(record: TaskRecord) -> bool:
    """Whether its pages were last located well before its home changed, and no move tells soon where they are."""
    if record.verdict is not None and record.verdict.reason in TELLS_SOON:
        return False
    return record.measured_s is None or record.measured_s < record.changed_s - FRESH_S
