"""Giving orders and hearing of them: planned, sent, accepted, running, ended once.

The host is the truth: what it says of an order is believed, and an order that it cannot know any more is ended here
with words that say so. A host that gives an outcome after all corrects those words.
"""

from collections.abc import Iterator
from dataclasses import replace

from numaplace.model.ids import ALONE_PREFIX, HostId, JobId, MoveId
from numaplace.model.move import LeftReason, MoveOrder, MoveOutcome, MoveProgress, MoveState
from numaplace.model.session import AcknowledgeOutcome, CancelMove, HostLoad, MoveAccepted
from numaplace.model.worth import Lacked, Verdict
from scheduler.planning.records import Move, Stage, TaskRecord, Tried
from scheduler.state.agenda import Agenda, OrderDue
from scheduler.state.book import MoveBook
from scheduler.state.events import SessionId
from scheduler.state.instructions import (
    CloseCause,
    Fault,
    FaultKind,
    ForgetMoves,
    Instruction,
    Publish,
    SendTo,
    StoreCosts,
    StoreOrder,
    StoreOutcome,
)
from scheduler.state.sessions import Sessions
from scheduler.state.transitions import Step, advance, ended, progressed
from scheduler.state.world import World

ANSWER_WITHIN_S = 5.0
"""An order or a cancellation without an answer is sent again after this time, then after twice that, and so on."""
SENDINGS_MAX = 5
STUCK_FOR_GOOD = (LeftReason.PINNED, LeftReason.SHARED, LeftReason.UNMOVABLE_MAPPING, LeftReason.KEPT_BY_POLICY)
"""Left for these reasons, bytes do not move with the next attempt either."""
SUPERSEDED = "superseded: "
"""Begins the reason of a cancellation that a newer home asked for."""

_Do = Iterator[Instruction]


