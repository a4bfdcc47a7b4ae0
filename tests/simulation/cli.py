"""The simulation by hand: one seed with its trace, or as many as time allows on several cores."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.simulation.run import SimulationFailed, run_seed, trace_of
from tests.simulation.world import Options

CHUNK = 50


def main() -> None:
    """Exit code 1 if any seed fails."""
    told = _arguments()
    options = Options(told.hostile, told.checked, told.paged)
    if told.trace:
        sys.stdout.writelines(f"{line}\n" for line in trace_of(told.seed, options))
        return
    first = told.seed if told.seed is not None else told.first
    count = 1 if told.seed is not None else told.seeds
    sys.exit(_run_many(range(first, first + count), options, told))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this seed only")
    parser.add_argument("--trace", action="store_true", help="with --seed: print all that happened")
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (%(default)s)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further seeds after this time")
    parser.add_argument("--failures", type=int, default=5, help="stop after so many (%(default)s)")
    parser.add_argument("--checked", type=int, default=8, help="ask the scheduler's own check every so many turns")
    parser.add_argument("--paged", action="store_true", help="the real mover on the fake kernel; slower")
    hostile = parser.add_mutually_exclusive_group()
    hostile.add_argument("--hostile", action="store_const", const=True, help="every network loses, reorders, repeats")
    hostile.add_argument("--tame", dest="hostile", action="store_const", const=False, help="none does")
    told = parser.parse_args()
    if told.trace and told.seed is None:
        parser.error("--trace needs --seed")
    return told


def _chunk(seeds: range, options: Options) -> tuple[Counter[str], list[str]]:
    counts: Counter[str] = Counter()
    failed: list[str] = []
    for seed in seeds:
        counts["seeds"] += 1
        try:
            result = run_seed(seed, options)
        except SimulationFailed as error:
            failed.append(str(error))
        else:
            counts["steps"] += result.steps
            counts.update(result.counts)
    return counts, failed


def _run_many(seeds: range, options: Options, told: argparse.Namespace) -> int:
    began_s = time.monotonic()
    counts: Counter[str] = Counter()
    failed: list[str] = []
    for some, told_words in _chunks(seeds, options, told.jobs):
        counts.update(some)
        failed += told_words
        if len(failed) >= told.failures or time.monotonic() - began_s > told.seconds:
            break
    seconds = time.monotonic() - began_s
    words = f"{counts.pop('seeds')} seeds in {seconds:.1f} s, {len(failed)} failed; {dict(sorted(counts.items()))}"
    sys.stdout.writelines(f"{part}\n\n" for part in (*failed, words))
    return 1 if failed else 0


def _chunks(seeds: range, options: Options, jobs: int) -> Iterator[tuple[Counter[str], list[str]]]:
    parts = [seeds[i : i + CHUNK] for i in range(0, len(seeds), CHUNK)]
    work = partial(_chunk, options=options)
    if jobs <= 1:
        yield from map(work, parts)
        return
    with ProcessPoolExecutor(jobs) as pool:
        for future in [pool.submit(work, part) for part in parts]:
            yield future.result()
        pool.shutdown(cancel_futures=True)
