"""Pressure stall information: how much of the time tasks wait for CPU, memory or I/O.

Format from Documentation/accounting/psi.rst: a `some` line, and a `full` one (which /proc/pressure/cpu lacks before
5.13, and `irq` has alone). `total` is exact and grows for ever, so a difference of two readings is what a mover looks
at; the averages lag. A kernel with PSI compiled in but off refuses the read: `Unsupported`.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from numaplace.kernel.errors import KernelFormatError
from numaplace.kernel.files import HOST, read_text

Resource: TypeAlias = Literal["cpu", "memory", "io", "irq"]

_LINE = re.compile(
    r"(some|full) avg10=([0-9]{1,3}\.[0-9]{2}) avg60=([0-9]{1,3}\.[0-9]{2}) avg300=([0-9]{1,3}\.[0-9]{2})"
    r" total=([0-9]{1,20})((?: [a-z0-9_]+=[0-9.]+)*)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Stall:
    """A share of time lost: moving averages in percent, and all of it since boot (or the cgroup's birth) in µs."""

    avg10: float
    avg60: float
    avg300: float
    total_us: int


@dataclass(frozen=True, slots=True)
class Pressure:
    """`some`: at least one task waited; `full`: all did. Either is None where the kernel does not report it."""

    some: Stall | None
    full: Stall | None


def parse(text: str, source: str = "pressure") -> Pressure:
    """Parse the content of a pressure file; raises KernelFormatError."""
    if not text.endswith("\n"):
        raise KernelFormatError(source, text)
    stalls: dict[str, Stall] = {}
    for line in text[:-1].split("\n"):
        match = _LINE.fullmatch(line)
        if match is None or match[1] in stalls:
            raise KernelFormatError(source, line)
        stalls[match[1]] = Stall(float(match[2]), float(match[3]), float(match[4]), int(match[5]))
    return Pressure(stalls.get("some"), stalls.get("full"))


def read_pressure(resource: Resource, root: Path = HOST) -> Pressure:
    """Read the host's pressure on a resource.

    Raises:
        Unsupported: the kernel has no PSI, or it is off.
        KernelFormatError: see `parse`.
    """
    return read_pressure_file(root / "proc/pressure" / resource)


def read_pressure_file(path: Path) -> Pressure:
    """Read a pressure file, such as a cgroup's `memory.pressure`; raises as `read_pressure`."""
    return parse(read_text(path), str(path))
