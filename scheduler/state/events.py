"""What happened: everything that can change the scheduler's state. Frozen facts; the time comes beside them."""

from dataclasses import dataclass
from typing import NewType

from numaplace.model.ids import JobId, MoveId
from numaplace.model.policy import Policy
from numaplace.model.session import Hello, Report

SessionId = NewType("SessionId", int)
"""One connection of one agent; never used again, not even after a restart of the shell's counting."""


@dataclass(frozen=True, slots=True)
class AgentConnected:
    """An agent opened a session with its Hello, which is message 1."""

    session: SessionId
    hello: Hello


@dataclass(frozen=True, slots=True)
class AgentReported:
    """The agent's next message: ``sequence`` is its number within the session, from 2."""

    session: SessionId
    sequence: int
    report: Report


@dataclass(frozen=True, slots=True)
class AgentLost:
    """A session ended, whatever the cause."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """A job's policy, or with ``job`` None the default, was set."""

    job: JobId | None
    policy: Policy


@dataclass(frozen=True, slots=True)
class PolicyDeleted:
    """A job follows the default policy from now on."""

    job: JobId


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """A person wants a move to end."""

    move: MoveId
    reason: str


@dataclass(frozen=True, slots=True)
class MeasureRequested:
    """A person wants to know where a job's pages are now."""

    job: JobId


@dataclass(frozen=True, slots=True)
class Tick:
    """A time that was asked for with WakeAt has come."""


Event = (
    AgentConnected | AgentReported | AgentLost | PolicyChanged | PolicyDeleted | CancelRequested | MeasureRequested
    | Tick
)  # fmt: skip
