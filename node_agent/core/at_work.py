"""Which mover works on which processes: never two on one, whoever sent them.

A follow move is of a task, a move by hand of whatever was named; the two overlap where they share a process. What
counts is what a mover was started with: a task may be followed no more, or have other processes, while it still works.
"""

from collections.abc import Iterable

from node_agent.core.facts import ProcessRef
from numaplace.model.ids import MoveId


class AtWork:
    """The movers at work, and the processes that each has."""

    def __init__(self) -> None:
        self._processes: dict[MoveId, frozenset[ProcessRef]] = {}
        self._mover: dict[ProcessRef, MoveId] = {}

    def begin(self, move: MoveId, processes: Iterable[ProcessRef]) -> None:
        """A mover starts on these processes; none of them may have one."""
        taken = frozenset(processes)
        other = self.on(taken)
        if move in self._processes or other is not None:
            raise AssertionError(f"{move} begins where {other or move} is at work already")
        self._processes[move] = taken
        self._mover.update(dict.fromkeys(taken, move))

    def end(self, move: MoveId) -> None:
        """A mover is done; nothing of it runs any more."""
        for process in self._processes.pop(move, frozenset()):
            del self._mover[process]

    def on(self, processes: Iterable[ProcessRef]) -> MoveId | None:
        """A mover that has any of these processes."""
        if not self._mover:
            return None
        return next((self._mover[process] for process in processes if process in self._mover), None)
