"""All groups of figures by name; a new one is added here."""

from collections.abc import Mapping

from tests.bench.follow.group import FollowGroup
from tests.bench.groups import Group
from tests.bench.hand.group import HandGroup


def all_groups() -> Mapping[str, Group]:
    """Every group by its name."""
    return {"follow": FollowGroup(), "hand": HandGroup()}
