"""A planned hand-over carried out: write, move, write, and whatever happens on the way, say in which state things are.

A task is never left without nodes: the widened cpuset allows the old and the new ones, so any state in between is safe
to stay in. Where nothing has moved, all is put back as it was. Where something has, the cpuset stays wide, and the
account names the commands that finish it and those that take it back. The nodes are narrowed only if next to nothing
is left that the kernel would then move at once, and never over what somebody else wrote meanwhile.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from numaplace.cli import units
from numaplace.cli.bars import left_line
from numaplace.cli.interrupts import Interrupts
from numaplace.cli.kernel import refusal_words
from numaplace.cli.moving import Lost, Moved
from numaplace.kernel.errors import KernelCallError, KernelFormatError
from numaplace.model.cpuset import format_id_list
from numaplace.model.hand import Transfer
from numaplace.model.handover import Attach, Handover, Step, Write, WriteMems
from numaplace.model.ids import Cpus, Nodes
from numaplace.model.move import LeftReason, MoveOutcome, MoveState
from numaplace.model.policy import MIB

NEXT_TO_NOTHING_BYTES = 32 * MIB
"""So much may be left to the kernel, which moves it in one go when the nodes are narrowed."""
_KERNEL_LEAVES = frozenset({LeftReason.PINNED, LeftReason.VANISHED, LeftReason.ZERO_PAGE, LeftReason.UNMOVABLE_MAPPING})
_INTERRUPTED = "interrupted before anything moved"
_TRIED = frozenset({MoveState.COMPLETED, MoveState.PARTIAL})


class State(Enum):
    """How a hand-over ended: as asked, as before, or in between."""

    DONE = "done"
    UNDONE = "undone"
    HALFWAY = "halfway"


class Files(Protocol):
    """The cpusets' files."""

    def mems(self, path: str) -> Nodes:
        """Read what was written as a cpuset's nodes; raises KernelCallError, KernelFormatError."""
        ...

    def cpus(self, path: str) -> Cpus:
        """Read what was written as a cpuset's CPUs; raises KernelCallError, KernelFormatError."""
        ...

    def write(self, write: Write) -> None:
        """Write; raises KernelCallError."""
        ...

    def as_shell(self, write: Write) -> str:
        """The same as a line for a shell."""
        ...


@dataclass(frozen=True, slots=True)
class Commands:
    """What to type to move the pages on, or back; with the writes it finishes a hand-over, or undoes it."""

    onward: str = ""
    back: str = ""


@dataclass(frozen=True, slots=True)
class Handed:
    """How a hand-over ended; ``finish`` and ``undo`` are commands, for one that stopped in between."""

    state: State
    words: str
    moved: Moved | None = None
    finish: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()


def hand_over(
    plan: Handover,
    files: Files,
    move: Callable[[Transfer], Moved],
    interrupts: Interrupts,
    *,
    commands: Commands,
    gone: Callable[[], bool] = lambda: False,
) -> Handed:
    """Carry a plan out.

    Args:
        plan: what to do.
        files: where to write.
        move: moves pages; raises Lost, and NumaplaceError if it did not begin.
        interrupts: whether the user wants to stop.
        commands: what a person would type to move the pages.
        gone: whether the process that was attached has ended, so that nothing is left to be moved.
    """
    return _Run(plan, files, move, interrupts, commands, gone).run()


@dataclass(frozen=True, slots=True)
class _Paused:
    """Why not to go on after the pages' turn, empty if nothing is in the way; ``untouched``: surely nothing moved."""

    words: str = ""
    moved: Moved | None = None
    untouched: bool = False


@dataclass(frozen=True, slots=True)
class _Run:
    plan: Handover
    files: Files
    move: Callable[[Transfer], Moved]
    interrupts: Interrupts
    commands: Commands
    gone: Callable[[], bool]

    def run(self) -> Handed:
        done: list[Step] = []
        for step in self.plan.before:
            refused = _INTERRUPTED if self.interrupts.asked else self._refused(step.do)
            if refused:
                return self._put_back(done, _Paused(refused, untouched=True))
            done.append(step)
        paused = _Paused() if self.plan.move is None else self._moved(self.plan.move)
        if paused.words and not self.gone():
            if paused.untouched:
                return self._put_back(done, paused)
            return self._halfway(paused, onward=(self.commands.onward,))
        for write in self.plan.after:
            refused = self._refused(write)
            if refused:
                return self._halfway(_Paused(refused, paused.moved), onward=())
        return Handed(State.DONE, paused.words, paused.moved)

    def _moved(self, transfer: Transfer) -> _Paused:
        from numaplace.client import NumaplaceError  # noqa: PLC0415 - only now is gRPC worth its 0.1 s

        if self.interrupts.asked:
            return _Paused(_INTERRUPTED, untouched=True)
        try:
            moved = self.move(transfer)
        except Lost as lost:
            return _Paused(f"{lost.words}; {units.size(lost.moved_bytes)} had moved by its last word")
        except NumaplaceError as error:
            return _Paused(f"no page was moved: {error.words}", untouched=True)
        return _Paused(why_not_to_narrow(moved.outcome), moved, untouched=moved.moved_bytes == 0)

    def _put_back(self, done: list[Step], paused: _Paused) -> Handed:
        """Nothing has moved: all as it was, so far as that can still be written."""
        for position, step in reversed(list(enumerate(done))):
            refused = self._refused(step.undo)
            if refused:
                undo = tuple(self.files.as_shell(each.undo) for each in reversed(done[: position + 1]))
                words = f"{paused.words}; it cannot be put back as it was: {refused}"
                return Handed(State.HALFWAY, words, paused.moved, undo=undo)
        return Handed(State.UNDONE, f"{paused.words}; all is as it was", paused.moved)

    def _halfway(self, paused: _Paused, *, onward: tuple[str, ...]) -> Handed:
        """Pages have moved: they stay where they are, in nodes that allow it, and the user has the word."""
        back = () if self.plan.move is None else (self.commands.back,)
        finish = (*onward, *map(self.files.as_shell, self.plan.after))
        undo = (*back, *map(self.files.as_shell, self.plan.undo))
        return Handed(State.HALFWAY, paused.words, paused.moved, finish, undo)

    def _refused(self, write: Write) -> str:
        """Why a write was not made; empty if it was."""
        try:
            changed = self._changed(write)
            if not changed:
                self.files.write(write)
        except (KernelCallError, KernelFormatError) as error:
            return refusal_words(error)
        return changed

    def _changed(self, write: Write) -> str:
        """What somebody else has written meanwhile, in words; empty if nothing."""
        if isinstance(write, Attach) or write.finds is None:
            return ""
        found, what = (
            (self.files.mems(write.path), "nodes")
            if isinstance(write, WriteMems)
            else (self.files.cpus(write.path), "CPUs")
        )
        if found == write.finds:
            return ""
        wrote = format_id_list(found) or "nothing"
        return f"somebody else wrote {wrote} to the {what} of {write.path} meanwhile; that stays"


def why_not_to_narrow(outcome: MoveOutcome) -> str:
    """Why the nodes should stay wide after this move, in words; empty if the kernel would find next to nothing."""
    if outcome.state not in _TRIED:
        return outcome.words
    left = {reason: size for reason, size in outcome.left.items() if reason not in _KERNEL_LEAVES}
    if sum(left.values()) <= NEXT_TO_NOTHING_BYTES:
        return ""
    return f"the kernel would move what is left all at once: {left_line(left)}"
