"""The life of an order as the scheduler sees it: a table, and whatever is not in it is a bug that names its history.

The host may be ahead of us: an order whose acceptance was lost with a connection is next heard of when it runs or
has ended, so later steps are allowed from earlier stages, and repetitions change nothing.
"""

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum

from numaplace.model.move import MoveOutcome, MoveProgress
from scheduler.planning.records import Move, Stage


class Step(Enum):
    """What can befall an order."""

    SEND = "send"
    ACCEPT = "accept"
    PROGRESS = "progress"
    END = "end"


NEXT: Mapping[tuple[Stage, Step], Stage] = {
    (Stage.PLANNED, Step.SEND): Stage.SENT,
    (Stage.PLANNED, Step.ACCEPT): Stage.ACCEPTED,
    (Stage.PLANNED, Step.PROGRESS): Stage.RUNNING,
    (Stage.PLANNED, Step.END): Stage.FINISHED,
    (Stage.SENT, Step.SEND): Stage.SENT,
    (Stage.SENT, Step.ACCEPT): Stage.ACCEPTED,
    (Stage.SENT, Step.PROGRESS): Stage.RUNNING,
    (Stage.SENT, Step.END): Stage.FINISHED,
    (Stage.ACCEPTED, Step.ACCEPT): Stage.ACCEPTED,
    (Stage.ACCEPTED, Step.PROGRESS): Stage.RUNNING,
    (Stage.ACCEPTED, Step.END): Stage.FINISHED,
    (Stage.RUNNING, Step.ACCEPT): Stage.RUNNING,
    (Stage.RUNNING, Step.PROGRESS): Stage.RUNNING,
    (Stage.RUNNING, Step.END): Stage.FINISHED,
}


class InvalidTransitionError(AssertionError):
    """A bug here: a step that this stage cannot take."""

    def __init__(self, move: Move, step: Step) -> None:
        super().__init__(f"move {move.id} is {move.stage.value} and cannot {step.value}: {move}")


def advance(move: Move, step: Step) -> Move:
    """The move after a step. Raises InvalidTransitionError."""
    stage = NEXT.get((move.stage, step))
    if stage is None:
        raise InvalidTransitionError(move, step)
    return replace(move, stage=stage)


def progressed(move: Move, progress: MoveProgress) -> Move:
    """The move as it runs."""
    return replace(advance(move, Step.PROGRESS), progress=progress)


def ended(move: Move, outcome: MoveOutcome, now_s: float, *, by_scheduler: bool = False) -> Move:
    """The move with its outcome."""
    return replace(advance(move, Step.END), outcome=outcome, ended_s=now_s, by_scheduler=by_scheduler)
