"""Nodes and CPUs as people choose them among those they may use: numactl's notation.

``0-3,8`` names ids, ``all`` means every one that may be used, ``+0-1`` counts among those (the first two, whatever
their numbers are), ``!0`` takes all but these, ``!+0`` all but the first. The ends of a range must be ids that may be
used; what lies between them and may not is left out, as numactl does.
"""

import re
from collections.abc import Set as AbstractSet

from numaplace.model.cpuset import ID_MAX, format_id_list

_ITEM = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
_BY_DEVICE = ("netdev:", "file:", "ip:", "block:", "pci:")


class NotAmongError(ValueError):
    """An id was named that may not be used: ``id``, or as it was counted with ``+``, ``place``."""

    def __init__(self, number: int, among: AbstractSet[int], *, counted: bool) -> None:
        have = format_id_list(among) or "none"
        super().__init__(f"there is no +{number} among {have}" if counted else f"{number} is not among {have}")
        self.id = None if counted else number


def choose(text: str, among: AbstractSet[int]) -> frozenset[int]:
    """The ids that are meant by ``text`` among those that may be used.

    Raises:
        NotAmongError: one that may not be used, or that does not exist.
        ValueError: no such notation, or nothing is left.
    """
    inverted = text.startswith("!")
    counted = text.removeprefix("!").startswith("+")
    named = text.removeprefix("!").removeprefix("+")
    if named.startswith(_BY_DEVICE) or named == "same":
        raise ValueError(f"{text!r}: nodes are named by their numbers here, not by a device or an earlier option")
    if named == "all" and not counted:
        found = frozenset(among)
    else:
        found = frozenset(i for item in named.split(",") for i in _item(item, text, among, counted=counted))
    chosen = frozenset(among) - found if inverted else found
    if not chosen:
        raise ValueError(f"{text!r} leaves nothing of {format_id_list(among) or 'none'}")
    return chosen


def _item(item: str, text: str, among: AbstractSet[int], *, counted: bool) -> frozenset[int]:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise ValueError(f"not a list such as 0-3,8, all, +0-1 or !0: {text[:80]!r}")
    first, last = (_id(int(number), among, counted=counted) for number in (match[1], match[2] or match[1]))
    if first > last:
        raise ValueError(f"a range that runs backwards: {item!r}")
    return frozenset(i for i in among if first <= i <= last)


def _id(number: int, among: AbstractSet[int], *, counted: bool) -> int:
    have = sorted(among)
    if counted and number < len(have):
        return have[number]
    if counted or number > ID_MAX or number not in among:
        raise NotAmongError(number, among, counted=counted)
    return number
