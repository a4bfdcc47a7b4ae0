"""The cases on this host itself: how soon `numaplace.mempolicy` is there, and what it costs to look at a process."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from numaplace.model.ids import CpuId
from tests.bench.follow.directed import BenchError
from tests.bench.hand.cases import IMPORT, MMAP, NUMASTAT, OURS, SHOW, TOUCH, Effort, Kind
from tests.bench.hand.scenes import Values
from tests.harness.job import Job
from tests.harness.stage import NativeStage
from tests.lab.kernels import prepare_tools

IMPORTS = 20
_IMPORT = "import time; began = time.thread_time(); import numaplace.mempolicy; print(time.thread_time() - began)"


def imported(how: Effort) -> Values:
    """CPU time of the import in new interpreters: by the clock it is also the time of whoever else runs."""
    took = [
        float(subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True).stdout)
        for _ in range(IMPORTS * how.repeat)
    ]
    return {IMPORT: {OURS: 1000 * median(took)}}


def shown(how: Effort) -> Values:
    """``numaplace show`` and ``numastat -p`` by turns on a large process that touches and maps all the while."""
    numastat = shutil.which("numastat") or str(prepare_tools() / "usr/bin/numastat")
    everywhere = frozenset(CpuId(cpu) for cpu in os.sched_getaffinity(0))
    stage = NativeStage()
    seen: dict[str, list[tuple[float, float, float]]] = {OURS: [], NUMASTAT: []}
    with Job(stage, ["tests.jobs.hot", str(how.shown_mb), "base"], everywhere) as job:
        commands = {OURS: ["numaplace", "show", str(job.pid)], NUMASTAT: [numastat, "-p", str(job.pid)]}
        for _ in range(how.repeat * 2):
            for name, command in commands.items():
                seen[name].append(_seen(stage, job, command))
    by_figure = dict(zip((SHOW, MMAP, TOUCH), range(3), strict=True))
    return {
        figure: {name: median(each[at] for each in looks) for name, looks in seen.items()}
        for figure, at in by_figure.items()
    }


def _seen(stage: NativeStage, job: Job, command: Sequence[str]) -> tuple[float, float, float]:
    """Seconds of one look, and the longest mmap() and touch of the process meanwhile in ms."""
    job.ask("stalls")
    began_s = time.perf_counter()
    done = stage.run(command, check=False)
    took_s = time.perf_counter() - began_s
    if done.exit_code != 0:
        raise BenchError(f"{' '.join(command)} ended with {done.exit_code}: {done.stderr}")
    stalls = job.ask("stalls")
    return took_s, stalls["mmap_ms"], stalls["touch_ms"]


SCENES: Mapping[Kind, Callable[[Effort], Values]] = {Kind.IMPORT: imported, Kind.SHOW: shown}
