"""A live view: the same picture again and again, until Ctrl-C or until there is nothing more to see.

On a terminal it has the screen for itself and gives it back, whatever ends it; in a pipe one picture follows the other;
as JSON each look is one line. The first look is made before the screen is taken: what is wrong from the start is said
in its ordinary place.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from numaplace.cli import output
from numaplace.cli.interrupts import handled

if TYPE_CHECKING:
    from rich.console import RenderableType

Look = TypeVar("Look")

Interval = Annotated[float, typer.Option(min=0.1, max=3600, metavar="S", help="Seconds between two looks.")]


def paced(look: Callable[[], Look], interval_s: float) -> Iterator[Look]:
    """A look now, and one after each interval, without end."""
    while True:
        yield look()
        time.sleep(interval_s)


def show_live(
    looks: Iterable[Look],
    picture: Callable[[Look], "RenderableType"],
    *,
    record: Callable[[Look], object] | None = None,
) -> None:
    """Show each look as it is made; with ``record``, what it gives as a line of JSON instead. Ctrl-C ends it.

    So do SIGTERM and SIGHUP, which would else leave a terminal with the wrong screen.
    """
    try:
        with handled(_interrupt):
            _show(iter(looks), picture, record)
    except KeyboardInterrupt:
        return  # this is how a live view ends


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _show(
    looks: Iterator[Look], picture: Callable[[Look], "RenderableType"], record: Callable[[Look], object] | None
) -> None:
    to = output.console()
    if record is not None:
        for look in looks:
            output.show_json_line(record(look))
    elif not to.is_terminal:
        for look in looks:
            output.show(picture(look))
    else:
        from rich.live import Live  # noqa: PLC0415 - only now is rich worth its 0.03 s

        first = next(looks)
        with Live(console=to, screen=True, auto_refresh=False) as live:
            for look in itertools.chain([first], looks):
                live.update(picture(look), refresh=True)