class Orders:
    """The rules around the book of moves; ``epoch`` makes the ids of this run's orders unique among all runs."""

    def __init__(self, epoch: str, world: World, book: MoveBook, agenda: Agenda, sessions: Sessions) -> None:
        self._epoch = epoch
        self._world = world
        self._book = book
        self._agenda = agenda
        self._sessions = sessions
        self._given = 0
        self._sendings: dict[MoveId, int] = {}
        self._sent_in: dict[MoveId, SessionId] = {}

    # Towards the host

    def give(self, record: TaskRecord, verdict: Verdict, now_s: float) -> _Do:
        """Order a move of this task to its present home."""
        task = record.task
        order = MoveOrder(
            id=self._new_id(),
            task=task.id,
            home=task.home.nodes,
            previous_home=task.previous_home,
            home_version=task.home.version,
            policy=self._world.policy_of(task.job),
        )
        boot_id = self._world.hosts[record.host].boot_id
        move = Move(order.id, record.host, task.job, task.id, order, Stage.PLANNED, now_s, verdict.words, boot_id)
        self._book.add(move)
        yield StoreOrder(move)
        yield from self.send(move, now_s)

    def _new_id(self) -> MoveId:
        """An id that nobody has used: an agent may have claimed the next one as its own."""
        while True:
            self._given += 1
            move = MoveId(f"{self._epoch}-{self._given}")
            if self._book.find(move) is None:
                return move

    def send(self, move: Move, now_s: float) -> _Do:
        """Send an order to its host, for the first time or once more."""
        session = self._sessions.ready(move.host)
        if session is None or move.order is None:
            return
        order, move = move.order, advance(move, Step.SEND)
        self._book.update(move)
        self._sent_in[move.id] = session
        yield SendTo(session, order)
        if move.cancel:
            yield SendTo(session, CancelMove(move.id, move.cancel))
        yield Publish(move)
        self._expect_answer(move.id, now_s)

    def sent_in(self, move: MoveId, session: SessionId) -> bool:
        """Whether an order was sent within this session, so that it may still be under way to its host."""
        return self._sent_in.get(move) == session

    def cancel(self, move: Move, reason: str, now_s: float) -> _Do:
        """Ask for the end of an open move; the first reason stays. The outcome says how it ended."""
        if move.cancel:
            return
        move = replace(move, cancel=reason)
        self._book.update(move)
        self._sendings.pop(move.id, None)
        yield StoreOrder(move)
        session = self._sessions.ready(move.host)
        if session is not None:
            yield SendTo(session, CancelMove(move.id, reason))
            self._expect_answer(move.id, now_s)
        yield Publish(move)

    def _expect_answer(self, move: MoveId, now_s: float) -> None:
        sent = self._sendings.get(move, 0)
        self._sendings[move] = sent + 1
        self._agenda.put(OrderDue(move), now_s + ANSWER_WITHIN_S * 2**sent)

    def unanswered(self, move_id: MoveId, now_s: float) -> _Do:
        """No answer came in time: say it again some times, then give up a session that does not answer to orders."""
        move = self._book.open.get(move_id)
        session = None if move is None else self._sessions.ready(move.host)
        if move is None or session is None:
            return
        unheard = move.stage in (Stage.PLANNED, Stage.SENT)
        if self._sendings.get(move_id, 0) >= SENDINGS_MAX:
            if unheard:
                words = f"order {move_id} got no answer, sent {SENDINGS_MAX} times"
                yield from self._sessions.close(session, CloseCause.UNRESPONSIVE, words, now_s)
        elif unheard:
            yield from self.send(move, now_s)
        elif move.cancel:
            yield SendTo(session, CancelMove(move.id, move.cancel))
            self._expect_answer(move.id, now_s)

    # From the host

    def accepted(self, host: HostId, report: MoveAccepted) -> _Do:
        """The host has the order in its journal."""
        move = self._known(host, report.move)
        if move is None:
            yield Fault(host, FaultKind.UNKNOWN_MOVE, f"accepted {report.move}, which nobody ordered")
        elif not move.open:
            yield from self._ended_already(host, move)
        elif move.stage in (Stage.PLANNED, Stage.SENT):
            move = advance(move, Step.ACCEPT)
            self._book.update(move)
            if not move.cancel:
                self._answered(move.id)
            yield StoreOrder(move)
            yield Publish(move)

    def progressed(self, host: HostId, report: MoveProgress) -> _Do:
        """A move runs."""
        move = self._known(host, report.move)
        if move is None:
            yield Fault(host, FaultKind.UNKNOWN_MOVE, f"told of {report.move}, which nobody ordered")
        elif not move.open:
            yield from self._ended_already(host, move)
        else:
            move = progressed(move, report)
            self._book.update(move)
            if not move.cancel:
                self._answered(move.id)
            yield Publish(move)

    def finished(self, host: HostId, session: SessionId, outcome: MoveOutcome, now_s: float) -> _Do:
        """A move ended on its host: keep the outcome, then acknowledge it. A repeated one is only acknowledged."""
        move = self._known(host, outcome.move)
        if move is None and self._book.find(outcome.move) is not None:
            yield Fault(host, FaultKind.CONTRADICTION, f"gave the outcome of {outcome.move}, a move of another host")
            return
        if move is None:
            yield from self._end_unknown(host, outcome, now_s)
        elif move.open:
            yield from self._end(move, outcome, now_s)
        elif move.by_scheduler:
            corrected = replace(move, outcome=outcome, by_scheduler=False)
            self._book.correct(corrected)
            yield StoreOutcome(corrected)
            yield Publish(corrected)
        yield SendTo(session, AcknowledgeOutcome(outcome.move))

    def _known(self, host: HostId, move_id: MoveId) -> Move | None:
        move = self._book.find(move_id)
        return move if move is not None and move.host == host else None

    def _ended_already(self, host: HostId, move: Move) -> _Do:
        """The host works on what has ended in our book, so it missed something: end it there too."""
        yield Fault(host, FaultKind.CONTRADICTION, f"works on {move.id}, which has ended")
        session = self._sessions.ready(host)
        if session is not None:
            yield SendTo(session, CancelMove(move.id, "it has ended in the scheduler's book"))

    def _answered(self, move: MoveId) -> None:
        self._agenda.drop(OrderDue(move))
        self._sendings.pop(move, None)

    # The end

    def end_here(self, move: Move, state: MoveState, words: str, now_s: float) -> _Do:
        """End an order that its host does not know."""
        outcome = MoveOutcome(move.id, move.task, state, words)
        yield from self._end(move, outcome, now_s, by_scheduler=True)

    def _end(self, move: Move, outcome: MoveOutcome, now_s: float, *, by_scheduler: bool = False) -> _Do:
        move = ended(move, outcome, now_s, by_scheduler=by_scheduler)
        yield from self._close(move)
        if not by_scheduler:
            yield from self._learn(move, outcome, now_s)
        self._world.concern(move.key)

    def _end_unknown(self, host: HostId, outcome: MoveOutcome, now_s: float) -> _Do:
        """The end of an agent's own move, or a late one of an order that the history, or the store, has lost."""
        record = self._world.tasks_on(host).get(outcome.task)
        move = Move(
            id=outcome.move,
            host=host,
            job=record.task.job if record else JobId(outcome.task),
            task=outcome.task,
            order=None,
            stage=Stage.FINISHED,
            created_s=now_s - outcome.seconds,
            ended_s=now_s,
            outcome=outcome,
            by_agent_alone=outcome.move.startswith(ALONE_PREFIX),
        )
        yield from self._close(move)
        yield from self._learn(move, outcome, now_s)

    def _close(self, move: Move) -> _Do:
        forgotten = self._book.end(move)
        self._answered(move.id)
        self._sent_in.pop(move.id, None)
        yield StoreOutcome(move)
        if forgotten:
            yield ForgetMoves(forgotten)
        yield Publish(move)

    def _learn(self, move: Move, outcome: MoveOutcome, now_s: float) -> _Do:
        """What the host's moves cost, and where the task's pages are now."""
        host = self._world.hosts[move.host]
        costs = host.costs.learned_from(outcome.moved_bytes, outcome.seconds)
        if costs != host.costs:
            self._world.put_host(replace(host, costs=costs))
            yield StoreCosts(host.id, costs)
        record = self._world.task(move.key)
        if record is None:
            return
        record = with_lesson(record, move, host.load)
        if outcome.residency.cells:
            record = replace(record, task=replace(record.task, residency=outcome.residency), measured_s=now_s)
        self._world.put_task(record)


def with_lesson(record: TaskRecord, move: Move | None, load: HostLoad) -> TaskRecord:
    """The task with what its last move that ended has taught: that it was tried, what cannot be moved, what lacked."""
    if move is None or move.order is None or move.outcome is None or move.ended_s is None:
        return record
    full = move.outcome.left.get(LeftReason.TARGET_FULL, 0)
    lacked = Lacked(full, load.free_at(move.order.home)) if full else None
    tried = Tried(move.order.home, move.order.home_version, move.outcome.state, move.ended_s, lacked)
    stuck = {reason: size for reason, size in move.outcome.left.items() if reason in STUCK_FOR_GOOD}
    return replace(record, tried=tried, stuck=stuck)
