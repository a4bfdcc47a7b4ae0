"""Thousands of seeds are well; a seed is a run; and the simulation finds what is planted."""

import os
import re
import subprocess
import sys

import pytest

from tests.simulation.planted import PLANTED, Planted
from tests.simulation.run import SimulationFailed, run_seed
from tests.simulation.world import Options

pytestmark = pytest.mark.timeout(1800)
PLANTED_SEEDS_MAX = 2500
PAGED_SEEDS = 60


def test_whatever_befalls_them_orders_end_once_and_tasks_are_home_or_explained(sim_seeds: range) -> None:
    """Nothing of the ledger's happens, and all of the goal's has come about a bounded time after the last fault."""
    for seed in sim_seeds:
        run_seed(seed)


def test_the_real_mover_tells_the_truth_whatever_befalls_its_task() -> None:
    """The same with the mover's own code, on the fake kernel's pages: its account is what the kernel did."""
    for seed in range(PAGED_SEEDS):
        run_seed(seed, Options(paged=True))


def test_a_seed_reproduces_a_run() -> None:
    """The same seed is the same run in another process, where sets of names are ordered otherwise."""
    words = (
        "from tests.simulation.run import run_seed; from tests.simulation.world import Options;"
        "print([run_seed(s, Options(paged=s > 5), digest=True).digest for s in range(8)])"
    )
    digests = {
        subprocess.check_output([sys.executable, "-c", words], env={**os.environ, "PYTHONHASHSEED": seed}, text=True)
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    here = [run_seed(seed, Options(paged=seed > 5), digest=True).digest for seed in range(8)]
    assert digests == {f"{here}\n"}


def test_runs_reach_every_end() -> None:
    """Runs are only worth something if in some of them moves complete, fail, are cancelled and are overtaken."""
    seen: set[str] = set()
    for seed in range(150):
        seen.update(run_seed(seed).counts)
    assert seen >= {
        "movers",
        *(f"ended {state}" for state in ("completed", "partial", "cancelled", "superseded", "failed")),
    }


@pytest.mark.parametrize("fault", PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_found(fault: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these faults breaks a rule that the simulation states, within some thousand seeds, mostly far fewer."""
    fault.plant(monkeypatch)
    options = Options(hostile=fault.hostile, checked=0, paged=fault.paged)
    failures = (_failure(seed, options) for seed in range(PLANTED_SEEDS_MAX))
    assert any(re.search(fault.found_as, words.splitlines()[0]) for words in failures if words)


def _failure(seed: int, options: Options) -> str | None:
    try:
        run_seed(seed, options)
    except SimulationFailed as failed:
        return str(failed)
    return None
