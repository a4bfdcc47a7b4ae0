"""All methods, and which of them is best for a process on this host."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from numaplace.profile.faults import FaultMethod
from numaplace.profile.method import Method
from numaplace.profile.one_home import DamonMethod, IdleMethod, WrittenMethod
from numaplace.profile.target import Target

METHODS: Final[Mapping[str, Method]] = {
    method.name: method
    for method in (
        FaultMethod(rounds=True),
        FaultMethod(rounds=False),
        DamonMethod(),
        IdleMethod(),
        WrittenMethod(),
    )
}
AUTO: Final = "auto"
_WHO_IS_KNOWN: Final = ("damon", "idle", "write-faults", "written", "hint-faults")
_WHO_IS_ASKED: Final = ("write-faults", "hint-faults")


@dataclass(frozen=True, slots=True)
class Choice:
    """A method, and why it."""

    method: Method
    reason: str


def choose(target: Target) -> Choice | str:
    """The best method that this host has for the process, or in words why there is none.

    Where the process has one home, who uses its pages is known, and what sees reads too comes first. Elsewhere only
    what sees who will do.
    """
    one_home = len(target.home) == 1
    lacking: list[str] = []
    for name in _WHO_IS_KNOWN if one_home else _WHO_IS_ASKED:
        method = METHODS[name]
        missing = method.missing()
        if missing is None:
            why = "all its CPUs are on one node" if one_home else "its CPUs are on several nodes"
            return Choice(method, "; ".join([f"{why}; it tells {method.tells}", *lacking]))
        lacking.append(f"no {name}: {missing}")
    return "no method can profile here: " + "; ".join(lacking)
