"""What a guest's console says about its end.

Pure. Multi-threaded emulation can run into a kernel's own text patching: the guest then dies of `Oops: int3` though
neither its kernel nor the code under test did anything wrong (KERNEL: the emulation trap). That one is told apart by
the *first* fault on the console, because a panic always follows; everything else is a real fault of the guest.
"""

import re
from dataclasses import dataclass
from enum import Enum

_TAIL_LINES = 40


class FaultKind(Enum):
    """Whose fault it was."""

    EMULATION = "an oops of the emulation alone"
    KERNEL = "a fault of the guest's kernel"
    INIT = "a failure of the lab's own init"


@dataclass(frozen=True, slots=True)
class Fault:
    """The first fault on a console: whose, and the line that says so."""

    kind: FaultKind
    line: str


_EMULATION = re.compile(r"\bint3: [0-9a-f]{4} \[#\d+\]")
_INIT = re.compile(r"\blab: (init failed|the server failed)")
_KERNEL = re.compile(
    r"Kernel panic - not syncing|\bBUG: |\bOops: |\bOops\b.*\[#\d+\]|general protection fault|: [0-9a-f]{4} \[#\d+\]"
    r"|watchdog: BUG|rcu: INFO: .*detected|INFO: task .* blocked for more than"
)


def first_fault(console: str) -> Fault | None:
    """The first fault that `console` tells of, or None."""
    for line in console.splitlines():
        if _EMULATION.search(line):
            return Fault(FaultKind.EMULATION, line.strip())
        if _INIT.search(line):
            return Fault(FaultKind.INIT, line.strip())
        if _KERNEL.search(line):
            return Fault(FaultKind.KERNEL, line.strip())
    return None


def tail(console: str, lines: int = _TAIL_LINES) -> str:
    """The console's last lines."""
    return "\n".join(console.splitlines()[-lines:])
