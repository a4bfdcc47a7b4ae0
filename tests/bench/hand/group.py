"""The group ``hand``: every case in a guest of each kernel, then those on this host."""

import json
import logging
import subprocess
from collections.abc import Iterator

from numaplace.client import NumaplaceError
from numaplace.kernel.errors import KernelCallError
from tests.bench.follow.directed import BenchError
from tests.bench.groups import Settings, Tell
from tests.bench.hand import native, scenes
from tests.bench.hand.arena import Arena
from tests.bench.hand.cases import NATIVE, Case, Effort, chosen, effort
from tests.bench.hand.scenes import Values
from tests.bench.kept import Kept
from tests.bench.records import Record
from tests.harness.cluster import ClusterError
from tests.lab.guest import EmulationOopsError
from tests.lab.machine import MachineError
from tests.lab.packages import PackageError
from tests.lab.process import GuestError

TRIES_MAX = 3
"""In guests that the emulation oopsed: no verdict on anything."""
_FAILED = (
    BenchError, ClusterError, GuestError, MachineError, PackageError, NumaplaceError, KernelCallError, OSError,
    subprocess.CalledProcessError, json.JSONDecodeError, KeyError, StopIteration,
)  # fmt: skip

log = logging.getLogger(__name__)


class HandGroup:
    """What a person at a terminal and a program do themselves."""

    summary = "moves by hand and from programs: against migratepages, bare calls and writes, numastat"

    def cases(self, settings: Settings) -> tuple[str, ...]:
        """Kernel by kernel, then natively."""
        return tuple(case.name for case in chosen(settings))

    def steps(self, settings: Settings) -> int:
        """One for each case."""
        return len(chosen(settings))

    def run(self, settings: Settings, tell: Tell) -> Iterator[Record]:
        """All figures."""
        how = effort(settings)
        with Kept(Arena) as arenas:
            for case in chosen(settings):
                tell(case.name, 0)
                yield from case.records(measured(arenas, case, how))
                tell("", 1)


def measured(arenas: Kept[Arena], case: Case, how: Effort) -> Values:
    """A case's values; none, and a word why, if it failed."""
    for _ in range(TRIES_MAX):
        try:
            if case.kind in NATIVE:
                arenas.drop()
                return native.SCENES[case.kind](how)
            return scenes.SCENES[case.kind](arenas.of(case.kernel), case, how)
        except EmulationOopsError as oops:
            log.warning("%s; starting it again", oops)
            arenas.drop()
        except _FAILED as error:
            log.warning("%s: not measured: %s: %s", case.name, type(error).__name__, error)
            arenas.drop()
            break
    return {}
