"""What every move of a host is carried out with, and how far one of them has come, through all of its legs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from node_agent.core.accounting import Ledger
from node_agent.core.facts import Measured
from node_agent.core.strategy import Choice, KernelTraits
from node_agent.linux.attribution import Attribution
from node_agent.linux.courier import Tally
from node_agent.linux.crew import Crew
from node_agent.linux.memory import HostMemory
from node_agent.linux.pins import StuckPages
from node_agent.linux.residency import View, dominant_policy, look_again, residency_of
from numaplace.model.residency import Residency


@dataclass(frozen=True, slots=True)
class Means:
    """What a host's moves have in common.

    ``moved_pages`` is told how many base pages went, as they go.
    """

    host: HostMemory
    stuck: StuckPages
    traits: KernelTraits
    crew: Crew
    attribution: Attribution
    moved_pages: Callable[[int], None]


@dataclass(slots=True)
class UnderWay:
    """One move as far as it has come.

    ``known`` is the task as it was measured before, ``last`` as it was measured since the last call, if it was.
    ``choice`` is that of the first leg.
    """

    known: Measured | None = None
    views: Sequence[View] = ()
    ledger: Ledger = field(default_factory=lambda: Ledger({}))
    tally: Tally = field(default_factory=Tally)
    last: Residency | None = None
    choice: Choice | None = None
    stall_ms: float = 0.0
    notes: list[str] = field(default_factory=list)

    def look(self, host: HostMemory) -> Residency:
        """Measure the task anew, with the mappings that it has by now."""
        self.views = look_again(self.views)
        self.last = residency_of(host, self.views)
        return self.last

    def residency(self, host: HostMemory) -> Residency:
        """Where the pages are now: as they were measured last, unless something happened since."""
        return self.look(host) if self.last is None else self.last

    def measured(self, host: HostMemory) -> Measured:
        """The same with the memory policy that most of them are under."""
        residency = self.residency(host)
        if self.known is not None:
            # A policy changes seldom, and reading it is dear; the next measurement on its own reads it anew.
            return Measured(residency, self.known.memory_policy, self.known.policy_nodes)
        return Measured(residency, *dominant_policy(self.views))
