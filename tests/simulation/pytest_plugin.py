"""How many seeds a test run simulates: ``pytest --sim-seeds=N``, or NUMAPLACE_SIM_SEEDS=N for ``make test``."""

import os

import pytest

SEEDS = 2500
"""About half a minute on one core."""
SHARDS = 10


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--sim-seeds", type=int, help=f"how many seeds to simulate ({SEEDS})")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Divide the seeds into a few tests, so that one slow machine's limit on a test's time is far."""
    if "sim_seeds" in metafunc.fixturenames:
        told = metafunc.config.getoption("--sim-seeds", default=None)
        count = int(told or os.environ.get("NUMAPLACE_SIM_SEEDS", SEEDS))
        each = max(1, -(-count // SHARDS))
        shards = [range(first, min(first + each, count)) for first in range(0, count, each)]
        metafunc.parametrize("sim_seeds", shards, ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
