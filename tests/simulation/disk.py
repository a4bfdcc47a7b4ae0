"""What outlives a process: the agent's journal and the scheduler's store, as plain values that a crash cannot harm.

They keep what `node_agent.linux.journal` and `scheduler.store.sqlite` keep, in the same order: an unfinished write is
lost as a whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from node_agent.core.events import JournalAccept, JournalAcknowledge, JournalFinish, JournalPolicies
from node_agent.core.facts import Remembered
from numaplace.model.ids import HostId, JobId, MoveId
from numaplace.model.move import MoveOrder, MoveOutcome
from numaplace.model.policy import Policy
from numaplace.model.session import PolicySet
from numaplace.model.worth import HostCosts
from scheduler.planning.records import Move
from scheduler.state.instructions import (
    ForgetMoves,
    ForgetPolicy,
    StoreCosts,
    StoreInstruction,
    StoreOrder,
    StoreOutcome,
    StorePolicy,
)
from scheduler.state.machine import Restored

JournalWrite = JournalAccept | JournalFinish | JournalAcknowledge | JournalPolicies


@dataclass(slots=True)
class _Entry:
    order: MoveOrder | None
    outcome: MoveOutcome | None = None
    acknowledged: bool = False


class Journal:
    """One host's journal."""

    def __init__(self) -> None:
        self.entries: dict[MoveId, _Entry] = {}
        self.policies: PolicySet | None = None
        self._boot_id = self._running = ""

    def write(self, do: JournalWrite) -> None:
        """One write, whole."""
        match do:
            case JournalAccept(order):
                self.entries.pop(order.id, None)
                self.entries[order.id] = _Entry(order)
                self._boot_id = self._running
            case JournalFinish(outcome):
                entry = self.entries.setdefault(outcome.move, _Entry(None))
                entry.outcome, entry.acknowledged = outcome, False
            case JournalAcknowledge(move):
                entry = self.entries[move]
                entry.acknowledged = entry.outcome is not None
            case JournalPolicies(policies):
                self.policies = policies

    def remember(self, boot_id: str) -> Remembered:
        """What a new process of the agent finds."""
        self._running = boot_id
        return Remembered(
            open_moves=tuple(e.order for e in self.entries.values() if e.outcome is None and e.order is not None),
            outcomes=tuple(e.outcome for e in self.entries.values() if e.outcome and not e.acknowledged),
            finished=tuple(e.outcome for e in self.entries.values() if e.outcome and e.acknowledged),
            policies=self.policies,
            same_boot=self._boot_id in ("", boot_id),
        )


@dataclass(slots=True)
class Store:
    """The scheduler's store. Times in it are the run's, as the real one's are Unix times."""

    default: Policy
    moves: dict[MoveId, Move] = field(default_factory=dict)
    by_job: dict[JobId, Policy] = field(default_factory=dict)
    costs: dict[HostId, HostCosts] = field(default_factory=dict)

    def write(self, records: Sequence[StoreInstruction], zero_s: float) -> None:
        """All of them; ``zero_s`` is when the writer's clock was zero."""
        for record in records:
            match record:
                case StoreOrder(move) | StoreOutcome(move):
                    self.moves[move.id] = _shifted(move, zero_s)
                case ForgetMoves(moves):
                    for move_id in moves:
                        self.moves.pop(move_id, None)
                case StorePolicy(job, policy):
                    if job is None:
                        self.default = policy
                    else:
                        self.by_job[job] = policy
                case ForgetPolicy(job):
                    self.by_job.pop(job, None)
                case StoreCosts(host, costs):
                    self.costs[host] = costs

    @property
    def policies(self) -> PolicySet:
        """The policies that hold."""
        return PolicySet(self.default, dict(self.by_job))

    def load(self, zero_s: float) -> Restored:
        """What a new scheduler finds, the ended moves first, as the real store gives them."""
        moves = [replace(_shifted(move, -zero_s), progress=None) for move in self.moves.values()]
        ended = sorted((m for m in moves if m.ended_s is not None), key=lambda m: m.ended_s or 0.0)
        return Restored((*ended, *(m for m in moves if m.ended_s is None)), self.policies, dict(self.costs))


def _shifted(move: Move, by_s: float) -> Move:
    ended_s = None if move.ended_s is None else move.ended_s + by_s
    return replace(move, created_s=move.created_s + by_s, ended_s=ended_s)
