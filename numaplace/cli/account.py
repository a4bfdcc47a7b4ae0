"""The account of a move by hand, and what one would take: for people, and as an exit code."""

import math

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from numaplace.cli import exits, units
from numaplace.cli.bars import left_table, outcome_line
from numaplace.model.hand import Prediction
from numaplace.model.move import CounterAccount, MigrationCounters, MoveOutcome, MoveState

_INDENT = (0, 0, 0, 2)
_UNFINISHED = frozenset({MoveState.CANCELLED, MoveState.SUPERSEDED, MoveState.REFUSED, MoveState.FAILED})


def exit_code(outcome: MoveOutcome, *, interrupted: bool = False) -> int:
    """With what a move by hand ends."""
    if interrupted:
        return exits.INTERRUPTED
    if outcome.state in {MoveState.REFUSED, MoveState.FAILED}:
        return exits.FAILED
    return exits.OK if outcome.state is MoveState.COMPLETED else exits.STAYED


def told(outcome: MoveOutcome) -> list[RenderableType]:
    """The account for people: what moved, by what means, at what price, what stayed and why, where new pages land."""
    lines: list[RenderableType] = [outcome_line(outcome)]
    if outcome.state in _UNFINISHED:
        lines.append(Text(f"  {outcome.words}"))
    if outcome.strategy is not None:
        lines.append(Text(f"  by {outcome.strategy.value}: {outcome.strategy_reason}"))
    if outcome.calls:
        calls = units.counted(outcome.calls, "call", "calls")
        lines.append(Text(f"  {calls}, the longest {outcome.call_ms_max:.1f} ms"))
    if outcome.counters.host != MigrationCounters():
        lines.append(Text(f"  {_counted(outcome.counters)}"))
    if outcome.left:
        lines += [Text("  stayed:"), Padding(left_table(outcome.left), _INDENT, expand=False)]
    if outcome.new_pages:
        lines.append(Text(f"  new pages: {outcome.new_pages}"))
    return lines


def _counted(counters: CounterAccount) -> str:
    """The kernel's counters: ours where the trace tells them apart, else the host's with a word of whose they are."""
    found = counters.ours or counters.host
    whose = "kernel's count of ours" if counters.ours is not None else "kernel's count, all movers of the host together"
    words = f"{found.pgmigrate_success} pages moved, {found.pgmigrate_fail} failed"
    huge = (found.thp_migration_success, found.thp_migration_fail, found.thp_migration_split)
    if any(huge):
        words += f"; of huge ones {huge[0]} moved, {huge[1]} failed, {huge[2]} split"
    return f"{whose}: {words}"


def foretold(prediction: Prediction) -> list[RenderableType]:
    """What a move would take, for people."""
    cost = "in a time that cannot be told before"
    if math.isfinite(prediction.seconds):
        cost = f"in about {units.duration(prediction.seconds)}, longest stall about {prediction.stall_ms:.1f} ms"
    lines: list[RenderableType] = [
        Text(f"would move {units.size(prediction.move_bytes)} {cost}; nothing was moved"),
    ]
    if prediction.strategy is not None:
        lines.append(Text(f"  by {prediction.strategy.value}: {prediction.strategy_reason}"))
    if prediction.left:
        lines += [Text("  would stay:"), Padding(left_table(prediction.left), _INDENT, expand=False)]
    return lines
