"""What must never happen, checked as it happens.

The ledger stands beside both machines and sees what neither alone can: what is on which disk when something is said,
which movers are at work, which bytes moved for which order. A broken rule raises Violation at once.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from node_agent.core.desk import UNKNOWN_TASK
from node_agent.core.events import JournalAccept, JournalFinish
from node_agent.core.followed import Followed
from numaplace.model.ids import ALONE_PREFIX, HostId, MoveId, NodeId, TaskId
from numaplace.model.job import HomeChange, Task
from numaplace.model.move import MoveOrder, MoveOutcome, MoveState
from numaplace.model.policy import FollowMode
from numaplace.model.session import AcknowledgeOutcome, Instruction, MoveAccepted, Report
from scheduler.state.instructions import Fault, StoreInstruction, StoreOutcome
from tests.simulation.disk import Journal, JournalWrite, Store

_WITHOUT_MOVER = (MoveState.REFUSED, MoveState.CANCELLED, MoveState.SUPERSEDED, MoveState.FAILED)


class Violation(AssertionError):  # noqa: N818 - the word for a broken rule
    """A rule was broken."""


@dataclass(slots=True)
class _HostBook:
    """What one host did. ``moved`` and ``ended`` are of the agent's present process."""

    accepted: dict[MoveId, MoveOrder] = field(default_factory=dict)
    outcomes: dict[MoveId, MoveOutcome] = field(default_factory=dict)
    working: dict[TaskId, MoveId] = field(default_factory=dict)
    moved: Counter[MoveId] = field(default_factory=Counter)
    disturbed: Counter[MoveId] = field(default_factory=Counter)
    ended: dict[MoveId, MoveOutcome] = field(default_factory=dict)
    started: set[MoveId] = field(default_factory=set)
    homes: set[tuple[TaskId, int, frozenset[NodeId]]] = field(default_factory=set)


