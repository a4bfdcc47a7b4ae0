"""``numaplace show``: where the pages of a process, a job or a cgroup are, with an agent or without."""

from typing import Annotated

import typer

from numaplace.cli import completing
from numaplace.cli.connect import Json, Socket
from numaplace.cli.examples import examples
from numaplace.cli.live import Interval, paced, show_live
from numaplace.cli.looked import looked_at
from numaplace.cli.once import picture_of, show_once
from numaplace.cli.places import AGENT_SOCKET


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
    if not watch:
        show_once(target, socket, threads=threads, every=every, as_json=as_json)
        return
    show_live(
        paced(lambda: looked_at(target, socket, threads=threads), interval),
        lambda found: picture_of(found, every=every),
        record=(lambda found: found) if as_json else None,
    )
