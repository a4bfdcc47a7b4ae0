"""`numaplace move --pages`: a log of this very process read and chosen from, and every log that is none refused."""

import io
import json
import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from numaplace.cli.page_choice import told
from numaplace.kernel.topology import read_topology
from numaplace.mempolicy import locate
from numaplace.model.hand import PickedPages
from numaplace.pagelog import PageLog, Picking, Skip
from tests.fakes import samples
from tests.fakes.services import Machine
from tests.unit.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("services_env")

PAGE = mmap.PAGESIZE
PID = os.getpid()
HERE = sorted(read_topology().with_memory)


@pytest.fixture
def machine() -> Machine:
    """What the fake agent knows: this process, and a move of it that leaves nothing."""
    machine = samples.machine()
    machine.shown[PID] = machine.shown[4711]
    machine.story = [samples.ORDER, samples.OUTCOME]
    return machine


@pytest.fixture
def absent() -> Iterator[int]:
    """The address of memory of ours that was never touched, so that it lies nowhere."""
    with mmap.mmap(-1, 8 * PAGE) as area:
        yield _address(area)


def _address(area: mmap.mmap) -> int:
    import ctypes  # noqa: PLC0415 - for this alone

    view = (ctypes.c_char * len(area)).from_buffer(area)
    try:
        return ctypes.addressof(view)
    finally:
        del view


def log(folder: Path, *rows: tuple[object, ...], header: str = "address,node,weight") -> str:
    """A log as a file."""
    file = folder / "pages.csv"
    file.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return str(file)


def move(run: Run, file: str, *more: str) -> tuple[int, str, str]:
    """Run the command: code, output, words."""
    ended = run("move", "--pid", str(PID), "--pages", file, *more)
    return ended.code, ended.out, ended.err


def test_pages_go_hottest_first_within_the_budget(run: Run, machine: Machine, tmp_path: Path, absent: int) -> None:
    """Each to its node; what the budget does not buy is said; shared ones only on request."""
    node = HERE[0]
    file = log(tmp_path, (hex(absent), node, 1), (absent + PAGE, node, 9), (absent + 2 * PAGE, node, 5))
    code, _, err = move(run, file, "--budget", str(2 * PAGE), "--shared")
    assert code == 5
    what = machine.by_hand[0][0]
    assert what == PickedPages((absent + PAGE, absent + 2 * PAGE), (node, node), shared=True)
    assert err.startswith("3 records of 3 pages: 2 pages to move, 8.0 KiB, 1 are beyond the budget\n")
    move(run, file)
    what = machine.by_hand[1][0]
    assert isinstance(what, PickedPages)
    assert (what.addresses[0], what.shared) == (absent + PAGE, False)


def test_a_log_comes_by_a_pipe_too(run: Run, machine: Machine, absent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `numaplace profile` writes it."""
    lines = io.BytesIO(json.dumps({"address": absent, "node": HERE[0]}).encode() + b"\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(lines))
    assert move(run, "-")[0] == 5
    assert machine.by_hand[0][0] == PickedPages((absent,), (HERE[0],))


def test_pages_that_lie_where_they_should_are_left_in_peace(run: Run, machine: Machine, tmp_path: Path) -> None:
    """Nothing is asked for, and that is no failure."""
    with mmap.mmap(-1, PAGE) as area:
        area[0] = 1
        address = _address(area)
        file = log(tmp_path, (address, locate([address])[0], 1))
        code, out, err = move(run, file)
        assert (code, out) == (0, "nothing to move\n")
        assert err == "1 records of 1 page: 0 pages to move, 0 B, 1 lie where they should\n"
        assert json.loads(move(run, file, "--json")[1])["moved_bytes"] == 0
    assert machine.by_hand == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the log is empty"),
        ("\x00\x01 rubbish \xff", "line 1"),
        ("address,node\n", "it has no records"),
        ("address,node\nhere,0\n", "line 2"),
        ("address,node\n4096,999\n", "line 2: this host has no node 999"),
        ("address,node,pid\n4096,0,1\n", "1 of another process"),
        ("address,node\n0xffffffff81000000,0\n", "1 kernel addresses"),
        ('{"address": 4096', "line 1"),
    ],
    ids=range(8),
)
def test_a_log_that_is_none_is_one_line(run: Run, machine: Machine, tmp_path: Path, content: str, words: str) -> None:
    """Wrong usage, with the file and the line, and nothing is asked for."""
    file = tmp_path / "pages.csv"
    file.write_bytes(content.encode("latin-1"))
    code, out, err = move(run, str(file))
    assert (code, out) == (2, "")
    assert err.startswith(f"numaplace: {file}: ")
    assert words in err
    assert err.count("\n") == 1
    assert machine.by_hand == []


def test_a_log_of_too_many_pages_needs_a_budget(
    run: Run, tmp_path: Path, absent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words say which option."""
    monkeypatch.setattr("numaplace.model.hand.PICKED_PAGES_MAX", 1)
    file = log(tmp_path, (absent, HERE[0], 1), (absent + PAGE, HERE[0], 1))
    code, _, err = move(run, file)
    assert code == 2
    assert "2 pages are too many for a move" in err
    assert "--budget 1G" in err


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        (("--pid", str(PID), "--pages", "/nowhere.csv"), 2, "/nowhere.csv cannot be read: No such file"),
        (("--pid", str(PID), "--pages", "/"), 2, "/ cannot be read"),
        (("--cgroup", "/a", "--pages", "-"), 2, "give --pid"),
        (("--pid", str(PID), "--pages", "-", "--to", "0"), 2, "leave out --from and --to"),
        (("--pid", str(PID), "--pages", "-", "--budget", "much"), 2, "--budget: not a size"),
        (("--pid", str(PID), "--to", "0", "--budget", "1G"), 2, "belong to --pages"),
        (("--pid", str(PID), "--to", "0", "--shared"), 2, "belong to --pages"),
        (("--pid", "4194303", "--pages", "-"), 4, "4194303"),
    ],
    ids=str,
)
def test_what_cannot_be_meant(run: Run, wrong: tuple[str, ...], code: int, words: str) -> None:
    """One line each."""
    ended = run("move", *wrong)
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err
    assert ended.err.count("\n") == 1


def test_what_was_passed_over_is_counted_by_its_reason() -> None:
    """Nothing is dropped in silence."""
    read = PageLog(PAGE, {1 << 16: 1.0}, 9, {Skip.OTHER_PROCESS: 5, Skip.NO_ADDRESS: 3})
    line = told(read, Picking((PAGE,), (samples.N1,), PAGE, 2, 0, 0))
    assert line == (
        "9 records (5 of another process, 3 without a data address passed over) of 1 page: 1 page to move, 4.0 KiB,"
        " 2 are used alike from several nodes"
    )