class Ledger:
    """All hosts' books."""

    def __init__(self) -> None:
        self.hosts: dict[HostId, _HostBook] = {}
        self.faults: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.moved_bytes = 0

    def book(self, host: HostId) -> _HostBook:
        """One host's."""
        return self.hosts.setdefault(host, _HostBook())

    # The host

    def journal(self, host: HostId, instance: str, do: JournalWrite) -> None:
        """The agent writes to its journal: an order is accepted once and ends once, as its mover says."""
        book = self.book(host)
        match do:
            case JournalAccept(order):
                _require(order.id not in book.accepted, f"{order.id} was accepted twice on {host}")
                _require(order.id not in book.outcomes, f"{order.id} was accepted after its end on {host}")
                moves = order.policy.mode in (FollowMode.AT_ONCE, FollowMode.LATER)
                _require(moves, f"{order.id} moves pages under a policy that says {order.policy.mode.value}")
                book.accepted[order.id] = order
            case JournalFinish(outcome):
                _require(outcome.move not in book.outcomes, f"{outcome.move} ended twice on {host}")
                self._true(book, outcome, instance)
                book.outcomes[outcome.move] = outcome
                self.counts[f"ended {outcome.state.value}"] += 1
            case _:
                pass

    @staticmethod
    def _true(book: _HostBook, outcome: MoveOutcome, instance: str) -> None:
        """The outcome is what the mover of this process found, or says that no mover of it worked."""
        found = book.ended.get(outcome.move)
        if found is not None:
            _require(outcome == found, f"{outcome.move}: its mover ended with {found}, its account is {outcome}")
            moved = book.moved[outcome.move]
            unseen = moved - outcome.moved_bytes
            words = f"{outcome.move}: moved {moved}, account {outcome.moved_bytes}"
            _require(0 <= unseen <= book.disturbed[outcome.move], words)
            return
        _require(outcome.move not in book.started, f"{outcome.move} ended under its mover, on {instance}")
        _require(outcome.state in _WITHOUT_MOVER, f"{outcome.move} is {outcome.state} and had no mover")
        _require(outcome.moved_bytes == 0, f"{outcome.move} moved without a mover")

    def mover_started(self, host: HostId, instance: str, order: MoveOrder, task: Followed | None) -> None:
        """One mover a task, one run an order and process, and only towards the home that is known now."""
        book = self.book(host)
        other = book.working.get(order.task)
        _require(other is None, f"{order.id} and {other} move {order.task} at the same time")
        _require(order.id in book.accepted, f"{order.id} runs and is not in the journal")
        _require(order.id not in book.outcomes, f"{order.id} runs after its end")
        _require(order.id not in book.started, f"{order.id} runs twice in {instance}")
        _require(task is not None, f"{order.id} moves a task that is not there")
        _require(task is None or task.home.nodes == order.home, f"{order.id} leads away from home")
        known = (order.task, order.home_version, order.home) in book.homes
        _require(known, f"{order.id} leads to {sorted(order.home)}, never a home of {order.task} in that version")
        book.started.add(order.id)
        book.working[order.task] = order.id
        self.counts["movers"] += 1

    @staticmethod
    def at_rest(orders_running: Iterable[MoveOrder], tasks: Mapping[TaskId, Followed]) -> None:
        """The agent has done all that it was told to: no mover that nobody cancelled leads away from a known home."""
        for order in orders_running:
            task = tasks.get(order.task)
            away = task is not None and task.home.nodes != order.home
            _require(not away, f"{order.id} goes on towards {sorted(order.home)}, which is no longer home")

    def moved(self, host: HostId, order: MoveOrder, target: NodeId, size: int) -> None:
        """Pages moved: only to the home that was decided on, only for the one order at work."""
        book = self.book(host)
        _require(target in order.home, f"{order.id} moved pages to node {target}, its home is {sorted(order.home)}")
        _require(book.working.get(order.task) == order.id, f"{order.id} moves pages and is not at work")
        book.moved[order.id] += size
        self.moved_bytes += size

    def mover_ended(self, host: HostId, order: MoveOrder, outcome: MoveOutcome, disturbed_bytes: int = 0) -> None:
        """Nothing of this mover runs any more. So many bytes went from under its hands: of those it need not know."""
        book = self.book(host)
        book.disturbed[order.id] = disturbed_bytes
        book.ended[order.id] = outcome
        del book.working[order.task]

    def agent_died(self, host: HostId) -> None:
        """Its movers died with it; what they moved is nobody's account any more."""
        book = self.book(host)
        for of_process in (book.working, book.moved, book.disturbed, book.ended, book.started):
            of_process.clear()

    def found(self, host: HostId, report: Report) -> None:
        """The agent has something to report, whether or not there is a session: note the homes that it found."""
        match report:
            case HomeChange(task) | Task(task):
                self.book(host).homes.add((task, report.home.version, report.home.nodes))
            case _:
                pass

    def rebooted(self, host: HostId) -> None:
        """What was known of homes was of the kernel before."""
        self.book(host).homes.clear()

    # What is said

    def sent_by_agent(self, host: HostId, report: Report, journal: Journal) -> None:
        """Nothing is reported as accepted or ended that a crash could undo."""
        match report:
            case MoveAccepted(move):
                _require(move in journal.entries, f"{host} says it accepted {move}, and its journal has nothing")
            case MoveOutcome(move) if not turned_down(report) or move in journal.entries:
                entry = journal.entries.get(move)
                written = entry is not None and entry.outcome == report
                _require(written, f"{host} says how {move} ended, and its journal does not")
            case _:
                pass

    def sent_by_scheduler(self, host: HostId, message: Instruction, store: Store) -> None:
        """No order before it is stored, no acknowledgement before the outcome is."""
        match message:
            case MoveOrder(move):
                stored = store.moves.get(move)
                _require(stored is not None, f"order {move} was sent before it was stored")
                _require(stored is None or stored.host == host, f"order {move} was sent to {host}")
                _require(stored is None or stored.order == message, f"order {move} was sent otherwise than stored")
            case AcknowledgeOutcome(move):
                stored = store.moves.get(move)
                kept = stored is not None and stored.outcome is not None and not stored.by_scheduler
                _require(kept, f"the outcome of {move} was acknowledged before it was stored")
            case _:
                pass

    def stored(self, record: StoreInstruction) -> None:
        """The scheduler's outcomes are the hosts' own, unless it says that they are not."""
        if not isinstance(record, StoreOutcome):
            return
        move = record.move
        if move.by_scheduler:
            book = self.book(move.host)
            # An agent that was alone for long forgets how the oldest of its own orders ended, even one that it told of.
            forgotten = move.id.startswith(ALONE_PREFIX) and move.id in book.outcomes
            _require(
                move.id not in book.accepted or forgotten,
                f"the scheduler writes an end of {move.id}, which its host has accepted",
            )
            return
        own = self.book(move.host).outcomes.get(move.id)
        if own is None and move.outcome is not None and turned_down(move.outcome):
            return
        _require(own is not None, f"{move.id} has an outcome in the store, and {move.host} gave none")
        _require(own == move.outcome, f"{move.id} is stored as {move.outcome}, on its host it is {own}")

    def fault(self, fault: Fault) -> None:
        """The scheduler complains of an agent."""
        self.faults[fault.kind.value] += 1


def turned_down(outcome: MoveOutcome) -> bool:
    """Whether this may be the word of an overloaded agent, which turns orders down without remembering them."""
    return outcome.state is MoveState.REFUSED or outcome.task == UNKNOWN_TASK


def _require(holds: bool, words: str) -> None:  # noqa: FBT001 - reads like assert
    if not holds:
        raise Violation(words)
