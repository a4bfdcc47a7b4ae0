"""The group ``follow``: runs every case in a guest of each kernel, then measures what needs no guest, natively."""

import logging
from collections.abc import Iterator

from numaplace.client import NumaplaceError
from tests.bench.follow import native
from tests.bench.follow.arena import Arena
from tests.bench.follow.cases import Case, Effort, Mover, chosen, effort, order_of_runs
from tests.bench.follow.directed import BenchError
from tests.bench.follow.figures import Run, records_of
from tests.bench.groups import Settings, Tell
from tests.bench.kept import Kept
from tests.bench.records import Record
from tests.harness.cluster import ClusterError
from tests.lab.guest import EmulationOopsError
from tests.lab.machine import MachineError
from tests.lab.process import GuestError

OOPSES_MAX = 3
_FAILED = (BenchError, ClusterError, GuestError, MachineError, NumaplaceError, OSError)

log = logging.getLogger(__name__)


class FollowGroup:
    """Memory follows the CPUs: how soon, and at what cost."""

    summary = "memory follows a change of CPUs: against migratepages, AutoNUMA, numad and nothing"

    def cases(self, settings: Settings) -> tuple[str, ...]:
        """Kernel by kernel, then natively."""
        guests = tuple(f"{kernel} {case.name}" for kernel, case in chosen(settings))
        return (*guests, *(name for name in native.CASES if settings.wants_case(name)))

    def steps(self, settings: Settings) -> int:
        """One for each run, and one for each native case."""
        repeat = effort(settings).repeat
        runs = sum(len(order_of_runs(case, repeat)) for _, case in chosen(settings))
        return runs + sum(settings.wants_case(name) for name in native.CASES)

    def run(self, settings: Settings, tell: Tell) -> Iterator[Record]:
        """All figures."""
        how = effort(settings)
        with Kept(Arena) as arenas:
            for kernel, case in chosen(settings):
                yield from records_of(kernel, case, runs_of(arenas, kernel, case, how, tell))
        for name in native.CASES:
            if settings.wants_case(name):
                tell(name, 0)
                yield from native.measured(name, quick=settings.quick)
                tell("", 1)


def runs_of(arenas: Kept[Arena], kernel: str, case: Case, how: Effort, tell: Tell) -> list[Run]:
    """A case's runs. What fails is told and left out; a guest that the emulation oopsed is no verdict."""
    todo = list(order_of_runs(case, how.repeat))
    done: list[Run] = []
    scene = None
    oopses = 0
    while todo:
        tell(f"{kernel} {case.name}: {todo[0].value}", 0)
        try:
            if scene is None or todo[0] is Mover.OURS:
                scene = arenas.of(kernel).scene(case, how)
            done.append(scene.run(todo[0]))
            log.info("%s %s: %s", kernel, case.name, _in_words(done[-1]))
        except EmulationOopsError as oops:
            arenas.drop()
            scene = None
            oopses += 1
            log.warning("%s; starting it again", oops)
            if oopses <= OOPSES_MAX:
                continue
        except _FAILED as error:
            log.warning("%s %s, %s: not measured: %s", kernel, case.name, todo[0].value, error)
            arenas.drop()
            scene = None
        todo.pop(0)
        tell("", 1)
    return done


def _in_words(run: Run) -> str:
    home = "never home" if run.home_s is None else f"95 % home after {run.home_s:.2f} s"
    first = "" if run.first_page_s is None else f", first page after {1000 * run.first_page_s:.0f} ms"
    stalls = f", mmap {run.mmap_ms:.1f} ms, touch {run.touch_ms:.1f} ms"
    return f"{run.mover.value}: {home}{first}{stalls}{' | ' + run.words if run.words else ''}"
