"""Completion as a system package installs it: the scripts that typer gives, to be loaded by the shells themselves."""

from collections.abc import Iterator
from pathlib import Path

from typer.testing import CliRunner

from tools.reference.programs import Program

_FOLDERS = {
    "bash": "bash-completion/completions/{}",
    "zsh": "zsh/site-functions/_{}",
    "fish": "fish/vendor_completions.d/{}.fish",
}


def scripts_of(program: Program) -> Iterator[tuple[Path, str]]:
    """Where below share/ each shell looks for it, and what it finds there."""
    for shell, place in _FOLDERS.items():
        variable = f"_{program.name.upper().replace('-', '_')}_COMPLETE"
        told = CliRunner().invoke(program.app, env={variable: f"source_{shell}"}, prog_name=program.name)
        script = told.stdout.strip() + "\n"
        yield Path(place.format(program.name)), _autoloaded(script, program.name) if shell == "zsh" else script


def _autoloaded(script: str, name: str) -> str:
    """Zsh runs a file of its function path as the function, at the first completion: it must complete at once."""
    body, compdef, rest = script.rpartition("\ncompdef ")
    if not compdef:
        raise ValueError(f"typer's script for zsh no longer ends in compdef: {script}")
    function = rest.split()[0]
    return f'{body}\nif [ "$funcstack[1]" = "_{name}" ]; then\n  {function} "$@"\nelse\n  compdef {rest.strip()}\nfi\n'
