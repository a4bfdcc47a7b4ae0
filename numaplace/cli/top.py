"""``numaplace top``: the cluster live, jobs with most remote memory first, and the moves that run."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from numaplace.cli import output, tables, units
from numaplace.cli.bars import progress_line
from numaplace.cli.connect import Json, asks_scheduler
from numaplace.cli.examples import examples
from numaplace.cli.live import Interval, paced, show_live
from numaplace.model.views import Host, HostState, Job, Move

if TYPE_CHECKING:
    from numaplace.client import SchedulerClient

JOBS_SHOWN = 30
MOVES_SHOWN = 10
MOVE_BAR_CELLS = 24

Look = tuple[tuple[Host, ...], tuple[Job, ...], tuple[Move, ...]]
"""What one look at the cluster finds."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="The cluster, live.",
        epilog=examples("numaplace top", "numaplace top --once", "numaplace top --interval 0.5"),
    )(top)


@asks_scheduler
def top(
    client: "SchedulerClient",
    *,
    once: Annotated[bool, typer.Option("--once", help="Show it once and end: for scripts.")] = False,
    interval: Interval = 1.0,
    as_json: Json = False,
) -> None:
    """Watch the cluster: jobs by remote memory, how much of theirs is at home, and the moves that run. Ctrl-C ends."""
    to = output.console()
    ascii_only = output.is_ascii(to)

    def shown(look: Look) -> RenderableType:
        return picture(*look, datetime.now(UTC), ascii_only=ascii_only)

    if as_json:
        hosts, jobs, moves = _look(client)
        output.show_json({"hosts": hosts, "jobs": jobs, "moves": moves})
    elif once or not to.is_terminal:
        output.show(shown(_look(client)))
    else:
        show_live(paced(lambda: _look(client), interval), shown)


def _look(client: "SchedulerClient") -> Look:
    return client.hosts(), client.jobs(), client.moves(only_open=True)


def picture(
    hosts: tuple[Host, ...], jobs: tuple[Job, ...], moves: tuple[Move, ...], now: datetime, *, ascii_only: bool
) -> RenderableType:
    """One look at the cluster."""
    connected = sum(host.state is HostState.CONNECTED for host in hosts)
    remote = sum(job.remote_bytes for job in jobs)
    resident = sum(job.resident_bytes for job in jobs)
    at_home = sum(job.locality * job.resident_bytes for job in jobs)
    locality = units.share(at_home / resident) if resident else "-"
    head = (
        f"{now:%H:%M:%S}  hosts {connected}/{len(hosts)} connected  jobs {len(jobs)}  resident {units.size(resident)}"
        f"  at home {locality}  remote {units.size(remote)}  moves {len(moves)}"
    )
    ordered = sorted(jobs, key=lambda job: (-job.remote_bytes, job.id))
    parts: list[RenderableType] = [Text(head, "bold"), "", tables.jobs(ordered[:JOBS_SHOWN], ascii_only=ascii_only)]
    if len(jobs) > JOBS_SHOWN:
        parts.append(Text(f"and {len(jobs) - JOBS_SHOWN} jobs more with less remote memory"))
    if moves:
        parts += ["", _moves(moves[:MOVES_SHOWN], ascii_only=ascii_only)]
    return Group(*parts)


def _moves(moves: tuple[Move, ...], *, ascii_only: bool) -> Table:
    rows = (
        (
            move.id,
            move.job,
            move.host,
            move.state.value,
            progress_line(move.progress, cells=MOVE_BAR_CELLS, ascii_only=ascii_only) if move.progress else Text("-"),
        )
        for move in moves
    )
    return output.table(("MOVE", "JOB", "HOST", "STATE", "PROGRESS"), rows)
