"""What a guest is: its kernel, cgroup version and NUMA topology, read strictly from one small TOML file.

Pure: text in, value or error out. An unknown key, a wrong type or an impossible topology is refused with the file's
name and what to change, because a guest that silently differs from its description would make every test on it lie.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

KERNELS = ("6.1", "6.12", "sid")
CGROUPS = ("v1", "v2")
LOCAL_DISTANCE = 10
DISTANCE_MAX = 254
NODES_MAX = 128
CPUS_MAX = 64
NODE_MEMORY_MB_MIN = 64
_MEMORY_MB_MAX = 1 << 20

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")
_KEYS = {"summary", "kernel", "cgroup", "nodes", "distances", "modules", "kernel_args"}
_NODE_KEYS = {"id", "cpus", "memory_mb", "hugepages_2m"}


class DescriptionError(Exception):
    """A description that cannot be a guest; the text names the file and what to change."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One NUMA node: `cpus` or `memory_mb` may be 0, not both."""

    id: int
    cpus: int
    memory_mb: int
    hugepages_2m: int = 0


@dataclass(frozen=True, slots=True)
class Description:
    """A guest to be booted.

    `nodes` are in rising order of id; an id that is missing between them is a gap: a node that never comes online.
    `distances` has a row for each entry of `nodes`, or is empty for the firmware's own (10 local, 20 remote).
    """

    name: str
    kernel: str
    cgroup: str
    nodes: tuple[NodeSpec, ...]
    distances: tuple[tuple[int, ...], ...] = ()
    modules: tuple[str, ...] = ()
    kernel_args: tuple[str, ...] = ()
    summary: str = field(default="", compare=False)

    @property
    def cpus(self) -> int:
        """CPUs of all nodes."""
        return sum(node.cpus for node in self.nodes)

    @property
    def memory_mb(self) -> int:
        """Memory of all nodes."""
        return sum(node.memory_mb for node in self.nodes)

    def cpus_of(self, node_id: int) -> tuple[int, ...]:
        """The CPU numbers of a node: they are dealt out in the order of the nodes."""
        first = 0
        for node in self.nodes:
            if node.id == node_id:
                return tuple(range(first, first + node.cpus))
            first += node.cpus
        raise KeyError(node_id)


