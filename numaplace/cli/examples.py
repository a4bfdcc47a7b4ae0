"""The end of a command's help: examples that can be copied, then the exit codes."""

from numaplace.cli import exits
from numaplace.epilog import epilog


def examples(*lines: str) -> str:
    """The epilog of a command's help."""
    return epilog(lines, exits.HELP)
