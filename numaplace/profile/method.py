"""What a method of profiling is: what it needs and tells, and a process watched for some seconds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from numaplace.model.ids import NodeId
from numaplace.profile.target import Target

Votes = dict[tuple[int, NodeId], float]
"""Weights by the first address of a base page, and the node that used it."""

Progress = Callable[[float, str], None]
"""Told again and again how much of the time is over (0 to 1), and in a few words what was seen so far."""


@dataclass(slots=True)
class Usage:
    """What was seen: the votes, what it cost and what is missing in words, and whether it ended before its time."""

    votes: Votes
    remarks: list[str] = field(default_factory=list)
    ended_early: str | None = None


class Method(Protocol):
    """A way to see which pages a process uses."""

    @property
    def name(self) -> str:
        """One word."""
        ...

    @property
    def tells(self) -> str:
        """What it sees, and whether it sees who."""
        ...

    def missing(self) -> str | None:
        """What this host lacks for it, with what to do; None if nothing."""
        ...

    def unfit(self, target: Target) -> str | None:
        """Why it cannot tell the node of this process's pages; None if it can."""
        ...

    def run(self, target: Target, seconds: float, progress: Progress) -> Usage:
        """Watch the process. Ctrl-C, and the process's end, end it early with what was seen.

        Raises:
            KernelCallError: the kernel refused; what was set up is put back.
        """
        ...
