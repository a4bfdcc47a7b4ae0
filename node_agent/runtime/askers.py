"""Those who asked for a move by hand and wait for it: each hears of their move alone, and exactly one outcome.

A move lasts no longer than somebody wants it: whoever goes away before its end, killed or cut off, ends it. Progress
that an asker is too slow for is left out, the outcome never.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from node_agent.ports import NotNowError
from numaplace.model.hand import HandEvent
from numaplace.model.ids import MoveId
from numaplace.model.move import MoveOrder, MoveOutcome, MoveProgress
from numaplace.model.views import LocalEvent

PROGRESS_WAITING_MAX = 16


class Asker:
    """One who waits; ``left`` is called as soon as nothing of the move runs any more, or it was refused."""

    def __init__(self, left: Callable[[], None]) -> None:
        self.left = left
        self._inbox: asyncio.Queue[HandEvent | NotNowError] = asyncio.Queue()

    def tell(self, what: HandEvent | NotNowError) -> None:
        """Say what happened."""
        if not (isinstance(what, MoveProgress) and self._inbox.qsize() >= PROGRESS_WAITING_MAX):
            self._inbox.put_nowait(what)

    async def hear(self) -> AsyncIterator[HandEvent]:
        """What happens, up to the outcome. Raises NotNowError."""
        while True:
            what = await self._inbox.get()
            if isinstance(what, NotNowError):
                raise what
            yield what
            if isinstance(what, MoveOutcome):
                return


class Askers:
    """All of them, by their moves."""

    def __init__(self) -> None:
        self._waiting: dict[MoveId, Asker] = {}
        self._gone: dict[MoveId, Asker] = {}

    def enter(self, move: MoveId, left: Callable[[], None]) -> Asker:
        """Somebody asks for this move."""
        asker = self._waiting[move] = Asker(left)
        return asker

    def go_away(self, move: MoveId) -> bool:
        """They wait no longer; returns whether the move has not ended."""
        asker = self._waiting.pop(move, None)
        if asker is not None:
            self._gone[move] = asker
        return asker is not None

    def is_gone(self, move: MoveId) -> bool:
        """Whether whoever asked for the move has gone away."""
        return move in self._gone

    def refuse(self, move: MoveId, words: str) -> None:
        """It cannot be now."""
        self._end(move, NotNowError(words))

    def tell(self, what: LocalEvent) -> None:
        """Pass on what is about a move that somebody waits for."""
        match what:
            case MoveOrder(move) | MoveProgress(move) if move in self._waiting:
                self._waiting[move].tell(what)
            case MoveOutcome(move):
                self._end(move, what)

    def _end(self, move: MoveId, what: MoveOutcome | NotNowError) -> None:
        waiting, gone = self._waiting.pop(move, None), self._gone.pop(move, None)
        if waiting is not None:
            waiting.tell(what)
        asker = waiting or gone
        if asker is not None:
            asker.left()
