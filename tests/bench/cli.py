"""``python -m tests.bench``: measures, prints the table, writes bench-results.json; exit code 1 for a miss."""

import logging
import signal
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.bench.groups import Group, Settings, Tell
from tests.bench.records import Record, as_json
from tests.bench.registry import all_groups
from tests.bench.table import table
from tests.lab.setup import SetupError, install_missing

RESULTS = Path("bench-results.json")
COLUMNS = 150
MISSED = 1
WRONG_USAGE = 2

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def bench(
    *,
    group: Annotated[list[str] | None, typer.Option(help="Measure this group only; may be repeated.")] = None,
    kernel: Annotated[list[str] | None, typer.Option(help="On this kernel of the lab only; may be repeated.")] = None,
    case: Annotated[list[str] | None, typer.Option(help="Cases whose name has this in it; may be repeated.")] = None,
    repeat: Annotated[int | None, typer.Option(min=1, help="How often each important run is repeated.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small and once: to see that it works, no verdict.")] = False,
    as_list: Annotated[bool, typer.Option("--list", help="List groups and cases, and measure nothing.")] = False,
    to_stdout: Annotated[bool, typer.Option("--json", help="Print the records as JSON instead of a table.")] = False,
    results: Annotated[Path, typer.Option(help="Where to write the records.")] = RESULTS,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell of every single run.")] = False,
) -> None:
    """Measure numaplace against its rivals, all within one run, on the lab's kernels.

    A figure that misses its bound is red, and makes the exit code 1.
    """
    settings = Settings(quick, repeat, tuple(kernel or ()), tuple(case or ()))
    groups = _groups(group)
    if as_list:
        for name, each in groups.items():
            typer.echo(f"{name}: {each.summary}")
            typer.echo("".join(f"  {known}\n" for known in each.cases(settings)), nl=False)
        return
    if not any(each.cases(settings) for each in groups.values()):
        typer.echo("no case is so named; see --list", err=True)
        raise typer.Exit(WRONG_USAGE)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        install_missing()
    except SetupError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    records: list[Record] = []
    for record in _measured(groups.values(), settings, verbose=verbose):
        records.append(record)
        # What was measured so far outlives whoever loses patience.
        results.write_text(as_json(records))
    _show(records, as_text=to_stdout)
    if not all(record.held for record in records):
        raise typer.Exit(MISSED)


def _groups(wanted: list[str] | None) -> dict[str, Group]:
    known = all_groups()
    unknown = sorted(set(wanted or ()) - set(known))
    if unknown:
        typer.echo(f"no group is named {', '.join(unknown)}; there are: {', '.join(known)}", err=True)
        raise typer.Exit(WRONG_USAGE)
    return {name: group for name, group in known.items() if not wanted or name in wanted}


def _measured(groups: Collection[Group], settings: Settings, *, verbose: bool) -> Iterator[Record]:
    console = Console(stderr=True)
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(
        level=level, format="%(message)s", handlers=[RichHandler(console=console, show_path=False, show_level=False)]
    )
    with _telling(console, sum(group.steps(settings) for group in groups)) as tell:
        for group in groups:
            yield from group.run(settings, tell)


@contextmanager
def _telling(console: Console, steps: int) -> Iterator[Tell]:
    """How far it is, on stderr: live on a terminal, else a line for each new thing."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=steps)

        def tell(words: str, done: int) -> None:
            progress.update(task, advance=done, description=words or None)
            if words and not console.is_terminal:
                console.print(words, highlight=False)

        yield tell


def _show(records: list[Record], *, as_text: bool) -> None:
    if as_text:
        typer.echo(as_json(records), nl=False)
        return
    # Into a file or a pipe the table is not squeezed to the 80 columns of no terminal.
    console = Console(width=None if sys.stdout.isatty() else COLUMNS)
    console.print(table(records))
    missed = sum(not record.held for record in records)
    if missed:
        console.print(f"[bold red]{missed} of {len(records)} figures miss their bound.[/]")
