"""A move by hand from its start to its account: its stream read to the end, shown on the way, stopped when asked.

The account comes with the stream's last event, so after the first Ctrl-C the stream is read on. Who leaves without it
(a second Ctrl-C, an agent that went away) is told how far the move had come by its last word.
"""

import shlex
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from numaplace.cli.interrupts import Abandoned, Interrupts
from numaplace.model.hand import HandMove, Prediction
from numaplace.model.ids import JobId, MoveId
from numaplace.model.move import MoveOrder, MoveOutcome, MoveProgress
from numaplace.model.policy import Policy

if TYPE_CHECKING:
    from numaplace.client import AgentClient

_TURN_S = 0.5
_TURNS_MAX = 7200
"""An hour."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whose pages are moved: exactly one name is given."""

    pid: int | None = None
    cgroup: str | None = None
    job: JobId | None = None

    def __str__(self) -> str:
        return next(f"{kind} {name}" for kind, name in self._names() if name is not None)

    @property
    def options(self) -> str:
        """As a command line names it."""
        return next(f"--{kind} {shlex.quote(str(name))}" for kind, name in self._names() if name is not None)

    def _names(self) -> tuple[tuple[str, object], ...]:
        return ("pid", self.pid), ("cgroup", self.cgroup), ("job", self.job)


class View(Protocol):
    """Who watches a move for its user."""

    def progress(self, progress: MoveProgress) -> None:
        """It has come so far."""
        ...

    def stopping(self) -> None:
        """It was asked to end."""
        ...

    def waiting(self, words: str) -> None:
        """Somebody else moves these pages just now."""
        ...

    def close(self) -> None:
        """The move has ended; closed again, nothing happens."""
        ...


class Lost(Exception):  # noqa: N818 - says what happened
    """The move's account was not read to its end; ``moved_bytes`` is what it had moved by its last word."""

    def __init__(self, words: str, moved_bytes: int, *, abandoned: bool) -> None:
        super().__init__(words)
        self.words = words
        self.moved_bytes = moved_bytes
        self.abandoned = abandoned


class _Cancel:
    """Cancels a move as soon as both are known: that its user wants to stop, and its id."""

    def __init__(self, client: "AgentClient", view: View) -> None:
        self._client = client
        self._view = view
        self._lock = threading.Lock()
        self._asked = False
        self._move: MoveId | None = None

    def ask(self) -> None:
        """Its user wants to stop."""
        self._view.stopping()
        with self._lock:
            self._asked = True
        self._cancel()

    def accepted(self, move: MoveId) -> None:
        """It has this id."""
        with self._lock:
            self._move = move
        self._cancel()

    def _cancel(self) -> None:
        with self._lock:
            move = self._move if self._asked else None
        if move is not None:
            from numaplace.client import NumaplaceError  # noqa: PLC0415 - only now is gRPC worth its 0.1 s

            # An agent that is gone ends the stream as well, and there it is told.
            with suppress(NumaplaceError):
                self._client.cancel(move)


@dataclass(frozen=True, slots=True)
class Moved:
    """The account of a move, and of the moves of the same task that the agent made on its own while we waited."""

    outcome: MoveOutcome
    followed: tuple[MoveOutcome, ...] = ()

    @property
    def moved_bytes(self) -> int:
        """All that went."""
        return sum(each.moved_bytes for each in (self.outcome, *self.followed))


@dataclass(frozen=True, slots=True)
class Mover:
    """Moves the pages of one target for one user, who watches and may want to stop."""

    client: "AgentClient"
    target: Target
    policy: Policy
    view: View
    interrupts: Interrupts

    def move(self, what: HandMove) -> MoveOutcome:
        """Move, and return the account.

        Raises:
            Lost: it began, and its account did not come.
            NumaplaceError: it did not begin.
        """
        from numaplace.client import NumaplaceError  # noqa: PLC0415 - only now is gRPC worth its 0.1 s

        cancel = _Cancel(self.client, self.view)
        began, moved_bytes = False, 0
        whose = self.target
        stream = self.client.move(what, pid=whose.pid, cgroup=whose.cgroup, job=whose.job, policy=self.policy)
        try:
            with self.interrupts.stopping(cancel.ask), closing(stream):
                for event in stream:
                    match event:
                        case MoveOrder():
                            began = True
                            cancel.accepted(event.id)
                        case MoveProgress():
                            moved_bytes = event.moved_bytes
                            self.view.progress(event)
                        case MoveOutcome():
                            return event
        except Abandoned as error:
            raise Lost("left while the move was ending", moved_bytes, abandoned=True) from error
        except NumaplaceError as error:
            if not began:
                raise
            raise Lost(error.words, moved_bytes, abandoned=False) from error
        raise Lost("the agent ended the move without an account", moved_bytes, abandoned=False)

    def move_in_turn(self, what: HandMove) -> Moved:
        """Move as soon as nobody else moves these pages: an agent that follows the task may be quicker than we are.

        Raises:
            Lost: it began, and its account did not come; or the user stopped waiting.
            NumaplaceError: it did not begin.
        """
        from numaplace.client import NotNow  # noqa: PLC0415 - only now is gRPC worth its 0.1 s

        before = {outcome.move for outcome in self.client.moves()}
        for _ in range(_TURNS_MAX):
            try:
                outcome = self.move(what)
            except NotNow as busy:
                if self.interrupts.asked:
                    raise Lost("stopped while the agent moved these pages on its own", 0, abandoned=True) from busy
                self.view.waiting(f"{busy.words}; waiting for its end")
                time.sleep(_TURN_S)
            else:
                others = (each for each in self.client.moves() if each.move not in {*before, outcome.move})
                return Moved(outcome, tuple(each for each in others if each.task == outcome.task))
        raise Lost("the agent moves these pages on its own, and has not come to an end", 0, abandoned=False)

    def predict(self, what: HandMove) -> Prediction:
        """What it would take; raises NumaplaceError."""
        whose = self.target
        return self.client.predict(what, pid=whose.pid, cgroup=whose.cgroup, job=whose.job, policy=self.policy)
