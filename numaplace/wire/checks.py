"""What every reader of a message relies on: bounds, and checks that turn bad input into one kind of error.

A peer may be old, broken or hostile. Whatever it sends, a reader returns a value or raises :class:`WireError`, and
no field can make it allocate more than a bounded multiple of the message's own size.
"""

import math
from collections.abc import Iterable, Sized
from enum import Enum
from typing import Any, Generic, TypeVar

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from numaplace.model.cpuset import parse_cpus, parse_nodes
from numaplace.model.ids import Cpus, Nodes

NAME_CHARS_MAX = 255
"""Hosts, instances, versions, kernels: Linux's own longest file name."""
ID_CHARS_MAX = 4_352
"""Tasks, jobs and moves: they may contain a cgroup's path (PATH_MAX, 4096)."""
TEXT_CHARS_MAX = 4_096
"""Words for people."""
LIST_CHARS_MAX = 49_152
"""A list of ids: every second one of 8192 CPUs is 19 500 characters."""
CPU_ID_MAX = 8_191
"""CONFIG_NR_CPUS is at most 8192 on every architecture."""
NODE_ID_MAX = 1_023
"""CONFIG_NODES_SHIFT is at most 10 on every architecture."""
BYTES_MAX = 1 << 56
"""Any amount of bytes: 64 PiB."""
COUNT_MAX = (1 << 63) - 1
"""Counters and versions: what a signed 64-bit column can hold."""
SECONDS_MAX = 1e10
"""Any length of time: three centuries."""
RATE_MAX = 1e15
"""Bytes or pages per second."""

E = TypeVar("E", bound=Enum)


class WireError(ValueError):
    """A message that cannot be taken: which field, and what is wrong with it in plain words."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(f"{field}: {words}")
        self.field = field
        self.words = words


def clean(text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    """Words that are safe to send, log and print: no control characters, no lone surrogates, not too long.

    A process chooses its own name, so a name may hold terminal escapes or bytes that are no UTF-8.
    """
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:chars_max])


def words(text: str, at: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    """Words for people, made safe to print; raises WireError if there are too many."""
    return clean(bounded(text, at, chars_max), chars_max)


def bounded(text: str, at: str, chars_max: int) -> str:
    """The text itself; raises WireError if it is too long."""
    if len(text) > chars_max:
        raise WireError(at, f"has {len(text)} characters; at most {chars_max} are taken")
    return text


def name(text: str, at: str, chars_max: int = ID_CHARS_MAX) -> str:
    """An identifier as sent: there must be one, and it must be printable."""
    if not text:
        raise WireError(at, "is missing")
    if not bounded(text, at, chars_max).isprintable():
        raise WireError(at, "has characters that cannot be printed")
    return text


def optional_name(text: str, at: str, chars_max: int = ID_CHARS_MAX) -> str:
    """An identifier as sent, or an empty text."""
    return name(text, at, chars_max) if text else ""


def count(value: int, at: str, least: int = 0, most: int = COUNT_MAX) -> int:
    """A whole number between bounds."""
    if not least <= value <= most:
        raise WireError(at, f"is {value}; it must be {least} to {most}")
    return value


def size_bytes(value: int, at: str) -> int:
    """An amount of bytes."""
    return count(value, at, 0, BYTES_MAX)


def number(value: float, at: str, most: float = SECONDS_MAX) -> float:
    """A real number from zero to a bound: no NaN, no infinity, nothing negative (and no negative zero)."""
    if math.isnan(value) or not 0 <= value <= most:
        raise WireError(at, f"is {value}; it must be 0 to {most:g}")
    return value + 0.0


def entries(items: Sized, at: str, most: int) -> None:
    """Raise WireError if a list or map has more entries than a peer can mean."""
    if len(items) > most:
        raise WireError(at, f"has {len(items)} entries; at most {most} are taken")


def present(message: Any, field: str, at: str) -> None:  # noqa: ANN401 - HasField is on every generated class, but on no common stub
    """Raise WireError if a part that is needed was not sent."""
    if not message.HasField(field):
        raise WireError(f"{at}.{field}", "is missing")


def cpus(text: str, at: str) -> Cpus:
    """CPUs from a kernel list; may be empty."""
    return parse_cpus(_id_list(text, at, CPU_ID_MAX))


def nodes(text: str, at: str) -> Nodes:
    """Nodes from a kernel list; may be empty."""
    return parse_nodes(_id_list(text, at, NODE_ID_MAX))


def _id_list(text: str, at: str, most: int) -> str:
    """The list, once it is known to be well formed, canonical and within bounds.

    A canonical list is ascending without overlap, so it expands to no more than ``most`` ids: ``0-9,0-9,0-9,…``
    would expand to any number.
    """
    previous = -2
    for item in _items(bounded(text, at, LIST_CHARS_MAX)):
        first, dash, last = item.partition("-")
        ends = (first, last) if dash else (first, first)
        if not all(end.isascii() and end.isdecimal() and len(end) <= len(str(most)) for end in ends):
            raise WireError(at, f"is no kernel list such as 0-3,8: {clean(text, 80)!r}")
        low, high = int(ends[0]), int(ends[1])
        if not previous + 1 < low <= high <= most:
            raise WireError(at, f"must ascend in folded runs up to {most}: {clean(text, 80)!r}")
        previous = high
    return text


def _items(text: str) -> Iterable[str]:
    return text.split(",") if text else ()


class EnumTable(Generic[E]):
    """The two-way table between a model's enum and its mirror on the wire, matched by name and complete both ways."""

    def __init__(self, values: type[E], mirror: EnumTypeWrapper, prefix: str) -> None:
        self._names = {value: f"{prefix}{value.name}" for value in values}
        self._values = {mirror.Value(sent): value for value, sent in self._names.items()}
        unknown = set(mirror.values()) - set(self._values) - {0}
        if unknown:
            raise AssertionError(f"{values.__name__} lacks the wire's {sorted(unknown)}")

    def to_proto(self, value: E) -> str:
        """The wire's name of a value; generated classes take names for numbers."""
        return self._names[value]

    def from_proto(self, sent: int, at: str) -> E:
        """The value; raises WireError if it is unspecified or not known."""
        value = self._values.get(sent)
        if value is None:
            raise WireError(at, "is not specified" if sent == 0 else f"is {sent}, which is not known")
        return value

    def optional_from_proto(self, sent: int, at: str) -> E | None:
        """The value, or None if it is unspecified."""
        return None if sent == 0 else self.from_proto(sent, at)
