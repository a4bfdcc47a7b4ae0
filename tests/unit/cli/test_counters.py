"""``numaplace counters``: the kernel's own figures, their growth, and words for each of them."""

import json
from dataclasses import asdict, fields

import pytest

from numaplace.cli import counters
from numaplace.kernel.errors import KernelFormatError
from numaplace.kernel.vmstat import MigrationCounters
from tests.unit.cli.conftest import Run


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[MigrationCounters]:
    """What the kernel says at each look; Ctrl-C when it has no more to say. A second passes between two looks."""
    says: list[MigrationCounters] = []
    clock = iter(range(1000))

    def read() -> MigrationCounters:
        if not says:
            raise KeyboardInterrupt
        return says.pop(0)

    monkeypatch.setattr(counters, "read_migration_counters", read)
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    return says


def test_every_counter_is_shown_with_what_it_means(run: Run, looks: list[MigrationCounters]) -> None:
    """Totals, what each counts, and what a rise should make one do."""
    looks.append(MigrationCounters(512, 3, 1, 0, 7))
    ended = run("counters")
    assert ended.code == 0
    for field, total in asdict(MigrationCounters(512, 3, 1, 0, 7)).items():
        assert any(line.split()[:2] == [field, str(total)] for line in ended.out.splitlines())
        assert f"{field}: " in ended.out
    assert {field.name for field in fields(MigrationCounters)} == set(counters.MEANINGS)


def test_programs_get_the_numbers(run: Run, looks: list[MigrationCounters]) -> None:
    """The kernel's names."""
    looks.append(MigrationCounters(1, 2, 3, 4, 5))
    assert json.loads(run("counters", "--json").out) == asdict(MigrationCounters(1, 2, 3, 4, 5))


def test_watching_tells_the_growth_until_interrupted(run: Run, looks: list[MigrationCounters]) -> None:
    """A line for each look, from the second one on; Ctrl-C is no failure."""
    looks += [MigrationCounters(0, 0, 0, 0, 0), MigrationCounters(600, 0, 1, 0, 0), MigrationCounters(600, 2, 1, 0, 0)]
    ended = run("counters", "--watch", "--json")
    rates = [json.loads(line)["per_second"] for line in ended.out.splitlines()]
    assert ended.code == 0
    assert [(each["pgmigrate_success"], each["pgmigrate_fail"]) for each in rates] == [(600.0, 0.0), (0.0, 2.0)]


def test_watching_in_a_pipe_is_plain_text(run: Run, looks: list[MigrationCounters]) -> None:
    """No screen is taken over."""
    looks += [MigrationCounters(0, 0, 0, 0, 0), MigrationCounters(600, 0, 1, 0, 0)]
    out = run("counters", "--watch").out
    assert "\x1b" not in out
    assert ["pgmigrate_success", "600", "600"] in [line.split()[:3] for line in out.splitlines()]


def test_counters_that_cannot_be_read_are_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a failure."""

    def broken() -> MigrationCounters:
        raise KernelFormatError("/proc/vmstat", "gibberish")

    monkeypatch.setattr(counters, "read_migration_counters", broken)
    ended = run("counters")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "gibberish" in ended.err
