"""The world of a contract suite's test: the fake kernel, or the one it runs on."""

from collections.abc import Iterator

import pytest

from tests.contract.worlds import World, world_of_this_run


@pytest.fixture
def world() -> Iterator[World]:
    """The world that this run is about; its jobs end with the test."""
    with world_of_this_run() as made:
        yield made
