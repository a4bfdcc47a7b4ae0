"""Which of the host's migrations the agent's moves made: the last moves with their counters, and rates told apart.

A move's own counters are known when it has ended, not before, and cover its whole time. So growth is told apart over
spans that begin and end while no move runs: while one does, whose pages are migrated is not said. Nor is it said of a
span in which a move ended that the trace could not follow, or that had begun before anybody watched.
"""

import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from numaplace.cli import output, units
from numaplace.cli.connect import agent_to_ask, failures_as_exits
from numaplace.kernel.vmstat import MigrationCounters
from numaplace.model.ids import MoveId
from numaplace.model.move import MoveOrder, MoveOutcome

if TYPE_CHECKING:
    from numaplace.client import AgentClient
    from numaplace.model.views import LocalEvent

MOVES_SHOWN = 10
_HEADS: Mapping[str, str] = {
    "pgmigrate_success": "SUCCESS",
    "pgmigrate_fail": "FAIL",
    "thp_migration_success": "THP",
    "thp_migration_fail": "THP FAIL",
    "thp_migration_split": "THP SPLIT",
}


@dataclass(frozen=True, slots=True)
class Split:
    """Growth per second of each counter, by whom."""

    ours: Mapping[str, float]
    others: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class News:
    """What the agent had to tell since the last look: moves that ended, and whose migrations were whose if known."""

    finished: tuple[MoveOutcome, ...] = ()
    split: Split | None = None


class Span:
    """The time since no move ran, and what was migrated in it. Pure: told of moves and looks, in their order."""

    def __init__(self) -> None:
        self._began: tuple[MigrationCounters, float] | None = None
        self._open: set[MoveId] = set()
        self._ours: Counter[str] = Counter()
        self._known = True

    def begun(self, move: MoveId) -> None:
        """A move was accepted."""
        self._open.add(move)

    def ended(self, outcome: MoveOutcome) -> None:
        """A move ended."""
        ours = outcome.counters.ours
        if outcome.move not in self._open or ours is None:
            self._known = False
        else:
            self._ours.update(asdict(ours))
        self._open.discard(outcome.move)

    def look(self, counters: MigrationCounters, now_s: float) -> Split | None:
        """Tell the growth apart, if no move runs and all that ran are known; then a new span begins."""
        if self._open:
            return None
        split = self._split(counters, now_s) if self._known else None
        self._began, self._known = (counters, now_s), True
        self._ours.clear()
        return split

    def _split(self, counters: MigrationCounters, now_s: float) -> Split | None:
        if self._began is None or self._began[1] >= now_s:
            return None
        passed_s = now_s - self._began[1]
        grown = asdict(counters.since(self._began[0]))
        # The trace and the counters are not read in the same instant.
        others = {name: max(0, count - self._ours[name]) / passed_s for name, count in grown.items()}
        return Split({name: self._ours[name] / passed_s for name in grown}, others)


@dataclass(slots=True)
class Watcher:
    """Hears an agent on a thread of its own, and tells the news at each look."""

    client: "AgentClient"
    span: Span = field(default_factory=Span)
    _heard: "queue.SimpleQueue[LocalEvent | None]" = field(default_factory=queue.SimpleQueue)
    _gone: bool = False

    def start(self) -> None:
        """Begin to hear."""
        threading.Thread(target=self._hear, name="numaplace-watch", daemon=True).start()

    def _hear(self) -> None:
        from numaplace.client import NumaplaceError  # noqa: PLC0415 - gRPC is there by now

        try:
            for event in self.client.watch():
                self._heard.put(event)
        except NumaplaceError:
            pass  # the agent has gone: from now on its moves are not known
        self._heard.put(None)

    def news(self, counters: MigrationCounters) -> News:
        """What was heard since the last look, at which these counters were read."""
        finished: list[MoveOutcome] = []
        while not self._heard.empty():
            match self._heard.get():
                case MoveOrder() as order:
                    self.span.begun(order.id)
                case MoveOutcome() as outcome:
                    self.span.ended(outcome)
                    finished.append(outcome)
                case None:
                    self._gone = True
        split = self.span.look(counters, time.monotonic())
        return News(tuple(finished), None if self._gone else split)


@contextmanager
def watching(socket: Path | None) -> Iterator[Watcher | None]:
    """Watch the host's agent, or the named one; None if none answers."""
    found = agent_to_ask(socket)
    if found is None:
        yield None
        return
    from numaplace.client import AgentClient  # noqa: PLC0415 - only now is gRPC worth its 0.1 s

    with failures_as_exits(), AgentClient(found) as client:
        watcher = Watcher(client)
        watcher.start()
        yield watcher


def last_moves(socket: Path | None) -> tuple[MoveOutcome, ...] | None:
    """The moves that the host's agent, or the named one, remembers, newest first; None if none answers."""
    found = agent_to_ask(socket)
    if found is None:
        return None
    from numaplace.client import AgentClient, NumaplaceError  # noqa: PLC0415 - only now is gRPC worth its 0.1 s

    try:
        with AgentClient(found) as client:
            return client.moves()
    except NumaplaceError as error:
        # The counters are the kernel's: they are shown whatever the agent says.
        sys.stderr.write(f"numaplace: the agent's moves are not shown: {error.words}\n")
        return None


def moves_table(moves: tuple[MoveOutcome, ...]) -> Table:
    """A line for each move: its own counters, of what the host counted meanwhile; a dash where the trace is missing."""
    rows = [
        [
            str(outcome.move),
            str(outcome.task),
            outcome.state.value,
            units.duration(outcome.seconds),
            *(_ours_of_host(outcome, name) for name in _HEADS),
        ]
        for outcome in moves[:MOVES_SHOWN]
    ]
    return output.table(["MOVE", "TASK", "STATE", "TIME", *_HEADS.values()], rows, right=("TIME", *_HEADS.values()))


def _ours_of_host(outcome: MoveOutcome, name: str) -> str:
    account = outcome.counters
    ours = "-" if account.ours is None else str(getattr(account.ours, name))
    return f"{ours} of {getattr(account.host, name)}"
