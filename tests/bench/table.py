"""The table that ``make bench`` prints: one line a figure, those that miss their bound in red."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from tests.bench.records import AtMostTimes, Record

MISSED = "bold red"
HELD = "green"


def table(records: Sequence[Record]) -> Table:
    """All records, in their order; a figure's name is told once."""
    made = Table(header_style="bold", expand=False)
    for name in ("figure", "case"):
        made.add_column(name)
    made.add_column("ours", justify="right")
    made.add_column("rivals")
    made.add_column("bound")
    made.add_column("ratio", justify="right")
    made.add_column("")
    before = ""
    for record in records:
        if record.figure != before:
            made.add_section()
        name = record.figure if record.figure != before else ""
        before = record.figure
        style = HELD if record.held else MISSED
        made.add_row(
            name,
            record.case,
            Text(amount(record.ours, record.unit), style),
            "\n".join(f"{rival} {amount(value, record.unit)}" for rival, value in record.rivals.items()),
            Text("\n").join(Text(b.words, MISSED if b in record.missed else "") for b in record.bounds),
            "\n".join(_ratio(record, bound) for bound in record.bounds),
            Text("held" if record.held else "MISSED", style),
        )
    return made


def amount(value: float | None, unit: str) -> str:
    """``2.31 s``; three digits tell enough."""
    return "never" if value is None else f"{value:.3g} {unit}"


def _ratio(record: Record, bound: object) -> str:
    """Ours as a multiple of the rival that the bound names."""
    if not isinstance(bound, AtMostTimes) or record.ours is None:
        return ""
    value = record.rivals.get(bound.rival)
    return f"{record.ours / value:.2f}" if value else ""
