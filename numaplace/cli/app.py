"""The `numaplace` command: its commands put together."""

import sys
from importlib import import_module
from typing import Annotated

import typer

from numaplace import __version__
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

    Of the cluster (hosts, jobs, explain, moves, top, policy) the scheduler is asked (--scheduler or
    NUMAPLACE_SCHEDULER), of what is followed on this host (status, adopt, release) its agent (--socket or
    NUMAPLACE_SOCKET). The other commands need neither, and use the agent where there is one.
    """


_SHARED = ("cluster", "host")
"""Modules of several commands."""
_OWN = ("show", "move", "cpuset", "profile", "run", "counters", "doctor", "policy", "top")
"""Modules that are called like their one command or group."""


def built(first_word: str = "") -> typer.Typer:
    """The command with all its commands, or with that one alone which a first word names: the others need not load."""
    app = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,  # plain help: it starts sooner and is not cut in pipes
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    app.callback(epilog=examples("numaplace hosts", "numaplace show 4711", "numaplace explain train-42"))(_numaplace)
    for part in (first_word,) if first_word in _OWN else (*_SHARED, *_OWN):
        import_module(f"numaplace.cli.{part}").add_to(app)
    return app
