"""What the pages under docs/ say is what the code does: their tables and examples are read and tried."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from node_agent.settings import AgentSettings
from numaplace.configuration import ServiceSettings, load_settings
from numaplace.model.move import REMEDY
from numaplace.model.picture import MappedPages, MappingKind, Picture, Remote, ShownProcess, ThreadPlace
from numaplace.model.worth import Reason
from scheduler.settings import SchedulerSettings

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "protos" / "README.md", ROOT / "tests" / "README.md", *sorted(DOCS.glob("*.md"))]


def _block(page: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert found is not None
    return found[1]


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
