"""``numaplace-scheduler``: run the central service, make certificates, or check the configuration."""

import asyncio
import datetime as dt
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from numaplace import __version__
from numaplace.configuration import load_settings
from numaplace.configured import ConfigurationError
from numaplace.epilog import epilog
from numaplace.telemetry import events, keys, set_up_logs
from scheduler.bootstrap import serve, tls_files
from scheduler.certs import CertificateError, Made, make_ca, make_host, make_scheduler, make_user
from scheduler.ports import StoreError
from scheduler.rpc.server import ListenError
from scheduler.settings import SchedulerSettings

EXIT_FAILED = 1
EXIT_UNAVAILABLE = 69
"""EX_UNAVAILABLE of sysexits.h: the address is taken."""
EXIT_CONFIGURATION = 78
"""EX_CONFIG of sysexits.h: starting again does not help."""
EXIT_HELP = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 65 the database is damaged, 69 the address is taken,"
    " 74 the database cannot be used, 75 the database is in use or the disk is full, 78 wrong configuration."
)

app = typer.Typer(
    name="numaplace-scheduler",
    help="The central service: watches homes and pages on all hosts, and decides what to move and when.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=epilog(
        ("numaplace-scheduler certs init --name sched1", "numaplace-scheduler run --mode observe"), EXIT_HELP
    ),
)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", envvar="NUMAPLACE_SCHEDULER_CONFIG", help="TOML file; check-config prints all keys."
    ),
]


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _common(
    *,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = (
        False
    ),
) -> None:
    del version


@app.command(
    epilog=epilog(
        (
            "numaplace-scheduler run            (plaintext on loopback, for one machine)",
            "numaplace-scheduler run --listen [::]:7700 --tls-ca ca.pem --tls-cert sched.pem --tls-key sched.key",
            "numaplace-scheduler run --config /etc/numaplace/scheduler.toml",
        ),
        EXIT_HELP,
    )
)
def run(  # noqa: PLR0917 - typer passes by keyword
    config: Config = None,
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where agents and users dial.")] = None,
    db: Annotated[Path | None, typer.Option(help="SQLite file for orders, outcomes and policies.")] = None,
    mode: Annotated[str | None, typer.Option(help="Default policy: at-once, later, never or observe.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Serve Prometheus metrics here, on loopback.")] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="CA certificate of the cluster (PEM).")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="The scheduler's certificate (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    insecure: Annotated[bool | None, typer.Option("--insecure", help="Allow plaintext beyond loopback.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Run the scheduler until SIGTERM."""
    flags: dict[str, Any] = {
        "listen": listen,
        "store": {"path": db},
        "policy": {"mode": mode},
        "metrics": {"port": metrics_port},
        "tls": {"ca": tls_ca, "certificate": tls_cert, "key": tls_key, "insecure": insecure},
        "log": {"level": log_level},
    }
    settings = _settings(config, flags)
    set_up_logs(level=settings.log.level, form=settings.log.format, service="scheduler")
    log = structlog.get_logger(__name__)
    try:
        asyncio.run(serve(settings))
    except ConfigurationError as error:
        log.error(events.CONFIGURATION_REFUSED, **{keys.ERROR: str(error)})  # noqa: TRY400 - the words suffice
        sys.exit(EXIT_CONFIGURATION)
    except StoreError as error:
        log.error(events.STORE_FAILED, **{keys.ERROR: error.words, keys.ADVICE: error.advice})  # noqa: TRY400 - the same
        sys.exit(error.exit_code)
    except ListenError as error:
        log.error(events.STOPPED, **{keys.ERROR: str(error)})  # noqa: TRY400 - the same
        sys.exit(EXIT_UNAVAILABLE)


certs = typer.Typer(
    help="Make a CA, and certificates for the scheduler, hosts and users; no file is overwritten.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog=epilog(("numaplace-scheduler certs init --name sched1", "numaplace-scheduler certs host node17"), EXIT_HELP),
)
app.add_typer(certs, name="certs")

Folder = Annotated[Path, typer.Option("--dir", "-d", help="Where the CA and the certificates are.")]


@certs.command(
    "init",
    epilog=epilog(("numaplace-scheduler certs init --name sched1.example.org --name 10.0.0.5",), EXIT_HELP),
)
def certs_init(
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A DNS name or address at which the scheduler is dialled; repeatable."),
    ] = None,
    folder: Folder = Path("certs"),
) -> None:
    """Make the CA and the scheduler's certificate. Keep ca.key off every other machine."""
    names = list(dict.fromkeys([*(name or []), platform.node(), "localhost", "127.0.0.1", "::1"]))
    _make(lambda now: make_ca(folder, names, now))


@certs.command(
    "scheduler",
    epilog=epilog(("numaplace-scheduler certs scheduler --name sched2.example.org",), EXIT_HELP),
)
def certs_scheduler(
    name: Annotated[
        list[str], typer.Option(metavar="NAME", help="A DNS name or address at which it is dialled; repeatable.")
    ],
    folder: Folder = Path("certs"),
) -> None:
    """Make the scheduler's certificate again, for other names; move the old one away first."""
    _make(lambda now: (make_scheduler(folder, name, now),))


@certs.command("host", epilog=epilog(("numaplace-scheduler certs host node17",), EXIT_HELP))
def certs_host(
    name: Annotated[str, typer.Argument(help="The host's name in the cluster, as its agent says it.")],
    folder: Folder = Path("certs"),
) -> None:
    """Make the certificate of a host's agent; copy it, its key and ca.pem to that host."""
    _make(lambda now: (make_host(folder, name, now),))


@certs.command("user", epilog=epilog(("numaplace-scheduler certs user alice",), EXIT_HELP))
def certs_user(
    name: Annotated[str, typer.Argument(help="Who may ask and order.")], folder: Folder = Path("certs")
) -> None:
    """Make a user's certificate for the numaplace command and for batch systems."""
    _make(lambda now: (make_user(folder, name, now),))


def _make(make: Callable[[dt.datetime], Iterable[Made]]) -> None:
    try:
        for made in make(dt.datetime.now(dt.UTC)):
            typer.echo(made.certificate)
            typer.echo(made.key)
    except CertificateError as error:
        typer.echo(f"numaplace-scheduler: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from error


@app.command(
    "check-config",
    epilog=epilog(("numaplace-scheduler check-config --config /etc/numaplace/scheduler.toml",), EXIT_HELP),
)
def check_config(config: Config = None) -> None:
    """Read the configuration as run would, and print it."""
    settings = _settings(config, {})
    try:
        settings.policy.to_policy()
        tls_files(settings)
    except ConfigurationError as error:
        typer.echo(f"numaplace-scheduler: {error}", err=True)
        raise typer.Exit(EXIT_CONFIGURATION) from error
    typer.echo(settings.model_dump_json(indent=2))


def _settings(config: Path | None, flags: dict[str, Any]) -> SchedulerSettings:
    try:
        return load_settings(SchedulerSettings, config, flags)
    except ConfigurationError as error:
        typer.echo(f"numaplace-scheduler: {error}", err=True)
        raise typer.Exit(EXIT_CONFIGURATION) from error


def main() -> None:
    """Entry point of ``numaplace-scheduler``."""
    app()
