"""Values as JSON for programs: exact bytes, stable words, field names as in the model.

Enums are their words, times ISO 8601 in UTC, sets of nodes and CPUs ascending lists. A residency is the list of its
cells. What a view computes (locality, remote_bytes, moved_bytes, …) is there as well.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from enum import Enum
from functools import cached_property

from numaplace.model.residency import Residency

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]

_COMPUTED = (
    "resident_bytes",
    "remote_bytes",
    "locality",
    "moved_bytes",
    "left",
    "left_bytes",
    "remote",
    "by_node",
    "mapped_bytes",
)


def to_json(value: object) -> JsonValue:
    """A value of the model, or a list or map of them, as JSON's types. Raises TypeError for what is neither."""
    match value:
        case Residency():
            return _residency(value)
        case Mapping():
            return {str(to_json(key)): to_json(each) for key, each in value.items()}
        case AbstractSet():
            return sorted((to_json(each) for each in value), key=_by_kind)
        case list() | tuple():
            return [to_json(each) for each in value]
    return _record(value) if dataclasses.is_dataclass(value) else _scalar(value)


def _scalar(value: object) -> JsonValue:
    match value:
        case Enum():
            return _scalar(value.value)
        case float():
            return value if math.isfinite(value) else None
        case None | bool() | int() | str():
            return value
        case datetime():
            return value.isoformat()
    raise TypeError(f"no JSON for {type(value)}")


def _by_kind(value: JsonValue) -> tuple[str, float, str]:
    number = value if isinstance(value, int | float) else 0
    return (type(value).__name__, number, str(value))


def _record(value: object) -> dict[str, JsonValue]:
    fields = [field.name for field in dataclasses.fields(value)]  # type: ignore[arg-type]  # the caller has looked
    computed = [
        name
        for name in _COMPUTED
        if name not in fields and isinstance(getattr(type(value), name, None), property | cached_property)
    ]
    return {name: to_json(getattr(value, name)) for name in (*fields, *computed)}


def _residency(residency: Residency) -> JsonValue:
    cells = sorted(residency.cells.items(), key=lambda item: (item[0].node, item[0].size.value, item[0].kind.value))
    return [{"node": c.node, "size": c.size.value, "kind": c.kind.value, "bytes": held} for c, held in cells]


def line(value: object, *, ascii_only: bool = False) -> str:
    """One line of JSON: for streams."""
    return json.dumps(to_json(value), ensure_ascii=ascii_only)


def text(value: object, *, ascii_only: bool = False) -> str:
    """Indented JSON: for one answer."""
    return json.dumps(to_json(value), ensure_ascii=ascii_only, indent=2)
