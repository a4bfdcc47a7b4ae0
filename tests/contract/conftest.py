"""The world of a contract suite's test: the fake kernel, or the one it runs on."""

from collections.abc import Iterator

import pytest

from node_agent.linux.attribution import Attribution, NoAttribution, TraceAttribution, open_attribution
from tests.contract.worlds import REAL, World, world_of_this_run


@pytest.fixture(scope="session")
def attribution() -> Iterator[Attribution]:
    """What tells our migrations from those of others on a real kernel: one trace for all tests."""
    made = open_attribution() if REAL else NoAttribution()
    yield made
    if isinstance(made, TraceAttribution):
        made.close()


@pytest.fixture
def world(attribution: Attribution) -> Iterator[World]:
    """The world that this run is about; its jobs end with the test."""
    with world_of_this_run(attribution) as made:
        yield made
