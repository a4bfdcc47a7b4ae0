"""What a group of figures is: it tells its cases and how many steps they take, and gives its records one by one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from tests.bench.records import Record


@dataclass(frozen=True, slots=True)
class Settings:
    """What the caller asked for. ``kernels`` and ``cases`` are empty for all; a case is named by a part of it."""

    quick: bool = False
    repeat: int | None = None
    kernels: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()

    def wants_kernel(self, kernel: str) -> bool:
        """Whether figures of this kernel were asked for."""
        return not self.kernels or kernel in self.kernels

    def wants_case(self, case: str) -> bool:
        """Whether this case was asked for."""
        return not self.cases or any(part.lower() in case.lower() for part in self.cases)


Tell = Callable[[str, int], None]
"""Called with what is done now, and how many steps have ended since the last call."""


class Group(Protocol):
    """Figures that are measured and told together."""

    @property
    def summary(self) -> str:
        """What it measures, in one line."""
        ...

    def cases(self, settings: Settings) -> tuple[str, ...]:
        """What would be measured."""
        ...

    def steps(self, settings: Settings) -> int:
        """How many steps it takes."""
        ...

    def run(self, settings: Settings, tell: Tell) -> Iterator[Record]:
        """Measure; a measurement that fails is a record without a value."""
        ...
