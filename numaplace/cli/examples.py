"""The end of a command's help: examples that can be copied, then the exit codes."""

from numaplace.cli import exits

_VERBATIM = "\b\n"
"""Tells the help's formatter to keep the lines of a paragraph."""


def examples(*lines: str) -> str:
    """The epilog of a command's help."""
    shown = "\n".join(f"  {line}" for line in lines)
    return f"{_VERBATIM}Examples:\n{shown}\n\n{exits.HELP}"
