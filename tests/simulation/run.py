"""Run seeds, and tell a failed one so that anybody can look at it: the seed, the reason, the trace's end."""

import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.simulation.script import Script
from tests.simulation.world import Options, World

TAIL_LINES = 60


class SimulationFailed(AssertionError):  # noqa: N818 - it says what happened
    """A run broke a rule; the words say how to see it again."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    seed: int
    quiet_s: float
    steps: int
    counts: Counter[str]
    digest: str = ""


def run_seed(seed: int, options: Options | None = None, *, digest: bool = False) -> Result:
    """One run. Raises SimulationFailed."""
    world, quiet_s = _run(seed, options or Options())
    return Result(seed, quiet_s, world.timeline.steps, world.ledger.counts, world.trace.digest() if digest else "")


def _run(seed: int, options: Options) -> tuple[World, float]:
    world = World(seed, options)
    try:
        script = Script(world)
        length_s = script.schedule()
        world.timeline.run_until(length_s)
        script.calm()
        return world, world.await_goal()
    except Exception as error:  # whatever a machine raises is the run's verdict
        raise SimulationFailed(_words(seed, options, world, error)) from error
    finally:
        world.close()


def _words(seed: int, options: Options, world: World, error: Exception) -> str:
    told = "".join(traceback.format_exception(error)[-4:])
    told_how = {None: "", True: " --hostile", False: " --tame"}[options.hostile] + (" --paged" if options.paged else "")
    tail = "\n".join(world.trace.lines(TAIL_LINES))
    return (
        f"seed {seed}: {type(error).__name__}: {error}\n{told}\n{tail}\n"
        f"see it all with: python -m tests.simulation --seed {seed}{told_how} --trace"
    )


def trace_of(seed: int, options: Options) -> Iterator[str]:
    """The whole trace of a run, and its end."""
    world = World(seed, options)
    script = Script(world)
    verdict = "all is well"
    try:
        length_s = script.schedule()
        world.timeline.run_until(length_s)
        script.calm()
        verdict = f"all is well {world.await_goal():.0f} s after the last fault"
    except Exception as error:  # noqa: BLE001 - the trace is wanted whatever the end
        verdict = f"{type(error).__name__}: {error}"
    finally:
        world.close()
    yield from world.trace.lines()
    yield verdict


def failures(seeds: Iterable[int], options: Options) -> Iterator[tuple[int, str]]:
    """The seeds that fail, with the words."""
    for seed in seeds:
        try:
            run_seed(seed, options)
        except SimulationFailed as failed:
            yield seed, str(failed)
