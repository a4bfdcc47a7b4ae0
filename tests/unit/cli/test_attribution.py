"""Whose migrations the counters count: the agent's last moves, and growth told apart while no move runs."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from numaplace.cli import counters
from numaplace.cli.attribution import Span, Split, Watcher
from numaplace.kernel.vmstat import MigrationCounters
from numaplace.model.ids import MoveId
from numaplace.model.move import CounterAccount, MoveOutcome
from numaplace.model.move import MigrationCounters as Counted
from tests.fakes import samples, services
from tests.unit.cli.conftest import Run

NONE = dict.fromkeys(asdict(Counted()), 0.0)
M1, M2 = MoveId("m-1"), MoveId("m-2")


def at(success: int, failed: int = 0) -> MigrationCounters:
    """What the kernel says."""
    return MigrationCounters(success, failed, 0, 0, 0)


def ended(move: MoveId, ours: Counted | None) -> MoveOutcome:
    """A move that ended with this part of the counters."""
    return replace(samples.OUTCOME, move=move, counters=CounterAccount(Counted(900, 9), ours))


def split(ours: float, others: float, others_failed: float = 0.0) -> Split:
    """Whose pages were migrated."""
    return Split(
        {**NONE, "pgmigrate_success": ours},
        {**NONE, "pgmigrate_success": others, "pgmigrate_fail": others_failed},
    )


def test_without_moves_all_is_others() -> None:
    """From the second look on, as a rate over the time between."""
    span = Span()
    assert span.look(at(1000), 10.0) is None
    assert span.look(at(1600, 4), 12.0) == split(0, 300, 2)
    assert span.look(at(1600, 4), 13.0) == split(0, 0)


def test_nothing_is_told_while_a_move_runs_and_all_of_it_afterwards() -> None:
    """The span then reaches back to the last look without one; the next begins anew."""
    span = Span()
    span.look(at(0), 0.0)
    span.begun(M1)
    assert span.look(at(500), 1.0) is None
    span.begun(M2)
    span.ended(ended(M1, Counted(400)))
    assert span.look(at(800), 2.0) is None
    span.ended(ended(M2, Counted(200)))
    assert span.look(at(1000), 4.0) == split(150, 100)
    assert span.look(at(1010), 5.0) == split(0, 10)


def test_a_move_that_the_trace_did_not_follow_makes_its_span_unknown() -> None:
    """That one and no other."""
    span = Span()
    span.look(at(0), 0.0)
    span.begun(M1)
    span.ended(ended(M1, None))
    assert span.look(at(500), 1.0) is None
    assert span.look(at(600), 2.0) == split(0, 100)


def test_a_move_that_began_before_anybody_watched_is_unknown() -> None:
    """Its counters reach back before the span."""
    span = Span()
    span.look(at(0), 0.0)
    span.ended(ended(M1, Counted(5000)))
    assert span.look(at(100), 1.0) is None
    assert span.look(at(200), 2.0) == split(0, 100)


def test_no_span_begins_in_the_middle_of_a_move() -> None:
    """The first look comes while one runs."""
    span = Span()
    span.begun(M1)
    assert span.look(at(0), 0.0) is None
    span.ended(ended(M1, Counted(50)))
    assert span.look(at(100), 1.0) is None
    assert span.look(at(200), 2.0) == split(0, 100)


def test_what_the_trace_counted_more_is_nobodys() -> None:
    """Trace and counters are not read in one instant: others never migrate less than nothing."""
    span = Span()
    span.look(at(0), 0.0)
    span.begun(M1)
    span.ended(ended(M1, Counted(110)))
    assert span.look(at(100), 1.0) == split(110, 0)


@pytest.fixture
def agent_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - a generator of a path
    """An agent that has moved, and tells of a move; it is heard before the first look."""
    machine = samples.machine()
    machine.ended = [ended(M1, Counted(512, 3, 1, 0, 7)), ended(M2, None)]
    machine.events = [samples.ORDER, samples.PROGRESS, ended(samples.ORDER.id, Counted(300))]
    monkeypatch.setattr(Watcher, "start", Watcher._hear)
    with services.agent(machine, tmp_path / "agent.sock") as socket:
        yield str(socket)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's counters grow by 100 a second; after three looks somebody interrupts."""
    says = iter([at(0), at(100), at(200)])
    clock = iter(range(100))

    def read() -> MigrationCounters:
        try:
            return next(says)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(counters, "read_migration_counters", read)
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))


def test_the_last_moves_are_listed_with_their_own_counters(run: Run, agent_socket: str) -> None:
    """Ours of the host's; a dash where the trace could not tell."""
    ended = run("counters", "--socket", agent_socket)
    assert ended.code == 0
    rows = {line.split()[0]: line for line in ended.out.splitlines() if line.startswith("m-")}
    assert "512 of 900" in rows["m-1"]
    assert "3 of 9" in rows["m-1"]
    assert "7 of 0" in rows["m-1"]
    assert "- of 900" in rows["m-2"]


def test_programs_get_the_moves(run: Run, agent_socket: str) -> None:
    """Beside the kernel's names, which stay where they were."""
    found = json.loads(run("counters", "--json", "--socket", agent_socket).out)
    assert isinstance(found["pgmigrate_success"], int)
    assert [move["move"] for move in found["moves"]] == ["m-1", "m-2"]
    assert found["moves"][0]["counters"]["ours"]["thp_migration_split"] == 7


@pytest.mark.usefixtures("looks")
def test_watching_adds_moves_as_they_end(run: Run, agent_socket: str) -> None:
    """Once each; whose the growth is stays unsaid when the agent has gone."""
    lines = [
        json.loads(line) for line in run("counters", "--watch", "--json", "--socket", agent_socket).out.splitlines()
    ]
    assert [[move["move"] for move in line["moves"]] for line in lines] == [["m-1"], []]
    assert [line["per_second"]["pgmigrate_success"] > 0 for line in lines] == [True, True]
    assert [line["ours_per_second"] for line in lines] == [None, None]


@pytest.mark.usefixtures("looks")
def test_watching_in_a_pipe_lists_moves_below(run: Run, agent_socket: str) -> None:
    """Under the look at which they were heard of."""
    out = run("counters", "--watch", "--socket", agent_socket).out
    assert out.count("300 of 900") == 1
    assert ["OURS", "OTHERS'"] in [line.split()[4:6] for line in out.splitlines() if line.startswith("COUNTER")]


def test_an_agent_that_does_not_answer_does_not_hide_the_counters(run: Run, tmp_path: Path) -> None:
    """They are the kernel's: one line says what is not shown."""
    ended = run("counters", "--json", "--socket", str(tmp_path / "none.sock"))
    assert ended.code == 0
    assert set(json.loads(ended.out)) == set(asdict(at(0)))
    assert ended.err.count("\n") == 1
    assert "none.sock" in ended.err
