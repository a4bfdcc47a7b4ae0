"""The journal: what survives SIGKILL, and what it says when its file cannot be used."""

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from node_agent.linux import journal as journal_module
from node_agent.linux.journal import FINISHED_KEPT, JournalError, SqliteJournal
from numaplace.model.ids import JobId, MoveId
from numaplace.model.move import LeftReason, MoveOutcome, MoveState
from numaplace.model.policy import FollowMode, Policy
from numaplace.model.session import PolicySet
from tests.fakes.agent import T, folder_for_all, order, outcome

BOOT = "boot-1"
ROOT = Path(__file__).parents[3]
RUNS = 6
"""How often the writer is killed."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[SqliteJournal]:
    """A journal, closed at the end."""
    journal = SqliteJournal(path)
    try:
        yield journal
    finally:
        journal.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is to be; the folder is not there yet."""
    return tmp_path / "state" / "journal.sqlite"


@pytest.fixture(autouse=True)
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gives a lock back here, so there is nothing to wait for."""
    monkeypatch.setattr(journal_module, "LOCK_WAIT_S", 0.01)


def test_it_remembers_all_that_it_was_told(path: Path) -> None:
    """Open orders, unacknowledged outcomes, finished ids and policies, over a restart, value for value."""
    policies = PolicySet(Policy(mode=FollowMode.LATER), {JobId("j"): Policy(settle_s=3.0)})
    ended = MoveOutcome(MoveId("m2"), T, MoveState.PARTIAL, "words", left={LeftReason.PINNED: 7}, seconds=1.5)
    with opened(path) as journal:
        empty = journal.remember(BOOT)
        assert (empty.open_moves, empty.outcomes, empty.finished, empty.policies) == ((), (), (), None)
        for move in ("m1", "m2", "m3"):
            journal.accept(order(move))
        journal.finish(ended)
        journal.finish(outcome(order("m3")))
        journal.acknowledge(MoveId("m3"))
        journal.keep_policies(PolicySet())
        journal.keep_policies(policies)
    with opened(path) as journal:
        remembered = journal.remember(BOOT)
    assert remembered.open_moves == (order("m1"),)
    assert remembered.outcomes == (ended,)
    assert remembered.finished == (outcome(order("m3")),)
    assert remembered.policies == policies
    assert remembered.same_boot


def test_an_order_that_was_never_accepted_has_an_outcome_too(path: Path) -> None:
    """A refusal is repeated until acknowledged, over restarts."""
    with opened(path) as journal:
        journal.finish(outcome(order("m"), MoveState.REFUSED))
    with opened(path) as journal:
        assert [each.state for each in journal.remember(BOOT).outcomes] == [MoveState.REFUSED]


def test_acknowledging_an_open_order_forgets_nothing(path: Path) -> None:
    """Only what ended can be forgotten."""
    with opened(path) as journal:
        journal.accept(order("m"))
        journal.acknowledge(MoveId("m"))
        journal.acknowledge(MoveId("never"))
        assert journal.remember(BOOT).open_moves == (order("m"),)


def test_an_id_that_the_core_has_forgotten_begins_anew(path: Path) -> None:
    """The two forget in different orders; the journal must not fail over an id that it still knows."""
    with opened(path) as journal:
        journal.accept(order("m"))
        journal.finish(outcome(order("m")))
        journal.acknowledge(MoveId("m"))
        journal.accept(order("m", home=0))
        assert journal.remember(BOOT).open_moves == (order("m", home=0),)
        journal.finish(outcome(order("m")))
        journal.acknowledge(MoveId("m"))
        journal.finish(outcome(order("m"), MoveState.REFUSED))
        assert [each.state for each in journal.remember(BOOT).outcomes] == [MoveState.REFUSED]


def test_another_boot_is_known_until_its_orders_are_closed(path: Path) -> None:
    """An agent that dies before it has closed an earlier boot's orders finds them as such again."""
    with opened(path) as journal:
        journal.remember(BOOT)
        journal.accept(order("m"))
    for _ in range(2):
        with opened(path) as journal:
            assert not journal.remember("boot-2").same_boot
    with opened(path) as journal:
        journal.remember("boot-2")
        journal.finish(outcome(order("m"), MoveState.FAILED))
        journal.accept(order("n"))
    with opened(path) as journal:
        remembered = journal.remember("boot-2")
    assert remembered.same_boot
    assert remembered.open_moves == (order("n"),)


