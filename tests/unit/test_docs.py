"""What the pages under docs/ say is what the code does: their tables and examples are read and tried."""

import io
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import typer
import typer.main

from node_agent.settings import AgentSettings
from numaplace.cli import exits, main
from numaplace.cli.run import add_to
from numaplace.configuration import ServiceSettings, load_settings
from numaplace.doctor import Facts, diagnose
from numaplace.doctor.company import RIVALS
from numaplace.model.ids import NodeId
from numaplace.model.move import REMEDY
from numaplace.model.picture import MappedPages, MappingKind, Picture, Remote, ShownProcess, ThreadPlace
from numaplace.model.worth import Reason
from numaplace.pagelog import Place, read_log
from numaplace.pagelog.perf_script import FIELDS
from numaplace.profile.choose import METHODS
from scheduler.settings import SchedulerSettings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "protos" / "README.md", ROOT / "tests" / "README.md", *sorted(DOCS.glob("*.md"))]


def _block(page: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def _blocks(page: str) -> list[str]:
    return re.findall(r"```\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


@pytest.mark.parametrize(("page", "kind"), [("agent.md", AgentSettings), ("scheduler.md", SchedulerSettings)])
def test_the_settings_of_an_example_are_all_known(page: str, kind: type[ServiceSettings], tmp_path: Path) -> None:
    """The TOML example is a configuration that the service takes, and names every section."""
    example = _block(page, "toml")
    file = tmp_path / "example.toml"
    file.write_text(example)
    load_settings(kind, file, {})
    sections = {name for name, value in load_settings(kind, None, {}).model_dump().items() if isinstance(value, dict)}
    assert sections - set(tomllib.loads(example)) <= {"log"}


def test_every_reason_to_stay_has_its_remedy_on_the_page() -> None:
    """The table of what stays is that of the code, word for word."""
    page = (DOCS / "how-pages-move.md").read_text()
    for reason, words in REMEDY.items():
        assert f"| `{reason.value}` | {words} |" in page


def test_every_reason_not_to_move_is_named() -> None:
    """Whoever reads a reason in explain finds it in scheduler.md."""
    page = (DOCS / "scheduler.md").read_text()
    unnamed = {reason.value for reason in Reason if f"`{reason.value}`" not in page}
    assert unnamed <= {Reason.WORTH_IT.value, Reason.UNKNOWN_RESIDENCY.value}


def test_every_exit_code_of_the_command_is_on_the_page() -> None:
    """And no other: scripts rely on them."""
    rows = re.findall(r"^\| (\d+) \|", (DOCS / "by-hand.md").read_text(), re.MULTILINE)
    assert {int(row) for row in rows} == {
        value for name, value in vars(exits).items() if name.isupper() and name != "HELP"
    }


def test_examples_of_moves_by_hand_are_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Each option that an example gives is one that the command has."""
    lines = re.findall(r"numaplace (move|cpuset \w+) ([^#|\n]*)", "\n".join(_blocks("by-hand.md")))
    assert len(lines) >= 10
    for command, arguments in lines:
        with pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        known = capsys.readouterr().out
        for option in re.findall(r"--[a-z-]+", arguments):
            assert option in known, f"{command} {arguments}"


def test_every_word_of_the_doctor_is_on_its_page() -> None:
    """Whoever finds a word in a script finds its meaning."""
    words = {finding.word for finding in diagnose(Facts())} | {f"rival-{name}" for name in RIVALS}
    page = (DOCS / "doctor.md").read_text()
    assert {word for word in words if f"`{word}`" not in page} == set()


def test_every_option_of_run_is_on_its_page() -> None:
    """The long one, and the short one that numactl has for it."""
    page = (DOCS / "run.md").read_text()
    app = typer.Typer(add_completion=False)
    add_to(app)
    declared = [option for parameter in typer.main.get_command(app).params for option in parameter.opts]
    options = [option for option in declared if option.startswith("-")]
    assert {"--cpunodebind", "-N", "--follow"} <= set(options)
    assert [option for option in options if not re.search(rf"(?<![-\w]){option}(?![-\w])", page)] == []


@pytest.mark.parametrize("kind", [Picture, ShownProcess, ThreadPlace, MappedPages, Remote])
def test_every_field_of_a_picture_is_on_its_page(kind: type) -> None:
    """Programs that read `numaplace show --json` find each name in show.md."""
    page = (DOCS / "show.md").read_text()
    assert {field.name for field in fields(kind) if f"`{field.name}`" not in page} == set()


def test_every_kind_of_mapping_is_on_its_page() -> None:
    """Its word is what --json says."""
    page = (DOCS / "show.md").read_text()
    assert f"({', '.join(kind.value for kind in MappingKind)})" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links and pictures exist."""
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_page_of_profiles_names_every_method_and_its_log_is_one() -> None:
    """Its table has a row for each method, and the log that it shows can be read."""
    page = (DOCS / "profile.md").read_text()
    assert re.findall(r"^\| `([a-z][a-z-]+)` \|", page, re.MULTILINE) == list(METHODS)
    place = Place(4096, frozenset({NodeId(0), NodeId(1)}), {})
    assert read_log(io.BytesIO(_block("profile.md", "csv").encode()), place).pages == 2
    assert FIELDS in page
