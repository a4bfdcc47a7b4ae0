"""``python -m tests.bench``."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.bench import cli
from tests.bench.groups import Settings, Tell
from tests.bench.records import AtMost, Record


class FakeGroup:
    """Gives one record without measuring."""

    summary = "a group of a test"

    def __init__(self, ours: float | None) -> None:
        self._ours = ours

    def cases(self, settings: Settings) -> tuple[str, ...]:
        """One case."""
        return tuple(name for name in ("a case",) if settings.wants_case(name))

    def steps(self, settings: Settings) -> int:
        """One step a case."""
        return len(self.cases(settings))

    def run(self, settings: Settings, tell: Tell) -> Iterator[Record]:
        """The record that the test wants."""
        del settings
        tell("a case", 1)
        yield Record("one", "figure", "a case", "s", self._ours, bounds=(AtMost(2),))


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeGroup]:
    """The groups that the command knows; nothing is installed."""
    known = {"one": FakeGroup(1.0), "two": FakeGroup(3.0)}
    monkeypatch.setattr(cli, "all_groups", lambda: known)
    monkeypatch.setattr(cli, "install_missing", lambda: None)
    return known


def call(*arguments: str) -> tuple[int, str]:
    """The exit code and what was printed."""
    result = CliRunner().invoke(cli.app, list(arguments))
    return result.exit_code, result.output


@pytest.mark.usefixtures("groups")
@pytest.mark.parametrize(("group", "code"), [("one", 0), ("two", 1)])
def test_a_missed_bound_is_the_exit_code(group: str, code: int, tmp_path: Path) -> None:
    """Only the asked group is run; its records are written whether they hold or not."""
    results = tmp_path / "results.json"
    assert call("--group", group, "--results", str(results))[0] == code
    assert [row["held"] for row in json.loads(results.read_text())] == [code == 0]


@pytest.mark.usefixtures("groups")
def test_what_is_unknown_is_wrong_usage_and_measures_nothing(tmp_path: Path) -> None:
    """A group or case of no such name, with the names there are."""
    results = tmp_path / "results.json"
    code, text = call("--group", "three", "--results", str(results))
    assert (code, "one, two" in text) == (2, True)
    assert call("--case", "no such", "--results", str(results))[0] == 2
    assert not results.exists()


@pytest.mark.usefixtures("groups")
def test_the_list_measures_nothing(tmp_path: Path) -> None:
    """Groups and cases, and no file."""
    results = tmp_path / "results.json"
    code, text = call("--list", "--results", str(results))
    assert (code, results.exists()) == (0, False)
    assert "one: a group of a test" in text
    assert "  a case" in text
