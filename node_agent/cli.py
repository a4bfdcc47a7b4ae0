"""``numaplace-agent``: run the agent, or check its configuration and its host without running it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from node_agent.configured import Configured, from_json, to_json
from node_agent.exits import EXIT_CONFIGURATION, EXIT_FAILED, HELP, StartError
from node_agent.launch import become_agent
from node_agent.settings import AgentSettings
from numaplace import __version__
from numaplace.configuration import load_settings
from numaplace.configured import ConfigurationError
from numaplace.epilog import epilog

app = typer.Typer(
    name="numaplace-agent",
    help="The agent of one host: notices when a task's CPUs change nodes, and brings its pages after it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=epilog(("numaplace-agent probe", "numaplace-agent run --cgroup-root /slurm --mode observe"), HELP),
)

Config = Annotated[
    Path | None, typer.Option("--config", "-c", envvar="NUMAPLACE_AGENT_CONFIG", help="TOML file; see docs/agent.md.")
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
            "numaplace-agent run --scheduler sched1:7700 --cgroup-root /slurm",
            "numaplace-agent run --cgroup-root /jobs --mode observe      (alone; decide, but move nothing)",
            "numaplace-agent run --config /etc/numaplace/agent.toml",
        ),
        HELP,
    )
)
def run(  # noqa: PLR0917 - typer passes by keyword
    config: Config = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="The scheduler; without one the agent follows alone.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="This host's name in the cluster; its node name by default.")] = None,
    cgroup_root: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Follow every cgroup below this one; may be repeated.")
    ] = None,
    command: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Follow processes of this command; may be repeated.")
    ] = None,
    user: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Follow processes of this user; may be repeated.")
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help="Default policy while alone: at-once, later, never or observe.")
    ] = None,
    socket: Annotated[Path | None, typer.Option(help="The local Unix socket.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Folder of the journal.")] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="CA certificate of the cluster (PEM).")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="This host's certificate (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Allow plaintext to a scheduler beyond loopback.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Run the agent until SIGTERM."""
    flags: dict[str, Any] = {
        "scheduler": scheduler,
        "host": host,
        "socket": socket,
        "state_dir": state_dir,
        "follow": {
            "cgroup_roots": cgroup_root or None, "commands": command or None, "users": user or None,
        },
        "policy": {"mode": mode},
        "tls": {"ca": tls_ca, "certificate": tls_cert, "key": tls_key, "insecure": insecure},
        "log": {"level": log_level},
    }  # fmt: skip
    settings = to_json(_settings(config, flags).model_dump())
    try:
        become_agent(settings)
    except OSError as error:
        typer.echo(f"numaplace-agent: cannot go on as the agent: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from error


@app.command("check-config", epilog=epilog(("numaplace-agent check-config --config /etc/numaplace/agent.toml",), HELP))
def check_config(config: Config = None) -> None:
    """Read the configuration as run would, and print it."""
    from node_agent.bootstrap import endpoint_of  # noqa: PLC0415 - `run` does without: it begins anew

    settings = _settings(config, {})
    try:
        endpoint_of(_plain(settings))
    except ConfigurationError as error:
        typer.echo(f"numaplace-agent: {error}", err=True)
        raise typer.Exit(EXIT_CONFIGURATION) from error
    typer.echo(settings.model_dump_json(indent=2))


@app.command(epilog=epilog(("sudo numaplace-agent probe",), HELP))
def probe(config: Config = None) -> None:
    """Say what the agent can and cannot do on this host, and what to change."""
    from node_agent.bootstrap import describe_host  # noqa: PLC0415 - `run` does without: it begins anew

    settings = _settings(config, {})
    try:
        for line in describe_host(_plain(settings)):
            typer.echo(line)
    except StartError as error:
        typer.echo(f"numaplace-agent: {error}", err=True)
        raise typer.Exit(error.exit_code) from error


def _plain(settings: AgentSettings) -> Configured:
    """The settings as the agent gets them."""
    return from_json(to_json(settings.model_dump()))


def _settings(config: Path | None, flags: dict[str, Any]) -> AgentSettings:
    try:
        return load_settings(AgentSettings, config, flags)
    except ConfigurationError as error:
        typer.echo(f"numaplace-agent: {error}", err=True)
        raise typer.Exit(EXIT_CONFIGURATION) from error


def main() -> None:
    """Entry point of ``numaplace-agent``."""
    app()
