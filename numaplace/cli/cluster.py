"""The commands that ask the scheduler about the cluster: hosts, jobs, moves, explain."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from numaplace.cli import completing, output, tables, units
from numaplace.cli.bars import left_table
from numaplace.cli.connect import Json, asks_scheduler
from numaplace.cli.examples import examples
from numaplace.model.ids import HostId, JobId, MoveId
from numaplace.model.views import Explanation, Move

if TYPE_CHECKING:
    from numaplace.client import SchedulerClient

MOVES_SHOWN = 5

OnHost = Annotated[
    str | None,
    typer.Option("--host", metavar="HOST", help="Only on this host.", autocompletion=completing.hosts),
]
OfJob = Annotated[
    str | None, typer.Option("--job", metavar="JOB", help="Only of this job.", autocompletion=completing.jobs)
]

moves_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        short_help="The hosts and what they can take.",
        epilog=examples("numaplace hosts", "numaplace hosts --json | jq '.[].id'"),
    )(hosts)
    app.command(
        short_help="The jobs and where their memory is.",
        epilog=examples("numaplace jobs", "numaplace jobs --host alpha"),
    )(jobs)
    app.command(
        short_help="Why a job is, or is not, moved.",
        epilog=examples("numaplace explain train-42", "numaplace explain train-42 --json"),
    )(explain)
    moves_app.callback(
        invoke_without_command=True,
        short_help="The moves: how far, how ended, what is left.",
        epilog=examples("numaplace moves --open", "numaplace moves --watch --json", "numaplace moves cancel MOVE"),
    )(moves)
    moves_app.command(short_help="End a move early.", epilog=examples("numaplace moves cancel m-17"))(cancel)
    app.add_typer(moves_app, name="moves")


@asks_scheduler
def hosts(client: "SchedulerClient", *, as_json: Json = False) -> None:
    """Show the hosts: their nodes, what is free above the watermark, tasks, moves, and the pace expected of a move."""
    found = client.hosts()
    if as_json:
        output.show_json(found)
    else:
        remarks = (Text(f"{host.id}: {remark}") for host in found for remark in host.abilities.remarks)
        output.show(tables.hosts(found, datetime.now(UTC)), *remarks)


@asks_scheduler
def jobs(client: "SchedulerClient", *, host: OnHost = None, as_json: Json = False) -> None:
    """Show the jobs: where their home is, how much of their memory is there, and what was decided about the rest."""
    found = client.jobs(host=HostId(host) if host else None)
    if as_json:
        output.show_json(found)
    else:
        output.show(tables.jobs(found, ascii_only=output.is_ascii(output.console())))


@asks_scheduler
def explain(
    client: "SchedulerClient",
    *,
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job's name.", autocompletion=completing.jobs)],
    as_json: Json = False,
) -> None:
    """Tell why a job is, or is not, moved; what its last moves left behind, and what to do about it."""
    found = client.explain(JobId(job))
    if as_json:
        output.show_json(found)
    else:
        output.show(*_explained(found))


def _explained(found: Explanation) -> list[RenderableType]:
    lines: list[RenderableType] = [Text(sentence) for sentence in found.words]
    for move in found.moves[:MOVES_SHOWN]:
        began = units.ago(move.created, datetime.now(UTC))
        lines.append(Text(f"\nMove {move.id} on {move.host}, {began}: {move.state.value}", "bold"))
        lines += _account(move)
    return lines


def _account(move: Move) -> list[RenderableType]:
    lines: list[RenderableType] = []
    outcome = move.outcome
    if outcome is not None:
        lines.append(Text(f"  {outcome.words}"))
        lines.append(
            Text(
                f"  {units.size(outcome.moved_bytes)} in {units.duration(outcome.seconds)},"
                f" longest stall {outcome.stall_ms_max:.1f} ms"
            )
        )
        if outcome.strategy is not None:
            lines.append(Text(f"  by {outcome.strategy.value}: {outcome.strategy_reason}"))
        if outcome.new_pages:
            lines.append(Text(f"  new pages: {outcome.new_pages}"))
    elif move.progress is not None:
        todo, pace = units.size(move.progress.todo_bytes), units.pace(move.progress.pace_bytes_per_s)
        lines.append(Text(f"  {units.size(move.moved_bytes)} moved, {todo} to go at {pace}"))
    if move.left:
        lines += [Text("  left behind:" if move.state.final else "  will stay:"), left_table(move.left)]
    return lines


@asks_scheduler
def moves(
    client: "SchedulerClient",
    *,
    ctx: typer.Context,  # noqa: ARG001 - by it the connection knows that a subcommand runs instead
    host: OnHost = None,
    job: OfJob = None,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that have not ended.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Then show every change, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Show the moves: how far they are, how they ended, what they left and why; or cancel one."""
    if host and job:
        raise typer.BadParameter("give --host or --job, not both")
    on, of = HostId(host) if host else None, JobId(job) if job else None
    found = client.moves(host=on, job=of, only_open=only_open or watch)
    if as_json and not watch:
        output.show_json(found)
        return
    if as_json:
        for move in found:
            output.show_json_line(move)
    else:
        output.show(tables.moves(found, datetime.now(UTC)))
    if watch:
        _watch(client, on, of, as_json=as_json)


def _watch(client: "SchedulerClient", on: HostId | None, of: JobId | None, *, as_json: bool) -> None:
    try:
        for move in client.watch_moves(host=on, job=of):
            if as_json:
                output.show_json_line(move)
            else:
                output.show(_changed(move))
    except KeyboardInterrupt:
        return  # this is how a watch ends


def _changed(move: Move) -> Text:
    """One line for one change, which needs no columns to be read."""
    now = datetime.now(UTC)
    cells = zip(tables.MOVE_COLUMNS[3:-1], tables.move(move, now)[3:-1], strict=True)
    said = "  ".join(f"{name.lower()} {cell}" for name, cell in cells if str(cell) != "-")
    return Text(f"{now:%H:%M:%S}  {move.id}  {move.job} on {move.host}  {said}")


@asks_scheduler
def cancel(
    client: "SchedulerClient",
    *,
    move: Annotated[
        str,
        typer.Argument(
            metavar="MOVE", help="The move's id, as numaplace moves shows it.", autocompletion=completing.open_moves
        ),
    ],
    as_json: Json = False,
) -> None:
    """End a move early. What has moved stays where it is now; the outcome follows."""
    cancelled = client.cancel(MoveId(move))
    if as_json:
        output.show_json(cancelled)
    else:
        output.show(Text(f"{cancelled.id}: {cancelled.state.value}, {units.size(cancelled.moved_bytes)} moved so far"))
