"""A picture of where pages are, for people: facts, a bar for each node, kinds of memory, and the largest mappings.

A terminal is as wide as it is: the tables leave out what matters least until they fit, and in the end the nodes' own
columns. In a pipe nothing is left out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from numaplace.cli import output, units
from numaplace.cli.bars import HOME_STYLE, REMOTE_STYLE, left_table, node_bars
from numaplace.model.cpuset import format_id_list
from numaplace.model.ids import NodeId, Nodes
from numaplace.model.picture import MappedPages, MappingKind, Picture, Remote, ShownProcess, ThreadPlace, remote_of
from numaplace.model.residency import Residency

MAPPINGS_SHOWN = 15
PROCESSES_SHOWN = 8
_NAME_COLUMNS_MIN = 24
_COMMAND_COLUMNS_MAX = 80
_GAP = 2
_NOTHING = "-"
_UNKNOWN = "?"


def picture(found: Picture, *, columns: int, every: bool = False, ascii_only: bool = False) -> RenderableType:
    """One look, in so many columns; ``every`` mapping, or the largest."""
    parts: list[RenderableType] = [
        _facts(found, ascii_only=ascii_only),
        "",
        node_bars(Residency.of_nodes(found.by_node), found.home, ascii_only=ascii_only),
        "",
        _kinds(found, columns),
        "",
        _mappings(found, columns, every=every, ascii_only=ascii_only),
    ]
    if found.remote.stays:
        parts += ["", Text("remote, and would not move:", "bold"), left_table(found.remote.stays)]
    if found.threads:
        parts += ["", _threads(found, ascii_only=ascii_only)]
    return Group(*parts)


def _facts(found: Picture, *, ascii_only: bool) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column()
    for name, value in (
        *((("task", found.task), ("job", found.job or _NOTHING)) if found.task else ()),
        ("shown", found.target),
        *_who(found, ascii_only=ascii_only),
        ("cpus", format_id_list(found.cpus) or "none"),
        ("mems", format_id_list(found.mems) or "none"),
        ("home", format_id_list(found.home) or "nowhere: none of its CPUs is online on a known node"),
        ("policy", found.policy),
        ("resident", _state(found)),
        ("locality", f"{units.share(found.locality)} at home{_remote_words(found.remote)}"),
    ):
        facts.add_row(name, Text(value))
    return facts


def _who(found: Picture, *, ascii_only: bool) -> Iterable[tuple[str, str]]:
    threads = sum(process.threads for process in found.processes)
    size = (
        f"{units.counted(len(found.processes), 'process', 'processes')}, {units.counted(threads, 'thread', 'threads')}"
    )
    if len(found.processes) == 1:
        only = found.processes[0]
        children = "" if not only.children else f", {units.counted(only.children, 'child', 'children')} not shown"
        yield "command", _command(only, ascii_only=ascii_only)
        yield "size", f"{size}{children}, {units.duration(only.age_s)} old"
    else:
        for process in found.processes[:PROCESSES_SHOWN]:
            yield "", f"{process.pid} {_command(process, ascii_only=ascii_only)}"
        if len(found.processes) > PROCESSES_SHOWN:
            yield "", f"and {len(found.processes) - PROCESSES_SHOWN} processes more"
        yield "size", size
    if found.denied:
        yield "not seen", f"{units.counted(found.denied, 'process is', 'processes are')} another user's; root sees all"


def _command(process: ShownProcess, *, ascii_only: bool) -> str:
    words = output.printable(process.command, ascii_only=ascii_only)
    return output.shortened(words, _COMMAND_COLUMNS_MAX, ascii_only=ascii_only)


def _state(found: Picture) -> str:
    dirty = sum(mapping.dirty_bytes for mapping in found.mappings)
    active = sum(mapping.active_bytes for mapping in found.mappings)
    writeback = sum(mapping.writeback_bytes for mapping in found.mappings)
    words = [units.size(found.resident_bytes), f"{units.size(dirty)} dirty", f"{units.size(active)} active"]
    return ", ".join([*words, *([f"{units.size(writeback)} being written back"] if writeback else [])])


def _remote_words(remote: Remote) -> str:
    if not remote.bytes:
        return ""
    words = [f"{units.size(remote.movable_bytes)} could move"]
    words += [f"{units.size(size)} {reason.value}" for reason, size in remote.stays.items()]
    words += [f"{units.size(remote.unknown_bytes)} not known"] if remote.unknown_bytes else []
    return f", {units.size(remote.bytes)} remote: {', '.join(words)}"


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of numbers: what to write for some mappings taken together. ``last`` to be left out comes first."""

    name: str
    cell: Callable[[Sequence[MappedPages]], str | Text]
    wide: int = 10


def _node_columns(found: Picture) -> list[_Column]:
    return [_node_column(node, found.home) for node in sorted(found.by_node)]


def _node_column(node: NodeId, home: Nodes) -> _Column:
    style = HOME_STYLE if node in home else REMOTE_STYLE

    def cell(mappings: Sequence[MappedPages]) -> Text:
        held = sum(mapping.by_node.get(node, 0) for mapping in mappings)
        return Text(units.size(held) if held else _NOTHING, style if held else "")

    return _Column(f"NODE {node}", cell)


def _sum_of(field: Callable[[MappedPages], int]) -> Callable[[Sequence[MappedPages]], str]:
    def cell(mappings: Sequence[MappedPages]) -> str:
        total = sum(map(field, mappings))
        return units.size(total) if total else _NOTHING

    return cell


def _huge(mappings: Sequence[MappedPages]) -> str:
    """Bytes in huge pages of any kind."""
    held = [m.mapped_bytes if m.kind is MappingKind.HUGETLB else m.thp_bytes for m in mappings]
    total = sum(each or 0 for each in held)
    return _UNKNOWN if None in held else units.size(total) if total else _NOTHING


