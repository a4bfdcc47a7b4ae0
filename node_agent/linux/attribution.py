"""Which of the host's migrations were ours: the tracepoint migrate:mm_migrate_pages, filtered by our threads.

/proc/vmstat counts AutoNUMA, kubelet, numad and us together. The tracepoint has the caller's thread with every count.
Where tracefs is missing or denied, moves are accounted without this part, and the account says None.
"""

from typing import Protocol

from numaplace.model.move import MigrationCounters


class Attribution(Protocol):
    """Counts the migrations that this process's threads make."""

    def ours(self) -> MigrationCounters | None:
        """All so far; None if it cannot be known."""
        ...


class NoAttribution:
    """Nothing is known."""

    def ours(self) -> MigrationCounters | None:
        """None."""
        return None
