"""The `numaplace` command, and the bars that the demo shares with it (:mod:`numaplace.cli.bars`)."""

from numaplace.cli.entry import main

__all__ = ["main"]
