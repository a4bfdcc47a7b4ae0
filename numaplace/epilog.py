"""The end of a command's help: examples that can be copied, then its exit codes; manual pages are made from it too."""

_VERBATIM = "\b\n"
"""Tells the help's formatter to keep the lines of a paragraph."""
EXAMPLES = "Examples:"
EXIT_CODES = "Exit codes:"


def epilog(examples: tuple[str, ...], exit_codes: str) -> str:
    """The epilog; ``exit_codes`` is the sentence that begins with EXIT_CODES."""
    shown = "\n".join(f"  {line}" for line in examples)
    return f"{_VERBATIM}{EXAMPLES}\n{shown}\n\n{exit_codes}"