def test_old_finished_orders_are_pruned_and_nothing_else(path: Path) -> None:
    """The file stays small; open orders and unacknowledged outcomes stay, however old."""
    with opened(path) as journal:
        journal._db.execute("PRAGMA synchronous = OFF")  # this test is about rows
        journal.accept(order("open"))
        journal.finish(outcome(order("unacknowledged")))
        for n in range(FINISHED_KEPT + 50):
            journal.finish(outcome(order(f"m{n}")))
            journal.acknowledge(MoveId(f"m{n}"))
        remembered = journal.remember(BOOT)
    assert [each.id for each in remembered.open_moves] == ["open"]
    assert [each.move for each in remembered.outcomes] == ["unacknowledged"]
    assert [each.move for each in remembered.finished] == [f"m{n}" for n in range(50, FINISHED_KEPT + 50)]


_WRITER = """
import sys
from pathlib import Path
from node_agent.linux.journal import SqliteJournal
from numaplace.model.ids import MoveId
from tests.fakes.agent import order, outcome
journal = SqliteJournal(Path(sys.argv[1]))
journal.remember("boot-1")
for n in range(int(sys.argv[2]), 1_000_000):
    journal.accept(order(f"m{n}"))
    print("accepted", n, flush=True)
    if n % 3:
        journal.finish(outcome(order(f"m{n}")))
        print("finished", n, flush=True)
    if n % 3 == 1:
        journal.acknowledge(MoveId(f"m{n}"))
        print("acknowledged", n, flush=True)
"""


def test_it_survives_sigkill_at_any_moment(path: Path) -> None:
    """Every call that returned is remembered, whenever the process is killed; the file is never damaged."""
    seed = random.randrange(1 << 32)  # noqa: S311 - a moment, not a secret
    chance = random.Random(seed)  # noqa: S311 - a moment, not a secret
    told: dict[str, set[int]] = {"accepted": set(), "finished": set(), "acknowledged": set()}
    first = 0
    for _ in range(RUNS):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path), str(first)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]
        time.sleep(chance.uniform(0, 0.05))  # the moment of the kill is what is tested
        writer.send_signal(signal.SIGKILL)
        lines += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        for line in lines:
            if line.endswith("\n"):
                what, number = line.split()
                told[what].add(int(number))
        first = max(told["accepted"]) + 2
        with opened(path) as journal:
            remembered = journal.remember(BOOT)
        open_now = {int(each.id[1:]) for each in remembered.open_moves}
        outcomes = {int(each.move[1:]) for each in remembered.outcomes}
        finished = {int(each.move[1:]) for each in remembered.finished}
        recent = {n for n in told["acknowledged"] if n > max(told["accepted"]) - FINISHED_KEPT // 2}
        assert told["accepted"] - told["finished"] <= open_now | outcomes | finished, f"seed {seed}"
        assert told["finished"] - told["acknowledged"] <= outcomes | finished, f"seed {seed}"
        assert recent <= finished, f"seed {seed}"
        # The one call that was under way may have been done; what is there now has to stay.
        surplus = [open_now - told["accepted"], outcomes - told["finished"], finished - told["acknowledged"]]
        assert sum(map(len, surplus)) <= 1, f"seed {seed}"
        told["accepted"] |= open_now
        told["finished"] |= outcomes
        told["acknowledged"] |= finished


def test_two_agents_never_share_a_journal(path: Path) -> None:
    """The second is told who has it, and what to do; when the first is gone it may."""
    with opened(path):
        code = "import sys; from pathlib import Path; import node_agent.linux.journal as j; j.LOCK_WAIT_S = 0.01\n"
        code += "try: j.SqliteJournal(Path(sys.argv[1]))\nexcept j.JournalError as error: print(error)"
        second = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=ROOT, check=True
        )
        assert "another agent runs with the same state folder" in second.stdout
        with pytest.raises(JournalError, match="another agent"):
            SqliteJournal(path)
    with opened(path) as journal:
        journal.accept(order("m"))


