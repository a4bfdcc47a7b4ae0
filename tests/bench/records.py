"""A figure, what it is compared with, and whether it keeps its bound.

Rules kept:

- Only ratios within one run judge, and absolute bounds where the issue names one.
- A value of None is "never, in the time it was given". A rival without a value at all was not measured, and nothing
  that needs it holds: a measurement that failed is a miss, never an omission.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

NOTHING = "nothing"
"""The rival that does nothing."""


class Bound(Protocol):
    """What a figure is to reach."""

    @property
    def words(self) -> str:
        """The bound as people read it."""
        ...

    def holds(self, ours: float, rivals: Mapping[str, float | None]) -> bool:
        """Whether a value that was reached keeps it."""
        ...


@dataclass(frozen=True, slots=True)
class AtMost:
    """No more than a fixed value."""

    limit: float

    @property
    def words(self) -> str:
        """``≤ 100``."""
        return f"≤ {self.limit:g}"

    def holds(self, ours: float, rivals: Mapping[str, float | None]) -> bool:
        """Whatever the rivals do."""
        del rivals
        return ours <= self.limit


@dataclass(frozen=True, slots=True)
class AtMostTimes:
    """No more than so many times a rival's value; a rival that never came took at least ``waited``."""

    factor: float
    rival: str
    waited: float = 0.0

    @property
    def words(self) -> str:
        """``≤ 0.7 times migratepages``."""
        return f"≤ {self.factor:g} times {self.rival}"

    def holds(self, ours: float, rivals: Mapping[str, float | None]) -> bool:
        """Against the rival of the same run."""
        if self.rival not in rivals:
            return False
        value = rivals[self.rival]
        return ours <= self.factor * (self.waited if value is None else value)


@dataclass(frozen=True, slots=True)
class AtMostAbove:
    """At most so much more than a rival's value."""

    more: float
    rival: str

    @property
    def words(self) -> str:
        """``≤ nothing + 5``."""
        return f"≤ {self.rival} + {self.more:g}"

    def holds(self, ours: float, rivals: Mapping[str, float | None]) -> bool:
        """Against the rival of the same run."""
        value = rivals.get(self.rival)
        return value is not None and ours <= value + self.more


@dataclass(frozen=True, slots=True)
class RivalNever:
    """We come to an end, the rival does not in the time it was given."""

    rival: str

    @property
    def words(self) -> str:
        """``numad never``."""
        return f"{self.rival} never"

    def holds(self, ours: float, rivals: Mapping[str, float | None]) -> bool:
        """A rival that was not measured proves nothing."""
        del ours
        return self.rival in rivals and rivals[self.rival] is None


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the table. ``ours`` is None for never, or for a measurement that failed: a miss both times."""

    group: str
    figure: str
    case: str
    unit: str
    ours: float | None
    rivals: Mapping[str, float | None] = field(default_factory=dict)
    bounds: Sequence[Bound] = ()

    @property
    def bound(self) -> str:
        """All bounds in words."""
        return ", ".join(bound.words for bound in self.bounds)

    @property
    def held(self) -> bool:
        """Whether it was measured and keeps all its bounds."""
        return self.ours is not None and not self.missed

    @property
    def missed(self) -> Sequence[Bound]:
        """The bounds that it does not keep."""
        ours = self.ours
        return tuple(bound for bound in self.bounds if ours is None or not bound.holds(ours, self.rivals))


def as_json(records: Sequence[Record]) -> str:
    """The content of ``bench-results.json``."""
    rows = [
        {
            "group": record.group,
            "figure": record.figure,
            "case": record.case,
            "ours": _rounded(record.ours),
            "rivals": {name: _rounded(value) for name, value in record.rivals.items()},
            "unit": record.unit,
            "bound": record.bound,
            "held": record.held,
        }
        for record in records
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
