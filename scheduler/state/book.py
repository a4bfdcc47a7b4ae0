"""The book of moves: at most one open per task, the ended ones in a bounded history, each in exactly one place."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping

from numaplace.model.ids import HostId, JobId, MoveId
from scheduler.planning.records import Move, TaskKey


class BookError(AssertionError):
    """A bug of the caller: an entry that would contradict the book."""


def _require(holds: bool, words: str, move: Move) -> None:  # noqa: FBT001 - reads like assert
    if not holds:
        raise BookError(f"{words}: {move}")


class MoveBook:
    """Open and ended moves. Raises BookError for what would be a bug of the caller."""

    def __init__(self, history_max: int) -> None:
        self._history_max = history_max
        self._open: dict[MoveId, Move] = {}
        self._by_task: dict[TaskKey, MoveId] = {}
        self._by_host: dict[HostId, dict[MoveId, None]] = {}
        self._ended: OrderedDict[MoveId, Move] = OrderedDict()
        self._latest: dict[TaskKey, MoveId] = {}
        self.endings = 0
        """How many moves have ended so far; never falls."""

    @property
    def open(self) -> Mapping[MoveId, Move]:
        """The moves whose end is to come."""
        return self._open

    @property
    def ended(self) -> Mapping[MoveId, Move]:
        """The bounded history, oldest first."""
        return self._ended

    def find(self, move: MoveId) -> Move | None:
        """A move by its id, open or ended."""
        return self._open.get(move) or self._ended.get(move)

    def of_task(self, key: TaskKey) -> Move | None:
        """The open move of a task."""
        move = self._by_task.get(key)
        return None if move is None else self._open[move]

    def open_on(self, host: HostId) -> list[Move]:
        """The open moves of a host, oldest first."""
        return [self._open[move] for move in self._by_host.get(host, ())]

    def running(self, hosts: Iterable[HostId]) -> dict[HostId, int]:
        """How many moves are open on each of these hosts; a host without any is left out."""
        return {host: len(self._by_host[host]) for host in hosts if host in self._by_host}

    def newest_first(self, job: JobId | None = None) -> Iterator[Move]:
        """All moves, or those of one job: the open ones, then the ended ones."""
        moves: Iterable[Move] = (*reversed(self._open.values()), *reversed(self._ended.values()))
        return (move for move in moves if job is None or move.job == job)

    def add(self, move: Move) -> None:
        """A new open move."""
        _require(move.open, "has ended", move)
        _require(self.find(move.id) is None, "is in the book already", move)
        _require(move.key not in self._by_task, "its task has an open move", move)
        self._open[move.id] = move
        self._by_task[move.key] = move.id
        self._by_host.setdefault(move.host, {})[move.id] = None

    def update(self, move: Move) -> None:
        """An open move has come further."""
        _require(move.open and move.id in self._open, "is not open", move)
        self._open[move.id] = move

    def end(self, move: Move) -> tuple[MoveId, ...]:
        """An open move has ended, or one that nobody knew ended elsewhere; returns whom the history drops for it."""
        _require(not move.open, "has not ended", move)
        _require(move.id not in self._ended, "ended before", move)
        if self._open.pop(move.id, None) is not None:
            del self._by_task[move.key]
            del self._by_host[move.host][move.id]
            if not self._by_host[move.host]:
                del self._by_host[move.host]
        self.endings += 1
        self._ended[move.id] = move
        self._latest[move.key] = move.id
        surplus = max(0, len(self._ended) - self._history_max)
        return tuple(self._drop_oldest() for _ in range(surplus))

    def _drop_oldest(self) -> MoveId:
        move_id, move = self._ended.popitem(last=False)
        if self._latest.get(move.key) == move_id:
            del self._latest[move.key]
        return move_id

    def latest_ended(self, key: TaskKey) -> Move | None:
        """The move of a task that ended last, if the history still has it."""
        move = self._latest.get(key)
        return None if move is None else self._ended[move]

    def correct(self, move: Move) -> None:
        """The host knows better how an ended move ended."""
        _require(not move.open, "has not ended", move)
        _require(self._ended[move.id].by_scheduler, "had its outcome from its host", move)
        self._ended[move.id] = move
