"""The cases in a guest: each gives for its figures the value of whoever did it."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from numaplace.model.ids import NodeId
from tests.bench.follow.cases import Mover
from tests.bench.follow.directed import BenchError
from tests.bench.follow.figures import typical
from tests.bench.hand.arena import CODES, Arena, Turn
from tests.bench.hand.bare import library
from tests.bench.hand.cases import (
    ALONE,
    BARE,
    CALL,
    HOME,
    MMAP,
    OURS,
    REMOTE,
    TOUCH,
    WRITE,
    Case,
    Effort,
    Kind,
)
from tests.harness.job import Cpusets, Job

Values = Mapping[str, Mapping[str, float | None]]
"""By figure and by who did it."""

CALL_WITHIN_S = 900.0
PIPED_WITHIN_S = 300.0
N0, N1 = NodeId(0), NodeId(1)
MIGRATEPAGES = Mover.MIGRATEPAGES.value
LIBRARY = "/root/bare.so"


def call(arena: Arena, case: Case, how: Effort) -> Values:
    """The function and the bare call by turns, in one process: the best of each, which no neighbour slowed."""
    del case
    with TemporaryDirectory() as folder:
        arena.guest.put(library(Path(folder)), LIBRARY)
    argv = ["python", "-m", "tests.bench.hand.pages", LIBRARY, str(how.pages), str(how.repeat)]
    took: dict[str, list[float]] = json.loads(arena.guest.run(argv, timeout_s=CALL_WITHIN_S).stdout)
    return {CALL: {OURS: min(took["ours"]), BARE: min(took["bare"])}}


def move(arena: Arena, case: Case, how: Effort) -> Values:
    """``numaplace move`` and ``migratepages`` by turns on one job."""
    job = arena.job("tests.jobs.hot", str(how.size_mb), case.pages.value)
    commands = {
        OURS: ["numaplace", "move", "--pid", str(job.pid), "--from", "0", "--to", "1", "--json"],
        MIGRATEPAGES: ["migratepages", str(job.pid), "0", "1"],
    }
    turns: dict[str, list[Turn]] = {name: [] for name in commands}
    for _ in range(how.repeat):
        for name, command in commands.items():
            arena.settle(job, case.pages)
            turns[name].append(arena.turn(job, command))
    alone = {OURS: median(turn.move_s for turn in turns[OURS])}
    alone[MIGRATEPAGES] = median(turn.ended_s for turn in turns[MIGRATEPAGES])
    return {**_felt(turns), ALONE: alone}


def hand_over(arena: Arena, case: Case, how: Effort) -> Values:
    """``numaplace cpuset mems`` and a bare write of ``cpuset.mems`` by turns, on a job in a cpuset of node 0."""
    job = arena.job("tests.jobs.hot", str(how.size_mb), case.pages.value)
    cpusets = Cpusets(arena.guest, "bench-hand")
    cpusets.make("job", mems=frozenset({N0}))
    cpusets.attach("job", job.pid)
    path = cpusets.path("job")
    commands = {
        OURS: ["numaplace", "cpuset", "mems", path, "1", "--json"],
        WRITE: ["sh", "-c", f"echo 1 > {path}/cpuset.mems"],
    }
    turns: dict[str, list[Turn]] = {name: [] for name in commands}
    for _ in range(how.repeat):
        for name, command in commands.items():
            cpusets.set_mems("job", frozenset({N0, N1}))
            arena.settle(job)
            cpusets.set_mems("job", frozenset({N0}))
            turns[name].append(arena.turn(job, command))
    return _felt(turns)


def _felt(turns: Mapping[str, Sequence[Turn]]) -> dict[str, Mapping[str, float | None]]:
    def of(value: Callable[[Turn], float | None]) -> dict[str, float | None]:
        return {name: typical([value(turn) for turn in taken]) for name, taken in turns.items()}

    return {
        HOME: of(lambda turn: turn.home_s),
        MMAP: of(lambda turn: turn.mmap_ms),
        TOUCH: of(lambda turn: turn.touch_ms),
    }


def profiled(arena: Arena, case: Case, how: Effort) -> Values:
    """Two threads on two nodes, each with its half of an array on node 0; then ``profile | move``."""
    del case
    job = arena.job("tests.jobs.halves", str(how.size_mb), "base", "0-1", "2-3")
    before = _remote(arena, job)
    profile = f"numaplace profile --pid {job.pid} --seconds {how.profile_s:g}"
    piped = ["sh", "-c", f"{profile} | numaplace move --pid {job.pid} --pages -"]
    done = arena.guest.run(piped, timeout_s=PIPED_WITHIN_S, check=False)
    if done.exit_code not in CODES:
        raise BenchError(f"profile | move ended with {done.exit_code}: {done.stderr}")
    return {REMOTE: {OURS: _remote(arena, job) / before}}


def _remote(arena: Arena, job: Job) -> float:
    """The share of all accesses that goes to another node: a thread's rounds, each over all of its half."""
    size = job.ready["size_bytes"]
    remote = [1 - arena.share(job, node, slice(size // 2 * node, size // 2 * (node + 1))) for node in (0, 1)]
    rounds: Iterable[int] = job.ask("rounds")["rounds"]
    weighed = [(share * times, times) for share, times in zip(remote, rounds, strict=True)]
    return sum(each for each, _ in weighed) / sum(times for _, times in weighed)


SCENES: Mapping[Kind, Callable[[Arena, Case, Effort], Values]] = {
    Kind.CALL: call,
    Kind.MOVE: move,
    Kind.MOVE_THP: move,
    Kind.HANDOVER: hand_over,
    Kind.PROFILE: profiled,
}
