"""What the doctor says of one thing: a stable word for it, a state, one line of words, one line of remedy."""

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """How a thing is.

    GOOD: as it should be. NOTE: worth knowing; nothing is wrong. WARNING: something works less well than it could.
    MISSING: pages cannot be moved until it is changed.
    """

    GOOD = "good"
    NOTE = "note"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the diagnosis. ``word`` is stable, for scripts; ``remedy`` is empty if there is nothing to change."""

    word: str
    state: State
    words: str
    remedy: str = ""
