"""What the agent's shell needs of the world: small protocols that the adapters fulfil and the fakes imitate.

Methods that make system calls block; the shell calls them on its own worker threads, never on the event loop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from node_agent.core.facts import Hint, Measured, ProcessRef, Remembered, Sweep, TaskFacts
from numaplace.model.hand import HandMove, Prediction
from numaplace.model.ids import JobId, MoveId
from numaplace.model.job import ChangeSource
from numaplace.model.move import LeftReason, MoveOrder, MoveOutcome, MoveProgress
from numaplace.model.session import Abilities, HostLoad, PolicySet
from numaplace.model.topology import Topology


class Clock(Protocol):
    """The host's boot-time clock."""

    def now_s(self) -> float:
        """Seconds since boot, suspend included."""
        ...


class NotYoursError(Exception):
    """Somebody else adopted this; the words say what."""


class NotNowError(Exception):
    """What was asked for by hand cannot begin now; the words say why, and what to do."""


class TaskSource(Protocol):
    """Which tasks there are and where they may run."""

    def sweep(self, *, structural: bool) -> Sweep:
        """Read every followed task's CPUs and mems anew; with ``structural`` also which tasks and processes exist.

        Blocks. Tasks that vanish in mid-read are left out.
        """
        ...

    def find(self, *, pid: int | None = None, cgroup: str | None = None, alone: bool = False) -> TaskFacts:
        """What a process tree or a cgroup looks like now, followed or not; ``alone``: of a tree its root alone.

        Raises LookupError if it is not there.
        """
        ...

    def adopt(
        self, job: JobId, *, process: ProcessRef | None = None, cgroup: str | None = None, by_uid: int = 0
    ) -> TaskFacts:
        """Follow a process tree or a cgroup under this name from now on, for this user.

        Raises LookupError or ValueError; NotYoursError if somebody else adopted it, or something by this name.
        """
        ...

    def release(self, job: JobId, *, by_uid: int = 0) -> int:
        """Stop following what this user adopted under this name, or anybody for root; returns how many tasks that were.

        Raises NotYoursError if all of it was adopted by others.
        """
        ...


class Watcher(Protocol):
    """A source of hints: a file descriptor that turns readable, and what it then says."""

    @property
    def source(self) -> ChangeSource:
        """Which source this is."""
        ...

    def fileno(self) -> int:
        """The descriptor to poll."""
        ...

    def drain(self) -> Sequence[Hint]:
        """Everything that is there to read now, without blocking; lost events appear as a hint about anyone."""
        ...

    def close(self) -> None:
        """Release descriptors and kernel objects (marks, trace instances)."""
        ...


@dataclass(frozen=True, slots=True)
class MoveJob:
    """All that a mover needs to know about one order: whose pages, under which circumstances.

    ``what``: None for a follow move, all pages home. Else what was asked for by hand: then the order's ``home`` is
    only the nodes that pages go to and its ``previous_home`` those that they leave (none for PickedPages), for those
    who watch, and of its policy count the kinds, the budget and ``keep_interleave``. The pages are those of
    ``task.processes``: exactly one process for PickedPages. The nodes exist, and those that
    pages go to have memory.
    """

    order: MoveOrder
    task: TaskFacts
    topology: Topology
    what: HandMove | None = None

    @property
    def owner(self) -> int | None:
        """The user whose the processes must stay: who asked may be no more than that. None if it does not matter."""
        return (self.task.uid or None) if self.what is not None else None


class MoveControl(Protocol):
    """The mover's line to the shell; thread-safe."""

    def cancelled(self) -> str | None:
        """The reason to end early (``superseded``: …, ``cancelled``: …), or None to go on. Asked between batches."""
        ...

    def report(self, progress: MoveProgress) -> None:
        """Say where the move stands; at most some times a second."""
        ...


class Mover(Protocol):
    """Measures and moves pages. Everything blocks and runs on worker threads."""

    def measure(self, processes: Sequence[ProcessRef]) -> Measured:
        """Where the pages of these processes lie, without stalling them; processes that are gone count nothing."""
        ...

    def stuck(self, processes: Sequence[ProcessRef]) -> Mapping[LeftReason, int]:
        """Bytes that earlier moves proved unmovable, by reason."""
        ...

    def load(self) -> HostLoad:
        """What the nodes can take now, and what others migrate."""
        ...

    def abilities(self) -> Abilities:
        """What this kernel and these capabilities allow, found by probing; watchers are the shell's to add."""
        ...

    def move(self, job: MoveJob, control: MoveControl) -> MoveOutcome:
        """Carry the order out. Never raises for what the kernel or the job does: that is an outcome."""
        ...

    def predict(self, job: MoveJob) -> Prediction:
        """What :meth:`move` would do with the same job now: measured, nothing moved.

        Raises KernelCallError where the pages may not be looked at.
        """
        ...


class Journal(Protocol):
    """What must survive a crash of the agent. Each call is on disk when it returns."""

    def remember(self, boot_id: str) -> Remembered:
        """What was written in this boot of the kernel; an earlier boot's open orders are given back as such too."""
        ...

    def accept(self, order: MoveOrder) -> None:
        """The order is ours from now on."""
        ...

    def finish(self, outcome: MoveOutcome) -> None:
        """The order ended so."""
        ...

    def acknowledge(self, move: MoveId) -> None:
        """The scheduler has the outcome."""
        ...

    def keep_policies(self, policies: PolicySet) -> None:
        """The last policies that the scheduler gave."""
        ...
