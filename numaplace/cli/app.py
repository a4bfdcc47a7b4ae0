"""The `numaplace` command: its commands put together, and the one place where it ends."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from numaplace import __version__
from numaplace.cli import cluster, counters, cpuset, exits, host, move, policy, profile, top
from numaplace.cli.examples import examples


def _say_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        sys.stdout.write(f"numaplace {__version__}\n")
        raise typer.Exit


def _numaplace(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Memory that follows the CPUs: see where the pages of jobs lie, watch them follow, and say how they shall.

    Cluster commands ask the scheduler (--scheduler or NUMAPLACE_SCHEDULER), host commands this host's agent (--socket
    or NUMAPLACE_SOCKET).
    """


def built() -> typer.Typer:
    """The command with all its commands."""
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,  # plain help: it starts sooner and is not cut in pipes
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    app.callback(epilog=examples("numaplace hosts", "numaplace show 4711", "numaplace explain train-42"))(_numaplace)
    for part in (cluster, host, move, cpuset, counters, policy, profile, top):
        part.add_to(app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code (:mod:`numaplace.cli.exits`)."""
    try:
        try:
            built()(args=None if arguments is None else list(arguments), prog_name="numaplace")
        finally:
            sys.stdout.flush()
    except exits.Failure as failure:
        sys.stderr.write(f"numaplace: {failure.words}\n")
        sys.exit(failure.code)
    except BrokenPipeError:
        # Whoever read has left. Nothing may be left to write when the interpreter ends, or it says 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(exits.FAILED)
