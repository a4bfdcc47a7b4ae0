"""One look, shown. In its plainest form, `numaplace show TARGET` and flags, it is done without the parser.

The parser and what it loads take several times as long to start as a look takes: a person who looks once should not
wait for them. What else is on the line, wrong words too, is the parser's.
"""

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from numaplace.cli import output
from numaplace.cli.looked import looked_at
from numaplace.cli.places import AGENT_SOCKET
from numaplace.model.picture import Picture

if TYPE_CHECKING:
    from rich.console import RenderableType

PLAIN_FLAGS: Mapping[str, str] = {
    "--threads": "threads",
    "-t": "threads",
    "--all": "every",
    "-a": "every",
    "--json": "as_json",
}
"""Flags of the command by the names of its parameters."""


def shown_plainly(words: Sequence[str]) -> bool:
    """Do what a command line says if it is the plainest `show`; raises exits.Failure."""
    named = [word for word in words if word not in PLAIN_FLAGS]
    if len(named) != 2 or named[0] != "show" or words[0] != "show" or named[1].startswith("-"):  # noqa: PLR2004
        return False
    if any(name.startswith("_NUMAPLACE") or name == "NUMAPLACE_SOCKET" for name in os.environ):
        return False  # a shell that completes, or another socket
    flags = {PLAIN_FLAGS[word] for word in words if word in PLAIN_FLAGS}
    show_once(named[1], AGENT_SOCKET, threads="threads" in flags, every="every" in flags, as_json="as_json" in flags)
    return True


def show_once(target: str, socket: Path, *, threads: bool, every: bool, as_json: bool) -> None:
    """Look once and show it; raises exits.Failure."""
    if as_json:
        output.show_json(looked_at(target, socket, threads=threads))
        return
    # While the kernel walks page tables, rich is loaded.
    loading = threading.Thread(target=_load, daemon=True)
    loading.start()
    found = looked_at(target, socket, threads=threads)
    loading.join()
    output.show(picture_of(found, every=every))


def picture_of(found: Picture, *, every: bool) -> "RenderableType":
    """A look, drawn for standard output."""
    from numaplace.cli import picture  # noqa: PLC0415 - only now is rich worth its 0.03 s

    to = output.console()
    return picture.picture(found, columns=to.width, every=every, ascii_only=output.is_ascii(to))


def _load() -> None:
    """Load what draws."""
    from numaplace.cli import picture  # noqa: F401, PLC0415 - for the modules that it needs
