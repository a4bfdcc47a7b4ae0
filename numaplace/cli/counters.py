"""``numaplace counters``: what this host has migrated, how fast, and what it means; needs neither agent nor rights.

Where an agent answers, its last moves are there too, each with the part of the counters that is its own.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Annotated, NamedTuple

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from numaplace.cli import attribution, exits, output
from numaplace.cli.attribution import News
from numaplace.cli.connect import Json, OptionalSocket
from numaplace.cli.examples import examples
from numaplace.cli.live import Interval, paced, show_live
from numaplace.kernel.errors import KernelCallError, KernelFormatError
from numaplace.kernel.vmstat import MigrationCounters, read_migration_counters
from numaplace.model.move import MoveOutcome


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a counter counts, and what to do when it rises."""

    counts: str
    rises: str


MEANINGS = {
    "pgmigrate_success": Meaning(
        "base pages that were moved, by whomever: 512 for each huge page of 2 MB",
        "Nothing is wrong. If nobody should be moving: `numaplace moves` tells which moves are ours.",
    ),
    "pgmigrate_fail": Meaning(
        "base pages that were tried and stayed: pinned, or in use at each attempt",
        "`numaplace show PID` says whose pages do not move. Each costs the job as much as a move: do not try again.",
    ),
    "thp_migration_success": Meaning(
        "transparent huge pages that were moved whole",
        "Nothing is wrong: a huge page costs about as much to unmap as a base page.",
    ),
    "thp_migration_fail": Meaning(
        "transparent huge pages that could not be moved whole, pinned ones among them",
        "If thp_migration_split rises with it, the target has no free block of 2 MB; else as pgmigrate_fail.",
    ),
    "thp_migration_split": Meaning(
        "transparent huge pages that were split to be moved, and stay so",
        "Stop: the job loses its huge pages. Free blocks on the target (echo 1 > /proc/sys/vm/compact_memory) first.",
    ),
}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="What this host has migrated, and what it means.",
        epilog=examples("numaplace counters", "numaplace counters --watch", "numaplace counters --json"),
    )(counters)


def counters(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show rates too, again and again, until Ctrl-C.")
    ] = False,
    interval: Interval = 1.0,
    socket: OptionalSocket = None,
    as_json: Json = False,
) -> None:
    """Show the kernel's five counters of page migration, all movers of the host together, since boot.

    With --watch their growth per second as well; with --watch --json one line of JSON for each look. If this host's
    agent answers, its last moves are listed, each with its own counters of what the host counted meanwhile; --watch
    adds each as it ends, and tells the agent's migrations from others' once no move runs.
    """
    if not watch:
        found, moves = _read(), attribution.last_moves(socket)
        if as_json:
            output.show_json(asdict(found) if moves is None else {**asdict(found), "moves": moves})
        else:
            output.show(picture(found, None), *explained(), *_of_moves(moves))
        return
    with attribution.watching(socket) as watcher:
        show_live(_watched(interval, watcher), _shown, record=_record if as_json else None)


class _Look(NamedTuple):
    """``moves`` are those to be shown with it: in a pipe each once, as it ends; on a screen the last ones."""

    found: MigrationCounters
    rates: dict[str, float]
    news: News | None
    moves: tuple[MoveOutcome, ...]


def _watched(interval_s: float, watcher: attribution.Watcher | None) -> Iterator[_Look]:
    kept = attribution.MOVES_SHOWN if output.console().is_terminal else 0
    recent: tuple[MoveOutcome, ...] = ()
    for found, rates in _looks(interval_s):
        news = watcher.news(found) if watcher is not None else None
        ended = news.finished if news is not None else ()
        recent = (*reversed(ended), *recent)[: max(kept, len(ended))]
        yield _Look(found, rates, news, recent)


def _shown(look: _Look) -> RenderableType:
    return Group(picture(look.found, look.rates, look.news), *_of_moves(look.moves))


def _record(look: _Look) -> dict[str, object]:
    """A look for programs; without an agent nothing is said of moves."""
    said: dict[str, object] = {**asdict(look.found), "per_second": look.rates}
    if look.news is None:
        return said
    split = look.news.split
    return {
        **said,
        "ours_per_second": split and split.ours,
        "others_per_second": split and split.others,
        "moves": look.news.finished,
    }


def _of_moves(moves: tuple[MoveOutcome, ...] | None) -> list[RenderableType]:
    head = "\nThe agent's last moves, each with what it counted itself, of what the host counted meanwhile:"
    return [Text(head), attribution.moves_table(moves)] if moves else []


def _looks(interval_s: float) -> Iterator[tuple[MigrationCounters, dict[str, float]]]:
    """The counters with their growth per second, as often as asked; the first after one interval."""
    for (before, before_s), (now, now_s) in pairwise(paced(lambda: (_read(), time.monotonic()), interval_s)):
        grown = asdict(now.since(before))
        yield now, {name: value / (now_s - before_s) for name, value in grown.items()}


def _read() -> MigrationCounters:
    try:
        return read_migration_counters()
    except (KernelCallError, KernelFormatError) as error:
        raise exits.Failure(exits.FAILED, f"the kernel's counters cannot be read: {error}") from error


def picture(found: MigrationCounters, rates: dict[str, float] | None, news: News | None = None) -> Table:
    """A line for each counter; where an agent is watched, whose the growth was, or dashes while that is not known."""
    values = asdict(found)
    by_whom = ["OURS", "OTHERS'"] if news is not None else []
    columns = ["COUNTER", "TOTAL", *([] if rates is None else ["PER SECOND", *by_whom]), "COUNTS"]
    rows = [[name, str(values[name]), *_rates(name, rates, news), meaning.counts] for name, meaning in MEANINGS.items()]
    return output.table(columns, rows, right=("TOTAL", "PER SECOND", *by_whom))


def _rates(name: str, rates: dict[str, float] | None, news: News | None) -> list[str]:
    if rates is None:
        return []
    split = news.split if news is not None else None
    by_whom = ["-", "-"] if split is None else [f"{split.ours[name]:.0f}", f"{split.others[name]:.0f}"]
    return [f"{rates[name]:.0f}", *(by_whom if news is not None else [])]


def explained() -> list[Text]:
    """What a rise of each should make one do."""
    return [Text("\nWhen it rises:"), *(Text(f"  {name}: {meaning.rises}") for name, meaning in MEANINGS.items())]
