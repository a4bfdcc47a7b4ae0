"""How a running move is shown: a bar on a terminal, a line at each tenth elsewhere, nothing beside JSON.

All of it goes to standard error: standard output is for the account.
"""

import sys

from rich.console import Console
from rich.live import Live
from rich.text import Text

from numaplace.cli import output, units
from numaplace.cli.bars import left_line, progress_line
from numaplace.model.move import MoveProgress

_STOPPING = "stopping after the current batch; once more to leave at once"
_BAR_CELLS = 24


class Silent:
    """Shows nothing: the reader is a program."""

    def progress(self, progress: MoveProgress) -> None:
        """It has come so far."""

    def stopping(self) -> None:
        """It was asked to end."""

    def waiting(self, words: str) -> None:
        """Somebody else moves these pages just now."""

    def close(self) -> None:
        """The move has ended."""


class Lines:
    """A line when another tenth has gone, so that the log of a long move stays short."""

    def __init__(self) -> None:
        self._tenth = 0

    def progress(self, progress: MoveProgress) -> None:
        """It has come so far."""
        tenth = int(10 * done_part(progress))
        if tenth > self._tenth:
            self._tenth = tenth
            _say(progress_words(progress))

    def stopping(self) -> None:
        """It was asked to end."""
        _say(_STOPPING)

    def waiting(self, words: str) -> None:
        """Somebody else moves these pages just now."""
        _say(words)

    def close(self) -> None:
        """The move has ended."""


class Bar:
    """One line that is drawn again and again, and goes with the move's end."""

    def __init__(self, to: Console) -> None:
        self._ascii_only = output.is_ascii(to)
        self._live = Live(console=to, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._notice = ""
        self._line = Text("finding the pages")
        self._live.start()
        self._draw()

    def progress(self, progress: MoveProgress) -> None:
        """It has come so far."""
        bar = progress_line(progress, cells=_BAR_CELLS, ascii_only=self._ascii_only)
        self._line = Text.assemble(bar, rest_words(progress))
        self._draw()

    def stopping(self) -> None:
        """It was asked to end."""
        self._notice = f"  {_STOPPING}"
        self._draw()

    def waiting(self, words: str) -> None:
        """Somebody else moves these pages just now."""
        self._line = Text(words)
        self._draw()

    def close(self) -> None:
        """The move has ended."""
        self._live.stop()

    def _draw(self) -> None:
        self._live.update(Text.assemble(self._line, self._notice), refresh=True)


def done_part(progress: MoveProgress) -> float:
    """How much of it is done, from 0 to 1."""
    total = progress.moved_bytes + progress.todo_bytes
    return progress.moved_bytes / total if total else 1.0


def progress_words(progress: MoveProgress) -> str:
    """How far it is, in a line."""
    moved, total = units.size(progress.moved_bytes), units.size(progress.moved_bytes + progress.todo_bytes)
    return f"moved {moved} of {total} at {units.pace(progress.pace_bytes_per_s)}{rest_words(progress)}"


def rest_words(progress: MoveProgress) -> str:
    """What is still to come, and what will stay; nothing where nothing can be said."""
    words = ""
    if progress.todo_bytes and progress.pace_bytes_per_s > 0:
        words += f", {units.duration(progress.todo_bytes / progress.pace_bytes_per_s)} to go"
    return f"{words}; will stay: {left_line(progress.left)}" if progress.left else words


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


def view(*, as_json: bool) -> Silent | Lines | Bar:
    """What fits whoever reads."""
    if as_json:
        return Silent()
    to = Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=False)
    return Bar(to) if to.is_terminal else Lines()
