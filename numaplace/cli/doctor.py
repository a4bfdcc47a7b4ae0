"""``numaplace doctor``: what this host can and cannot do for memory that shall follow, and what to change."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from numaplace.cli import exits, output
from numaplace.cli.connect import Json, OptionalSocket, agent_to_ask
from numaplace.cli.examples import examples
from numaplace.doctor import Finding, State, Unseen, diagnose, look
from numaplace.doctor.trying import try_all

if TYPE_CHECKING:
    from numaplace.doctor.facts import Seen
    from numaplace.model.session import Abilities

_STYLES = {State.GOOD: "green", State.NOTE: "", State.WARNING: "yellow", State.MISSING: "red"}
OWN_CODE = "6: something is missing without which no pages can be moved here; notes and warnings are 0."


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="What this host can and cannot do, and what to change.",
        epilog=f"{examples('numaplace doctor', 'sudo numaplace doctor', 'numaplace doctor --json')} {OWN_CODE}",
    )(doctor)


def doctor(*, socket: OptionalSocket = None, as_json: Json = False) -> None:
    """Look at this host and this process's rights; nothing is changed.

    Needs neither agent nor root, and says what it could not look at. A finding is good, a note (nothing is wrong), a
    warning (something works less well than it could) or missing (no pages can be moved until it is changed).
    """
    findings = diagnose(look(try_all(), _agent(agent_to_ask(socket))))
    lacking = any(finding.state is State.MISSING for finding in findings)
    if as_json:
        output.show_json(findings)
    else:
        output.show(*(_lines(finding) for finding in findings))
    if lacking:
        raise typer.Exit(exits.LACKING)


def _agent(socket: Path | None) -> "Seen[Abilities | None]":
    """What the host's agent says of itself; None if there is none."""
    if socket is None:
        return None
    from numaplace.client import AgentClient, NumaplaceError  # noqa: PLC0415 - only now is gRPC worth its 0.1 s

    try:
        with AgentClient(socket) as client:
            return client.status().abilities
    except NumaplaceError as error:
        return Unseen(error.words)


def _lines(finding: Finding) -> Text:
    style = _STYLES[finding.state]
    line = Text.assemble((f"{finding.state.value:<8}", style), f"{finding.word}: {finding.words}")
    if finding.remedy:
        line.append(f"\n{'':8}change: {finding.remedy}", style="dim")
    return line
