"""Which agent a command gets that needs one: the host's, the one that is named, or one of its own."""

import platform
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer

from numaplace.cli import connect, exits
from numaplace.cli.connect import needs_agent
from tests.fakes import samples, services
from tests.fakes.services import Machine

if TYPE_CHECKING:
    from numaplace.client import AgentClient


@needs_agent
def say_host(client: "AgentClient", *, loudly: bool = False) -> None:
    """Say whose agent it is."""
    host = client.status().host
    typer.echo(host.upper() if loudly else host)


@pytest.fixture
def app() -> typer.Typer:
    """A command that needs an agent."""
    made = typer.Typer(pretty_exceptions_enable=False)
    made.command()(say_host)
    return made


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the host's agent listens, if there is one."""
    monkeypatch.delenv("NUMAPLACE_SOCKET", raising=False)
    monkeypatch.setattr(connect, "AGENT_SOCKET", tmp_path / "usual.sock")
    return tmp_path / "usual.sock"


@pytest.fixture
def named(tmp_path: Path) -> Iterator[Path]:
    """A fake agent's socket; its host is alpha."""
    machine: Machine = samples.machine()
    with services.agent(machine, tmp_path / "named.sock") as at:
        yield at


def ran(app: typer.Typer, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says."""
    app(list(arguments), standalone_mode=False)
    return capsys.readouterr().out.strip()


def test_the_hosts_agent_is_taken_if_it_listens(
    app: typer.Typer, capsys: pytest.CaptureFixture[str], named: Path, usual: Path
) -> None:
    """Where it always listens; the command's own options stay its own."""
    usual.symlink_to(named)
    assert ran(app, capsys) == "alpha"
    assert ran(app, capsys, "--loudly") == "ALPHA"


def test_without_one_the_command_has_its_own(app: typer.Typer, capsys: pytest.CaptureFixture[str], usual: Path) -> None:
    """Also where an agent that was killed has left its socket."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(usual))
    assert ran(app, capsys) == platform.node()


def test_an_agent_that_is_named_is_the_one_that_is_meant(
    app: typer.Typer, capsys: pytest.CaptureFixture[str], named: Path, usual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By option or by environment; if it does not answer, nobody else is asked."""
    del usual
    assert ran(app, capsys, "--socket", str(named)) == "alpha"
    monkeypatch.setenv("NUMAPLACE_SOCKET", str(named))
    assert ran(app, capsys) == "alpha"
    with pytest.raises(exits.Failure) as caught:
        ran(app, capsys, "--socket", str(named.with_name("none.sock")))
    assert caught.value.code == exits.UNREACHABLE
    assert "none.sock" in caught.value.words
    monkeypatch.setenv("NUMAPLACE_SOCKET", str(named.with_name("none.sock")))
    with pytest.raises(exits.Failure):
        ran(app, capsys)
