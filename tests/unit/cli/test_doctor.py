"""``numaplace doctor``: what it prints, how it ends, and whom it asks."""

import json
from pathlib import Path

import pytest

from numaplace.cli import doctor, exits
from numaplace.doctor import Finding, State
from tests.fakes.services import Machine
from tests.unit.cli.conftest import Run

FOUND = (
    Finding("nodes", State.GOOD, "2 nodes with memory"),
    Finding("tracefs", State.WARNING, "tracefs is not mounted", "mount it"),
)
LACKING = Finding("move-pages", State.MISSING, "move_pages is refused", "permit it")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What there is to say."""
    findings = list(FOUND)
    monkeypatch.setattr(doctor, "diagnose", lambda _facts: tuple(findings))
    return findings


def test_a_line_for_each_finding_and_one_for_its_remedy(run: Run, found: list[Finding]) -> None:
    """Warnings are no failure."""
    assert found
    ended = run("doctor")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "good    nodes: 2 nodes with memory",
        "warning tracefs: tracefs is not mounted",
        "        change: mount it",
    ]


def test_what_is_missing_is_told_by_the_exit_code(run: Run, found: list[Finding]) -> None:
    """A code of its own, for people and for programs."""
    found.append(LACKING)
    assert run("doctor").code == run("doctor", "--json").code == exits.LACKING == 6


def test_programs_get_the_words(run: Run, found: list[Finding]) -> None:
    """Word, state, words, remedy."""
    assert found
    assert json.loads(run("doctor", "--json").out) == [
        {"word": "nodes", "state": "good", "words": "2 nodes with memory", "remedy": ""},
        {"word": "tracefs", "state": "warning", "words": "tracefs is not mounted", "remedy": "mount it"},
    ]


def test_the_agent_is_asked_what_it_lacks(run: Run, services_env: dict[str, str], machine: Machine) -> None:
    """Its own remarks, word for word."""
    found = {
        each["word"]: each
        for each in json.loads(run("doctor", "--json", "--socket", services_env["NUMAPLACE_SOCKET"]).out)
    }
    assert found["agent"]["state"] == "good"
    assert found["agent-lacks"]["words"] == machine.status.abilities.remarks[0]


def test_an_agent_that_does_not_answer_is_said(run: Run, tmp_path: Path) -> None:
    """It was named, so it is looked for; the rest is found all the same."""
    ended = run("doctor", "--json", "--socket", str(tmp_path / "none.sock"))
    found = {each["word"]: each for each in json.loads(ended.out)}
    assert found["agent"]["words"].startswith("not looked at: ")
    assert len(found) > 20
    assert "Traceback" not in ended.err
