"""Bars: where pages lie by node, how far a move is, what stays and why. For the command, the demo, and whoever else.

Everything here makes a rich renderable of values and knows no terminal, no clock and no service. A home node's bar is
green, a remote one's yellow; on terminals without Unicode a bar is made of # and -.
"""

from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from numaplace.cli import units
from numaplace.model.cpuset import format_id_list
from numaplace.model.ids import NodeId, Nodes
from numaplace.model.move import REMEDY, LeftReason, MoveOutcome, MoveProgress
from numaplace.model.residency import PageKind, PageSize, Residency

BAR_CELLS = 40
HOME_STYLE = "green"
REMOTE_STYLE = "yellow"
_EIGHTHS = " ▏▎▍▌▋▊▉"


def fill(part: float, cells: int = BAR_CELLS, *, ascii_only: bool = False) -> str:
    """A bar of exactly so many cells, filled to ``part`` (0 to 1, cut to that) in eighths of a cell.

    Something is never drawn as nothing, and less than the whole never as the whole.
    """
    steps = 1 if ascii_only else 8
    total = cells * steps
    filled = round(min(1.0, max(0.0, part)) * total)
    if 0 < part < 1 and total > 1:
        filled = min(total - 1, max(1, filled))
    whole, rest = divmod(filled, steps)
    if ascii_only:
        return "#" * whole + "-" * (cells - whole)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(cells)


def node_bars(
    residency: Residency,
    home: Nodes,
    *,
    nodes: Iterable[NodeId] = (),
    cells: int = BAR_CELLS,
    ascii_only: bool = False,
) -> Table:
    """One line for each node that holds pages, is home, or is named in ``nodes``: bar, bytes, share, home or remote."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    for _ in range(2):
        table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    total = residency.resident_bytes
    for node in sorted({*residency.by_node, *home, *nodes}):
        held = residency.by_node.get(node, 0)
        part = held / total if total else 0.0
        style = HOME_STYLE if node in home else REMOTE_STYLE
        label = "home" if node in home else "remote" if held else ""
        table.add_row(
            f"node {node}",
            Text(fill(part, cells, ascii_only=ascii_only), style),
            units.size(held),
            units.share(part),
            Text(label, style),
        )
    return table


def locality_bar(residency: Residency, home: Nodes, *, cells: int = 12, ascii_only: bool = False) -> Text:
    """One short bar of the part that is at home, with its per cent."""
    part = residency.locality(home)
    style = HOME_STYLE if part == 1 else REMOTE_STYLE
    return Text.assemble((fill(part, cells, ascii_only=ascii_only), style), f" {units.share(part):>5}")


def page_table(residency: Residency, home: Nodes) -> Table:
    """Bytes by page size and kind, one column for each node that holds any."""
    nodes = sorted(residency.by_node)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("PAGES")
    for node in nodes:
        table.add_column(f"NODE {node}{' (home)' if node in home else ''}", justify="right", no_wrap=True)
    for size in PageSize:
        for kind in PageKind:
            held = {
                cell.node: bytes_
                for cell, bytes_ in residency.cells.items()
                if (cell.size, cell.kind) == (size, kind) and bytes_
            }
            if held:
                amounts = (units.size(held[node]) if node in held else "-" for node in nodes)
                table.add_row(f"{kind.value}, {size.value}", *amounts)
    return table


def left_table(left: Mapping[LeftReason, int]) -> Table:
    """What stays: bytes, the reason, and its remedy in plain words; most bytes first."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, style=REMOTE_STYLE)
    table.add_column()
    for reason, held in sorted(left.items(), key=lambda item: -item[1]):
        table.add_row(units.size(held), reason.value, REMEDY[reason])
    return table


def left_line(left: Mapping[LeftReason, int]) -> str:
    """``4.0 MiB pinned, 12 B busy``; a dash if nothing stays."""
    ordered = sorted(left.items(), key=lambda item: -item[1])
    return ", ".join(f"{units.size(held)} {reason.value}" for reason, held in ordered) or "-"


def progress_line(progress: MoveProgress, *, cells: int = BAR_CELLS, ascii_only: bool = False) -> Text:
    """How far a move is: bar, bytes of bytes, pace."""
    total = progress.moved_bytes + progress.todo_bytes
    part = progress.moved_bytes / total if total else 1.0
    return Text.assemble(
        (fill(part, cells, ascii_only=ascii_only), "cyan"),
        f" {units.size(progress.moved_bytes)} of {units.size(total)} at {units.pace(progress.pace_bytes_per_s)}",
    )


def outcome_line(outcome: MoveOutcome) -> Text:
    """How a move ended: state, bytes, seconds, longest stall."""
    style = HOME_STYLE if outcome.state.value == "completed" else REMOTE_STYLE
    return Text.assemble(
        (outcome.state.value, style),
        f": {units.size(outcome.moved_bytes)} moved in {units.duration(outcome.seconds)},"
        f" longest stall {outcome.stall_ms_max:.1f} ms",
    )


def follow_view(
    title: str,
    residency: Residency,
    home: Nodes,
    *,
    nodes: Iterable[NodeId] = (),
    progress: MoveProgress | None = None,
    outcome: MoveOutcome | None = None,
    cells: int = BAR_CELLS,
    ascii_only: bool = False,
) -> RenderableType:
    """A task whose pages follow its CPUs, as one picture: title, bars by node, the move, what is left and why."""
    lines: list[RenderableType] = [
        Text.assemble((title, "bold"), f"  home {format_id_list(home) or 'nowhere'}"),
        node_bars(residency, home, nodes=nodes, cells=cells, ascii_only=ascii_only),
    ]
    if outcome is not None:
        lines.append(outcome_line(outcome))
    elif progress is not None:
        lines.append(progress_line(progress, cells=cells, ascii_only=ascii_only))
    known = outcome or progress
    if known is not None and known.left:
        lines += [Text("left:", "bold"), left_table(known.left)]
    return Group(*lines)