def parse(name: str, text: str) -> Description:
    """The description of the guest `name`; raises DescriptionError."""
    try:
        return _description(name, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DescriptionError(f"{name}: not valid TOML: {error}") from error
    except _Refused as refused:
        raise DescriptionError(f"{name}: {refused}") from refused


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """What is wrong, before the file's name is put in front."""


def _description(name: str, table: Mapping[str, object]) -> Description:
    _check(_NAME.fullmatch(name) is not None, "the name must be lower-case letters, digits, dots and dashes")
    _known_keys(table, _KEYS, "the description")
    rows = table.get("nodes")
    _check(isinstance(rows, list) and len(rows) > 0, "nodes must be a list of at least one [[nodes]]")
    assert isinstance(rows, list)
    nodes = tuple(_node(position, row) for position, row in enumerate(rows))
    _check_nodes(nodes)
    kernel = _choice(table, "kernel", KERNELS)
    has_gap = nodes[-1].id != len(nodes) - 1
    _check(not (has_gap and kernel == "6.1"), "a gap in the node ids needs another kernel: 6.1 hangs at start with one")
    return Description(
        name=name,
        kernel=kernel,
        cgroup=_choice(table, "cgroup", CGROUPS),
        nodes=nodes,
        distances=_distances(table.get("distances", []), len(nodes)),
        modules=_strings(table, "modules"),
        kernel_args=_strings(table, "kernel_args"),
        summary=_string(table, "summary", ""),
    )


def _node(position: int, row: object) -> NodeSpec:
    where = f"nodes[{position}]"
    _check(isinstance(row, dict), f"{where} must be a table")
    assert isinstance(row, dict)
    _known_keys(row, _NODE_KEYS, where)
    node = NodeSpec(
        id=_number(row, "id", where, range(NODES_MAX), position),
        cpus=_number(row, "cpus", where, range(CPUS_MAX + 1)),
        memory_mb=_number(row, "memory_mb", where, range(_MEMORY_MB_MAX + 1)),
        hugepages_2m=_number(row, "hugepages_2m", where, range(_MEMORY_MB_MAX // 2 + 1), 0),
    )
    _check(node.cpus > 0 or node.memory_mb > 0, f"{where} has neither CPUs nor memory: leave its id out instead")
    _check(
        node.memory_mb == 0 or node.memory_mb >= NODE_MEMORY_MB_MIN,
        f"{where}: memory_mb must be 0 or at least {NODE_MEMORY_MB_MIN}",
    )
    _check(node.hugepages_2m * 2 <= node.memory_mb // 2, f"{where}: hugepages_2m would take more than half its memory")
    return node


def _check_nodes(nodes: tuple[NodeSpec, ...]) -> None:
    _check(all(a.id < b.id for a, b in pairwise(nodes)), "node ids must rise")
    cpus = sum(node.cpus for node in nodes)
    _check(0 < cpus <= CPUS_MAX, f"all nodes together need 1 to {CPUS_MAX} CPUs, not {cpus}")
    _check(nodes[0].id == 0, "the first node must have id 0: the first CPU boots there")
    _check(nodes[0].cpus > 0 and nodes[0].memory_mb > 0, "node 0 needs CPUs and memory: the kernel starts on it")


def _distances(value: object, count: int) -> tuple[tuple[int, ...], ...]:
    _check(isinstance(value, list), "distances must be a list of rows")
    assert isinstance(value, list)
    if not value:
        return ()
    _check(
        len(value) == count and all(isinstance(row, list) and len(row) == count for row in value),
        f"distances must be {count} rows of {count} numbers: one for each of nodes",
    )
    for row_number, row in enumerate(value):
        for column, distance in enumerate(row):
            _check_distance(row_number, column, distance)
    return tuple(tuple(row) for row in value)


def _check_distance(row: int, column: int, distance: object) -> None:
    if row == column:
        _check(distance == LOCAL_DISTANCE, f"distances[{row}][{row}] must be {LOCAL_DISTANCE}")
        return
    right = type(distance) is int and LOCAL_DISTANCE < distance <= DISTANCE_MAX
    _check(right, f"distances[{row}][{column}] must be a whole number from {LOCAL_DISTANCE + 1} to {DISTANCE_MAX}")


def _number(table: Mapping[str, object], key: str, where: str, allowed: range, default: int | None = None) -> int:
    value = table.get(key, default)
    _check(value is not None, f"{where} needs {key}")
    # bool is an int to Python, and never meant here.
    right = type(value) is int and value in allowed
    _check(right, f"{where}: {key} must be a whole number from {allowed[0]} to {allowed[-1]}")
    assert isinstance(value, int)
    return value


def _choice(table: Mapping[str, object], key: str, choices: tuple[str, ...]) -> str:
    value = table.get(key)
    _check(value in choices, f"{key} must be one of {', '.join(choices)}, not {value!r}")
    assert isinstance(value, str)
    return value


def _string(table: Mapping[str, object], key: str, default: str) -> str:
    value = table.get(key, default)
    _check(isinstance(value, str), f"{key} must be a string")
    assert isinstance(value, str)
    return value


def _strings(table: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    right = isinstance(value, list) and all(isinstance(item, str) and item and not item.isspace() for item in value)
    _check(right, f"{key} must be a list of strings")
    assert isinstance(value, list)
    return tuple(value)


def _known_keys(table: Mapping[str, object], known: set[str], where: str) -> None:
    unknown = sorted(set(table) - known)
    _check(not unknown, f"{where} has unknown keys: {', '.join(unknown)} (known: {', '.join(sorted(known))})")


def _check(right: bool, refusal: str) -> None:  # noqa: FBT001 - an assertion with words
    if not right:
        raise _Refused(refusal)