def test_a_newer_journal_is_left_alone(path: Path) -> None:
    """An older agent does not guess at a newer one's file."""
    with opened(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")
    with pytest.raises(JournalError, match=r"written by a newer agent \(version 2\); upgrade"):
        SqliteJournal(path)


@pytest.mark.parametrize(
    "content", [b"this is no database, and never was" * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_of_something_else_is_told_so(path: Path, content: bytes) -> None:
    """A damaged file is named, with what to do and what is lost by it; it is not touched."""
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"journal\.sqlite.*move the file away"):
        SqliteJournal(path)
    assert path.read_bytes() == content


def test_a_damaged_page_is_found_at_the_start(path: Path) -> None:
    """Damage in the middle is found by looking, not by losing orders later."""
    with opened(path) as journal:
        for n in range(200):
            journal.accept(order(f"m{n}"))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xa5" * (size // 4))
    with pytest.raises(JournalError, match="move the file away"):
        SqliteJournal(path)


def test_a_damaged_value_is_found_when_it_is_read(path: Path) -> None:
    """A row that holds no order is damage too."""
    with opened(path) as journal:
        journal.accept(order("m"))
        journal._db.execute("UPDATE orders SET body = x'ffff'")
        with pytest.raises(JournalError, match="is damaged"):
            journal.remember(BOOT)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The words name the folder and the option for another one."""
    (tmp_path / "state").write_text("a file, not a folder")
    with pytest.raises(JournalError, match=r"state.*--state-dir"):
        SqliteJournal(tmp_path / "state" / "journal.sqlite")


_AS_NOBODY = """
import os, sys
from pathlib import Path
import node_agent.linux.journal as j
import numaplace.wire
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    j.SqliteJournal(Path(sys.argv[1]))
except j.JournalError as error:
    print(error)
"""


def test_a_read_only_folder_is_told() -> None:
    """Root may write anywhere, so another user tries."""
    with folder_for_all() as folder:
        folder.chmod(0o555)
        tried = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, str(folder / "journal.sqlite")],
            capture_output=True, text=True, cwd=ROOT, check=False,
        )  # fmt: skip
        folder.chmod(0o755)
    assert tried.returncode == 0, tried.stderr
    assert "make the folder writable" in tried.stdout


_FILLS_DISK = """
import resource, sys
from pathlib import Path
import node_agent.linux.journal as j
from tests.fakes.agent import order
journal = j.SqliteJournal(Path(sys.argv[1]))
journal.remember("boot-1")
journal.accept(order("first"))
size = 300_000
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
accepted = ["first"]
try:
    for n in range(10_000):
        journal.accept(order(f"m{n}"))
        accepted.append(f"m{n}")
except j.JournalError as error:
    print(error)
print(*accepted)
"""


def test_a_disk_that_takes_no_more_is_told_and_nothing_is_lost(path: Path) -> None:
    """The write that fails says so; all that succeeded before are there afterwards. A file limit stands for a quota."""
    filled = subprocess.run(
        [sys.executable, "-c", _FILLS_DISK, str(path)], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.splitlines()
    assert len(filled) == 2, "the limit was never reached"
    assert "cannot use the journal" in filled[0]
    assert "--state-dir" in filled[0]
    with opened(path) as journal:
        assert {each.id for each in journal.remember(BOOT).open_moves} >= set(filled[1].split())


def test_a_value_that_cannot_be_written_leaves_no_open_transaction_behind(path: Path) -> None:
    """A bug in one order must not hold up, or undo, the next one."""
    with opened(path) as journal:
        with pytest.raises(UnicodeEncodeError):
            journal.accept(order("bad\udcff"))
        journal.accept(order("good"))
    with opened(path) as journal:
        assert [each.id for each in journal.remember(BOOT).open_moves] == ["good"]


def _accept_many(journal: SqliteJournal) -> None:
    for n in range(1000):
        journal.accept(order(f"m{n}"))


def test_a_full_database_gives_advice_and_goes_on_when_there_is_room(path: Path) -> None:
    """SQLite's own limit says full like a disk does; the failed write leaves no open transaction behind."""
    with opened(path) as journal:
        pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
        journal._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(JournalError, match="the disk is full; free space"):
            _accept_many(journal)
        journal._db.execute("PRAGMA max_page_count = 100000")
        journal.accept(order("later"))
        assert "later" in {each.id for each in journal.remember(BOOT).open_moves}
