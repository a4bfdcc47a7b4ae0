"""A running move on a terminal: one line that is drawn again, and gone in the end."""

import io

import pytest
from rich.console import Console

from numaplace.cli.views import Bar, Lines, Silent, view
from numaplace.model.move import LeftReason, MoveProgress
from numaplace.model.policy import MIB
from tests.fakes import samples


def progress(moved: int, todo: int) -> MoveProgress:
    """So much of it, in MiB, at 10 MiB/s."""
    left = {LeftReason.PINNED: MIB}
    return MoveProgress(samples.ORDER.id, moved * MIB, todo * MIB, 10.0 * MIB, samples.PAGES, left)


def test_a_bar_tells_bytes_pace_what_is_to_come_and_what_will_stay() -> None:
    """And that it was asked to end; closing it twice does no harm."""
    to = io.StringIO()
    bar = Bar(Console(file=to, force_terminal=True, width=200, color_system=None))
    bar.progress(progress(30, 70))
    bar.stopping()
    bar.waiting("somebody else moves it")
    bar.close()
    bar.close()
    shown = to.getvalue()
    assert "30.0 MiB of 100.0 MiB at 10.0 MiB/s, 7.0 s to go; will stay: 1.0 MiB pinned" in shown
    assert "once more to leave at once" in shown
    assert "somebody else moves it" in shown


def test_who_reads_decides_what_is_shown() -> None:
    """Nothing beside JSON; lines where standard error is no terminal."""
    assert type(view(as_json=True)) is Silent
    assert isinstance(view(as_json=False), Lines)


def test_what_is_done_has_no_more_to_come(capsys: pytest.CaptureFixture[str]) -> None:
    """The last tenth is the whole; nothing to do is all of it."""
    lines = Lines()
    lines.progress(progress(100, 0))
    lines.progress(progress(100, 0))
    lines.waiting("wait")
    lines.close()
    assert capsys.readouterr().err == "moved 100.0 MiB of 100.0 MiB at 10.0 MiB/s; will stay: 1.0 MiB pinned\nwait\n"
