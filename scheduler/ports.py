"""What the scheduler's shell and services need of the world, and of each other: small protocols.

A Store blocks and is called on one thread of its own. Everything else runs on the event loop.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from numaplace.model.policy import Policy
from numaplace.model.session import Instruction as Message
from scheduler.planning.records import Move
from scheduler.state.events import Event, SessionId
from scheduler.state.instructions import CloseCause, Instruction, StoreInstruction
from scheduler.state.machine import Restored, SchedulerState


class Clock(Protocol):
    """Time as the scheduler reads it, once per event."""

    def now_s(self) -> float:
        """Seconds on a monotonic clock: the only time that decisions know."""
        ...

    def wall_s(self, at_s: float) -> float:
        """The Unix time at a time of the monotonic clock, for people and for what outlives the process."""
        ...

    def at_s(self, wall_s: float) -> float:
        """The time of the monotonic clock at a Unix time; negative for what was before its zero."""
        ...


class StoreError(Exception):
    """The store cannot be used: what is wrong, and what to do about it."""

    exit_code = 74
    """EX_IOERR of sysexits.h."""

    def __init__(self, words: str, advice: str) -> None:
        super().__init__(f"{words}; {advice}")
        self.words = words
        self.advice = advice


class StoreCorruptError(StoreError):
    """What is stored cannot be believed. Nothing was changed."""

    exit_code = 65
    """EX_DATAERR: starting again does not help."""


class StoreBusyError(StoreError):
    """Another process has it, or the disk is full: it may work in a moment."""

    exit_code = 75
    """EX_TEMPFAIL."""


class Store(Protocol):
    """Where orders, outcomes, policies and costs survive a crash. Methods block and raise StoreError."""

    def load(self, default: Policy) -> Restored:
        """All that earlier runs have stored; ``default`` is the default policy unless another was stored."""
        ...

    def write(self, records: Sequence[StoreInstruction]) -> None:
        """Make these durable in one transaction: all or nothing."""
        ...

    def close(self) -> None:
        """Release the store to whoever wants it next."""
        ...


class Line(Protocol):
    """A connection to one agent. Neither method waits."""

    def send(self, message: Message) -> None:
        """Say this, in order, or nothing if the connection has ended."""
        ...

    def close(self, cause: CloseCause, words: str) -> None:
        """Say what was said so far, then end the connection with these words."""
        ...


class Watch(Protocol):
    """Changes of moves from now on."""

    def __aiter__(self) -> AsyncIterator[Move]:
        """The moves as they change; raises WatchOverflowError if they come faster than they are taken."""
        ...

    def close(self) -> None:
        """No more, please."""
        ...


class WatchOverflowError(Exception):
    """Whoever watches does not keep up."""


class Desk(Protocol):
    """The shell as the services see it."""

    @property
    def state(self) -> SchedulerState:
        """To be read between awaits, never changed."""
        ...

    @property
    def clock(self) -> Clock:
        """The shell's clock."""
        ...

    def attach(self, line: Line) -> SessionId:
        """A new session's id; what the state says to it goes over this line."""
        ...

    def detach(self, session: SessionId) -> None:
        """The line is gone."""
        ...

    async def post(self, event: Event) -> None:
        """Hand in an event; waits while too many are waiting."""
        ...

    async def settle(self, event: Event) -> None:
        """Hand in an event and wait until all that follows from it is stored and sent."""
        ...

    async def until(self, holds: Callable[[SchedulerState], bool], within_s: float) -> bool:
        """Wait until this holds of the state, at most so long; whether it holds."""
        ...

    def watch(self) -> Watch:
        """Watch the moves."""
        ...


class Observer(Protocol):
    """Sees what the shell carries out: logs and metrics."""

    def event(self, event: Event) -> None:
        """An event is about to be handled."""
        ...

    def instruction(self, instruction: Instruction) -> None:
        """An instruction was carried out."""
        ...

    def refused(self, peer: str, words: str) -> None:
        """A peer's message could not be understood."""
        ...

    def called(self, method: str, status: str) -> None:
        """A person's or program's call was answered."""
        ...

    def store_failed(self, error: StoreError) -> None:
        """The store did not take a write; it is tried again."""
        ...
