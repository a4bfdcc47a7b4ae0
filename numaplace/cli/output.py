"""Where the command writes: tables for people, whole lines in pipes, JSON for programs.

In a pipe nothing is cut to a width that nobody has, nothing is coloured (NO_COLOR holds on terminals too), and what a
process or a peer chose to be called is never read as markup. Rich is loaded when something is drawn: JSON needs it not.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from numaplace.cli import as_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

PIPE_COLUMNS = 100_000
"""Wider than any line: tables take the width of their content."""


def console() -> "Console":
    """The console on standard output."""
    from rich.console import Console  # noqa: PLC0415 - only now is rich worth its 0.03 s

    width = None if sys.stdout.isatty() else PIPE_COLUMNS
    return Console(width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


def is_ascii(to: "Console") -> bool:
    """Whether the terminal cannot show Unicode."""
    return not to.encoding.lower().startswith("utf")


def show(*parts: "RenderableType") -> None:
    """Write for people; in a pipe no line ends in blanks."""
    to = console()
    if to.is_terminal:
        to.print(*parts, sep="\n")
        return
    with to.capture() as written:
        to.print(*parts, sep="\n")
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in written.get().splitlines()))


def show_json(value: object) -> None:
    """Write one answer for programs."""
    sys.stdout.write(_encodable(as_json.text, value) + "\n")


def show_json_line(value: object) -> None:
    """Write one item of a stream for programs, at once."""
    sys.stdout.write(_encodable(as_json.line, value) + "\n")
    sys.stdout.flush()


def _encodable(form: Callable[..., str], value: object) -> str:
    """JSON as standard output can take it: names of files may be bytes of any kind, which then are escaped."""
    written = form(value)
    try:
        written.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return form(value, ascii_only=True)
    return written


def printable(text: str, *, ascii_only: bool) -> str:
    """A name that somebody else chose, as a terminal can show it; `?` for what it cannot."""
    return "".join(c if c.isprintable() and (c.isascii() or not ascii_only) else "?" for c in text)


def shortened(text: str, columns: int, *, ascii_only: bool, keep_end: bool = False) -> str:
    """A text cut to so many columns, its end or its start marked."""
    mark = "..." if ascii_only else "…"
    if len(text) <= columns:
        return text
    kept = max(0, columns - len(mark))
    return mark + text[len(text) - kept :] if keep_end else text[:kept] + mark


def table(columns: Sequence[str], rows: Iterable[Sequence["RenderableType"]], *, right: Iterable[str] = ()) -> "Table":
    """A plain table; the columns named in ``right`` are numbers."""
    from rich.table import Table  # noqa: PLC0415 - the same

    made = Table(box=None, pad_edge=False, header_style="bold")
    numbers = set(right)
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", no_wrap=column in numbers)
    for row in rows:
        made.add_row(*row)
    return made
