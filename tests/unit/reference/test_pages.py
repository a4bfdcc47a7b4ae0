"""The manual pages: all that the running programs say of themselves, the same wherever they are generated."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from node_agent import exits as agent_exits
from numaplace.cli import exits
from numaplace.epilog import epilog
from tools.reference.pages import Entry, Page, Paragraph, Verbatim, pages_of
from tools.reference.programs import Program, all_programs
from tools.reference.roff import roff

ROOT = Path(__file__).resolve().parents[3]
SHARE = ROOT / "packaging" / "share"
PROGRAMS = {program.name: program for program in all_programs()}


def helps(program: Program, *path: str) -> Iterator[tuple[str, str]]:
    """The name of a command and its help, as the program itself prints it, then those of its commands."""
    told = CliRunner().invoke(program.app, [*path, "--help"], prog_name=program.name, env={"COLUMNS": "200"})
    assert told.exit_code == 0
    yield "-".join((program.name, *path)), told.stdout
    _, _, commands = told.stdout.partition("\nCommands:\n")
    for name in re.findall(r"^  ([a-z][a-z-]*)  ", commands.partition("\n\n")[0], re.MULTILINE):
        yield from helps(program, *path, name)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_command_and_option_of_the_running_program_has_its_place(name: str) -> None:
    """What --help lists is on the page that is checked in, and no page is without a command."""
    told = dict(helps(PROGRAMS[name]))
    for command, help_text in told.items():
        page = (SHARE / "man" / "man1" / f"{command}.1").read_text().replace(r"\-", "-").replace(r"\(aq", "'")
        options = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", help_text, re.MULTILINE)
        assert "--help" in options
        assert [option for option in options if option not in page] == []
        examples = re.search(r"Examples:\n(.*?)\n\n", help_text, re.DOTALL)
        for line in examples[1].splitlines() if examples else []:
            assert line.strip() in page
    ours = {page.name for page in pages_of(PROGRAMS[name])}
    assert ours == set(told)


def _contents(folder: Path) -> dict[Path, str]:
    return {file.relative_to(folder): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_what_is_generated_depends_on_the_source_alone(tmp_path: Path) -> None:
    """Neither on the terminal, nor on who generates it, where, and with which settings."""
    strange = {"COLUMNS": "40", "NUMAPLACE_SCHEDULER": "elsewhere:1", "HOME": str(tmp_path), "STATE_DIRECTORY": "/x"}
    for folder, env in (("one", {}), ("two", strange)):
        command = [sys.executable, "-m", "tools.reference", str(tmp_path / folder)]
        subprocess.run(command, env={**os.environ, **env}, cwd=ROOT, check=True, timeout=120)
    one, two = (
        {
            file.relative_to(tmp_path / folder): file.read_text()
            for file in (tmp_path / folder).rglob("*")
            if file.is_file()
        }
        for folder in ("one", "two")
    )
    assert one == two
    assert len(one) > len(PROGRAMS)


def test_the_wheel_brings_what_is_generated() -> None:
    """Below share/, where man and the shells look."""
    built_from = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert built_from["shared-data"] == {"packaging/share": "share"}
    for place in ("man/man1/numaplace.1", "bash-completion/completions/numaplace", "zsh/site-functions/_numaplace"):
        assert (SHARE / place).is_file()


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("numaplace", {value for key, value in vars(exits).items() if key.isupper() and isinstance(value, int)}),
        ("numaplace-agent", {value for key, value in vars(agent_exits).items() if key.startswith("EXIT_")}),
    ],
)
def test_every_exit_code_is_told(name: str, codes: set[int]) -> None:
    """A script's author finds each code of the source on the page."""
    page = next(iter(pages_of(PROGRAMS[name])))
    assert codes <= {int(entry.term) for entry in page.sections["EXIT STATUS"] if isinstance(entry, Entry)}


def made_up() -> Page:
    """The page of a program that nobody has seen before."""
    app = typer.Typer(rich_markup_mode=None, add_completion=False)

    @app.command(epilog=epilog(("made-up 7  # 'quoted'", ".dot"), "Exit codes: 0 done, 3 gone, or never there."))
    def made_up(
        count: Annotated[int, typer.Argument(help="How many.")],
        depth: Annotated[int, typer.Option(min=1, max=9, envvar="DEPTH", help="How deep.")] = 3,
        secret: Annotated[bool, typer.Option("--secret", hidden=True)] = False,  # noqa: FBT002 - typer calls it
    ) -> None:
        """Do what it does.

        With a second paragraph.
        """

    return next(iter(pages_of(Program("made-up", "something", app))))


def test_a_page_tells_defaults_ranges_variables_and_codes() -> None:
    """From the command alone: a new one needs no word in the generator."""
    sections = made_up().sections
    assert sections["DESCRIPTION"] == (Paragraph("Do what it does."), Paragraph("With a second paragraph."))
    assert Entry("--depth <int range>", "How deep. Environment: DEPTH. Default: 3. 1<=x<=9.") in sections["OPTIONS"]
    assert sections["ARGUMENTS"] == (Entry("count <int>", "How many. Required."),)
    assert sections["EXIT STATUS"] == (Entry("0", "Done."), Entry("3", "Gone, or never there."))
    assert sections["ENVIRONMENT"] == (Entry("DEPTH", "As --depth."),)
    assert sections["EXAMPLES"] == (Verbatim(("made-up 7  # 'quoted'", ".dot")),)
    assert "secret" not in roff(made_up())


def test_no_text_is_taken_for_a_request() -> None:
    """Dots and quotes at a line's start, backslashes and what is not ASCII reach the reader."""
    page = Page("x", "y", {"EXAMPLES": (Verbatim((".so /etc/passwd", r"a\b", "'q", "…")),)})
    lines = roff(page).splitlines()
    assert lines[-5:-1] == [r"\&.so /etc/passwd", r"a\eb", r"\(aqq", r"\[u2026]"]
    assert all(line.isascii() for line in lines)


def test_every_installed_program_is_documented() -> None:
    """One program for each entry point."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == set(PROGRAMS)
