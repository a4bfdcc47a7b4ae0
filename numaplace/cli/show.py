"""``numaplace show``: where the pages of a process, a job or a cgroup are, with an agent or without."""

from typing import TYPE_CHECKING, Annotated

import typer

from numaplace.cli import completing
from numaplace.cli.connect import AGENT_SOCKET, Json, Socket
from numaplace.cli.examples import examples
from numaplace.cli.live import Interval, paced, show_live
from numaplace.cli.looked import looked_at
from numaplace.model.picture import Picture

if TYPE_CHECKING:
    from rich.console import RenderableType


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="Where the pages of a process, a job or a cgroup are.",
        epilog=examples(
            "numaplace show 4711",
            "numaplace show 4711 --threads --watch",
            "numaplace show train-42 --json",
            "numaplace show /sys/fs/cgroup/slurm/job_42 --all",
        ),
    )(show)


def show(
    *,
    target: Annotated[
        str,
        typer.Argument(
            metavar="PID|JOB|CGROUP",
            help="A pid, a job's name, a cgroup's path, or a task's id.",
            autocompletion=completing.targets,
        ),
    ],
    threads: Annotated[bool, typer.Option("--threads", "-t", help="Where each thread may run, too.")] = False,
    every: Annotated[bool, typer.Option("--all", "-a", help="Every mapping, not only the largest.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, until Ctrl-C.")] = False,
    interval: Interval = 1.0,
    socket: Socket = AGENT_SOCKET,
    as_json: Json = False,
) -> None:
    """Show where pages are now: by node and by mapping, what is remote, and what of that could move.

    The kernel is asked, as root for any process, else for one's own. If an agent answers, the name of the job, its home
    and what is known not to move are its word. With --watch --json one line of JSON for each look.
    """

    def once() -> Picture:
        return looked_at(target, socket, threads=threads)

    if watch:
        show_live(paced(once, interval), lambda found: _shown(found, every=every), record=_itself if as_json else None)
        return
    found = once()
    from numaplace.cli import output  # noqa: PLC0415 - only now is rich worth its 0.03 s

    if as_json:
        output.show_json(found)
    else:
        output.show(_shown(found, every=every))


def _itself(found: Picture) -> Picture:
    return found


def _shown(found: Picture, *, every: bool) -> "RenderableType":
    from numaplace.cli import output, picture  # noqa: PLC0415 - the same

    to = output.console()
    return picture.picture(found, columns=to.width, every=every, ascii_only=output.is_ascii(to))
