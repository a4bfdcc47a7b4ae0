"""Page faults of a process as a trace tells them: who touched which page, on which CPU.

`exceptions:page_fault_user` and `…_kernel` (a system call touches the caller's memory) exist on x86 and riscv. Their
addresses are printed by `%ps`, which names a kernel address by its symbol where it has one; those are no pages of a
process. Lines are cut as in `trace_events`, but come by the hundred thousand: here one is a pair of numbers.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from numaplace.kernel.trace_events import COMM_BYTES, parse_lost
from numaplace.model.ids import CpuId

_FAULT = re.compile(
    rb"-[0-9]{1,10} +(?:\([ 0-9-]+\) +)?\[([0-9]{3,5})\] [^ ]{4,8} +[0-9]{1,12}\.[0-9]{6,9}:"
    rb" page_fault_(?:user|kernel): address=(?:0x([0-9a-f]{1,16})|[^ ]{1,512}) ip=.*",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class FaultReading:
    """Faults as pairs of a CPU and an address, and how many more there were: overwritten, or in an unknown form."""

    faults: tuple[tuple[CpuId, int], ...]
    lost: int = 0
    unreadable: int = 0


def parse_faults(lines: Iterable[bytes]) -> FaultReading:
    """Parse lines of a trace_pipe in which only these events are."""
    faults: list[tuple[CpuId, int]] = []
    lost = unreadable = 0
    for line in lines:
        match = _FAULT.fullmatch(line, COMM_BYTES)
        if match is not None:
            if match[2] is not None:
                faults.append((CpuId(int(match[1])), int(match[2], 16)))
            continue
        overwritten = parse_lost(line)
        if overwritten is None:
            unreadable += 1
        else:
            lost += overwritten
    return FaultReading(tuple(faults), lost, unreadable)