def _mapping_columns(found: Picture, *, ascii_only: bool) -> tuple[list[_Column], list[_Column]]:
    """What is always shown, and what may be left out, the last first."""

    def remote(mappings: Sequence[MappedPages]) -> Text:
        away = sum(mapping.remote_bytes(found.home) for mapping in mappings)
        return Text(units.size(away) if away else _NOTHING, REMOTE_STYLE if away else "")

    def movable(mappings: Sequence[MappedPages]) -> str:
        could = remote_of(mappings, found.home, found.free_huge, found.stuck if len(mappings) > 1 else {})
        if not could.bytes:
            return _NOTHING
        most = could.movable_bytes + could.unknown_bytes
        return f"{'<=' if ascii_only else '≤'} {units.size(most)}" if could.unknown_bytes else units.size(most)

    always = [_Column("TOTAL", _sum_of(lambda m: m.mapped_bytes)), _Column("REMOTE", remote)]
    rest = [
        _Column("MOVABLE", movable, 12),
        _Column("HUGE", _huge),
        _Column("SHARED", _sum_of(lambda m: m.shared_bytes)),
        _Column("DIRTY", _sum_of(lambda m: m.dirty_bytes)),
        _Column("ACTIVE", _sum_of(lambda m: m.active_bytes)),
    ]
    return always, rest


def _fitting(columns: int, nodes: list[_Column], always: list[_Column], rest: list[_Column]) -> list[_Column]:
    """As many columns as there is room for: those that are always shown, the nodes', the rest."""
    room = columns - _NAME_COLUMNS_MIN - sum(column.wide + _GAP for column in always)
    if sum(column.wide + _GAP for column in nodes) > room:
        nodes = []
    room -= sum(column.wide + _GAP for column in nodes)
    chosen = [*nodes, *always]
    for column in rest:
        room -= column.wide + _GAP
        if room < 0:
            break
        chosen.append(column)
    return chosen


def _kinds(found: Picture, columns: int) -> Table:
    """A line for each kind of memory."""
    always, rest = [_Column("TOTAL", _sum_of(lambda m: m.mapped_bytes))], [_Column("HUGE", _huge)]
    shown = _fitting(columns, _node_columns(found), always, rest)
    groups: dict[str, list[MappedPages]] = {}
    for kind in MappingKind:
        for mapping in found.mappings:
            if mapping.kind is kind:
                size = f", {units.size(mapping.page_bytes)}" if kind is MappingKind.HUGETLB else ""
                groups.setdefault(f"{kind.value}{size}", []).append(mapping)
    return _table("MEMORY", groups, shown)


def _mappings(found: Picture, columns: int, *, every: bool, ascii_only: bool) -> RenderableType:
    """A line for each mapping, a line for those left out, and one for all."""
    shown = _fitting(columns, _node_columns(found), *_mapping_columns(found, ascii_only=ascii_only))
    room = max(_NAME_COLUMNS_MIN, columns - sum(column.wide + _GAP for column in shown))
    listed = found.mappings if every else found.mappings[:MAPPINGS_SHOWN]
    rows: list[tuple[str, Sequence[MappedPages]]] = [(_label(m, room, ascii_only=ascii_only), [m]) for m in listed]
    if len(listed) < len(found.mappings):
        rest = found.mappings[len(listed) :]
        rows.append((f"{len(rest)} smaller ones (--all)", rest))
    return _table("MAPPING", rows, shown, [("total", found.mappings)])


def _label(mapping: MappedPages, room: int, *, ascii_only: bool) -> str:
    """What a mapping is, its end kept if there is no room for all of it; and its policy, if it has one."""
    notes = [] if mapping.policy == "default" else [mapping.policy]
    notes += [f"{mapping.processes} processes"] if mapping.processes > 1 else []
    notes += ["deleted"] if mapping.deleted else []
    note = f" ({', '.join(notes)})" if notes else ""
    name = output.printable(mapping.name, ascii_only=ascii_only)
    return output.shortened(name, max(8, room - len(note)), ascii_only=ascii_only, keep_end=True) + note


def _table(
    title: str,
    rows: Mapping[str, Sequence[MappedPages]] | Iterable[tuple[str, Sequence[MappedPages]]],
    columns: Sequence[_Column],
    sums: Iterable[tuple[str, Sequence[MappedPages]]] = (),
) -> Table:
    pairs = rows.items() if isinstance(rows, Mapping) else rows
    names = [column.name for column in columns]
    made = output.table((title, *names), (), right=names)
    for label, mappings in pairs:
        made.add_row(Text(label), *(column.cell(mappings) for column in columns))
    for label, mappings in sums:
        made.add_row(Text(label), *(column.cell(mappings) for column in columns), style="bold")
    return made


def _threads(found: Picture, *, ascii_only: bool) -> Table:
    """A line for each thread, and how much of the memory is near it."""
    total = found.resident_bytes
    several = len(found.processes) > 1

    def near(thread: ThreadPlace) -> str:
        held = sum(size for node, size in found.by_node.items() if node in thread.nodes)
        return units.share(held / total) if total else _NOTHING

    rows: list[list[RenderableType]] = [
        [
            *([str(thread.pid)] if several else []),
            str(thread.tid),
            Text(output.printable(thread.name, ascii_only=ascii_only)),
            format_id_list(thread.cpus) or "none",
            format_id_list(thread.nodes) or "nowhere",
            near(thread),
        ]
        for thread in found.threads
    ]
    columns = (*(["PID"] if several else []), "THREAD", "NAME", "CPUS", "HOME", "PAGES THERE")
    return output.table(columns, rows, right=("PID", "THREAD", "PAGES THERE"))
