"""What one leg of an order is after: found anew in each pass, and known when next to nothing of it is left."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from node_agent.core.accounting import Ledger
from node_agent.core.pages import Run
from node_agent.linux.memory import HostMemory
from node_agent.linux.pins import StuckPages
from node_agent.linux.residency import View
from node_agent.linux.walk import Walk, Wish
from numaplace.model.move import LeftReason
from numaplace.model.residency import Residency

REST_BYTES = 1 << 20
REST_SHARE = 0.002
"""So little is not worth another pass: a running job always has some pages in flight."""


class Quest(Protocol):
    """The pages that are to go in one leg."""

    def runs(self, views: Sequence[View], ledger: Ledger) -> Iterator[Run]:
        """One pass: what may be sent, as it is found; what stays is booked with its reason."""
        ...

    def away_bytes(self, ledger: Ledger, residency: Residency) -> int:
        """How much of it has not gone, by the pass under way and of a task that was measured just now."""
        ...

    def worth_another(self, ledger: Ledger, residency: Residency) -> bool:
        """Whether another pass could take enough of what has not gone."""
        ...


class NodesQuest:
    """All of a task's pages on some nodes."""

    def __init__(self, host: HostMemory, wish: Wish, stuck: StuckPages) -> None:
        self._host, self._wish, self._stuck = host, wish, stuck

    def runs(self, views: Sequence[View], ledger: Ledger) -> Iterator[Run]:
        """A walk over the task."""
        return Walk(self._host, views, self._wish, ledger, self._stuck).runs()

    def away_bytes(self, ledger: Ledger, residency: Residency) -> int:
        """What lies on the nodes that were to be left."""
        del ledger
        return residency.bytes_on(self._wish.sources)

    def worth_another(self, ledger: Ledger, residency: Residency) -> bool:
        """Whether more than a little has no reason to be there, or one that passes."""
        explained = sum(size for reason, size in ledger.left.items() if reason is not LeftReason.BUSY)
        return self.away_bytes(ledger, residency) - explained > max(REST_BYTES, REST_SHARE * residency.resident_bytes)
