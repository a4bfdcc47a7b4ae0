"""``numaplace counters``: what this host has migrated, how fast, and what it means; needs neither agent nor rights."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from numaplace.cli import exits, output
from numaplace.cli.connect import Json
from numaplace.cli.examples import examples
from numaplace.cli.live import Interval, paced, show_live
from numaplace.kernel.errors import KernelCallError, KernelFormatError
from numaplace.kernel.vmstat import MigrationCounters, read_migration_counters


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
    as_json: Json = False,
) -> None:
    """Show the kernel's five counters of page migration, all movers of the host together, since boot.

    With --watch their growth per second as well; with --watch --json one line of JSON for each look.
    """
    if not watch:
        found = _read()
        if as_json:
            output.show_json(asdict(found))
        else:
            output.show(picture(found, None), *explained())
        return
    show_live(
        _looks(interval),
        lambda look: picture(*look),
        record=(lambda look: {**asdict(look[0]), "per_second": look[1]}) if as_json else None,
    )


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


def picture(found: MigrationCounters, rates: dict[str, float] | None) -> Table:
    """A line for each counter."""
    values = asdict(found)
    columns = ["COUNTER", "TOTAL", *([] if rates is None else ["PER SECOND"]), "COUNTS"]
    rows = [
        [name, str(values[name]), *([] if rates is None else [f"{rates[name]:.0f}"]), meaning.counts]
        for name, meaning in MEANINGS.items()
    ]
    return output.table(columns, rows, right=("TOTAL", "PER SECOND"))


def explained() -> list[Text]:
    """What a rise of each should make one do."""
    return [Text("\nWhen it rises:"), *(Text(f"  {name}: {meaning.rises}") for name, meaning in MEANINGS.items())]
