"""Connection options, added to every command that needs them, and failures turned into exit codes.

A command is a function whose first parameter is a client. :func:`asks_scheduler`, :func:`asks_agent` and
:func:`needs_agent` replace that parameter by the options that say where the service is. gRPC is imported when a call is
made, not when help is shown.
"""

import errno
import inspect
import socket as sockets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, cast

import typer

from numaplace.cli import exits
from numaplace.cli.places import AGENT_SOCKET, SCHEDULER

if TYPE_CHECKING:
    from numaplace.client import AgentClient, SchedulerClient

P = ParamSpec("P")

Socket = Annotated[
    Path, typer.Option(metavar="PATH", envvar="NUMAPLACE_SOCKET", help="The socket of this host's agent.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, with exact bytes.")]
OptionalSocket = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        envvar="NUMAPLACE_SOCKET",
        help="The socket of this host's agent, which is asked if it is there.",
        show_default=str(AGENT_SOCKET),
    ),
]
AnySocket = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        envvar="NUMAPLACE_SOCKET",
        help="The socket of this host's agent; without an agent there, a private one is started for the command.",
        show_default=str(AGENT_SOCKET),
    ),
]


def _reach_scheduler(
    *,
    scheduler: Annotated[
        str, typer.Option(metavar="HOST:PORT", envvar="NUMAPLACE_SCHEDULER", help="Where the scheduler listens.")
    ] = SCHEDULER,
    tls_ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", envvar="NUMAPLACE_TLS_CA", help="Who vouches for the scheduler (PEM)."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", envvar="NUMAPLACE_TLS_CERT", help="Our certificate (PEM).")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", envvar="NUMAPLACE_TLS_KEY", help="Our certificate's key (PEM).")
    ] = None,
    tls_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", envvar="NUMAPLACE_TLS_NAME", help="The name in the scheduler's certificate."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", envvar="NUMAPLACE_INSECURE", help="Allow plaintext to another machine.")
    ] = False,
) -> "SchedulerClient":
    from numaplace.client import SchedulerClient, Tls  # noqa: PLC0415 - only now is gRPC worth its 0.1 s

    tls = Tls(tls_ca, tls_cert, tls_key, tls_name) if tls_ca or tls_cert or tls_key or tls_name else None
    return SchedulerClient(scheduler, tls=tls, insecure=insecure)


def _reach_agent(socket: Socket = AGENT_SOCKET) -> "AgentClient":
    from numaplace.client import AgentClient  # noqa: PLC0415 - only now is gRPC worth its 0.1 s

    return AgentClient(socket)


def _reach_any_agent(socket: AnySocket = None) -> "AbstractContextManager[AgentClient]":
    from numaplace.client import AgentClient  # noqa: PLC0415 - only now is gRPC worth its 0.1 s
    from numaplace.client.private import private_agent  # noqa: PLC0415 - the same

    found = agent_to_ask(socket)
    return private_agent() if found is None else AgentClient(found)


def agent_to_ask(named: Path | None) -> Path | None:
    """The socket of the agent to ask: the named one, the host's if it listens, or None where a private one is due."""
    if named is not None:  # whoever names an agent means that one
        return named
    return AGENT_SOCKET if _answers(AGENT_SOCKET) else None


def _answers(path: Path) -> bool:
    """Whether somebody listens at a Unix socket: known at once, without a word spoken."""
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM | sockets.SOCK_NONBLOCK) as probe:
        # Where so many wait that there is no room for us (EAGAIN), somebody is there.
        return probe.connect_ex(str(path)) in {0, errno.EAGAIN}


def asks_scheduler(command: Callable[Concatenate["SchedulerClient", P], None]) -> Callable[..., None]:
    """Give the command a client of the scheduler, and its users the options to say which."""
    return _asks(command, _reach_scheduler)


def asks_agent(command: Callable[Concatenate["AgentClient", P], None]) -> Callable[..., None]:
    """Give the command a client of this host's agent, and its users the option to say which."""
    return _asks(command, _reach_agent)


def needs_agent(command: Callable[Concatenate["AgentClient", P], None]) -> Callable[..., None]:
    """Give the command a client of this host's agent, or of a private one where the host has none.

    An agent that its user names, by --socket or NUMAPLACE_SOCKET, is the only one that is asked.
    """
    return _asks(command, _reach_any_agent)


def scheduler_named(so_far: Mapping[str, Any]) -> "SchedulerClient":
    """A client of the scheduler that the options written so far name."""
    return cast("SchedulerClient", _named(_reach_scheduler, so_far))


def agent_named(so_far: Mapping[str, Any]) -> "AgentClient":
    """A client of the agent that the options written so far name."""
    return cast("AgentClient", _named(_reach_agent, so_far))


def _named(reach: Callable[..., Any], so_far: Mapping[str, Any]) -> object:
    options = inspect.signature(reach).parameters
    return reach(**{name: value for name, value in so_far.items() if name in options and value is not None})


def _asks(command: Callable[..., None], reach: Callable[..., Any]) -> Callable[..., None]:
    options = inspect.signature(reach).parameters
    own = list(inspect.signature(command).parameters.values())[1:]

    def asked(**given: object) -> None:
        # typer passes a context that is a typer.Context by annotation only.
        context = cast("typer.Context | None", given.get("ctx"))
        if context is not None and context.invoked_subcommand is not None:
            _demand_no_options(context)
            return
        where = {name: given.pop(name) for name in options}
        with failures_as_exits(), reach(**where) as client:
            command(client, **given)

    asked.__name__ = command.__name__
    asked.__doc__ = command.__doc__
    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *options.values())]
    asked.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]  # PEP 362: it overrides what is inspected
    asked.__annotations__ = {p.name: p.annotation for p in keyword}
    return asked


def _demand_no_options(group: typer.Context) -> None:
    """A group whose subcommand runs does nothing itself: an option given to it would be ignored without a word."""
    sources = {name: group.get_parameter_source(name) for name in group.params}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    if given:
        option = given[0].replace("_", "-")
        raise typer.BadParameter(f"options come after the subcommand: {group.invoked_subcommand} --{option} …")


@contextmanager
def failures_as_exits() -> Iterator[None]:
    """Turn what the client raises into exits.Failure."""
    from numaplace import client  # noqa: PLC0415 - only now is gRPC worth its 0.1 s

    try:
        yield
    except client.NotFound as error:
        raise exits.Failure(exits.NOT_FOUND, error.words) from error
    except client.Unavailable as error:
        raise exits.Failure(exits.UNREACHABLE, error.words) from error
    except client.InvalidRequest as error:
        raise exits.Failure(exits.USAGE, error.words) from error
    except client.NumaplaceError as error:
        raise exits.Failure(exits.FAILED, error.words) from error
