"""The SQLite store: what it keeps, and what it says when it cannot."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from numaplace.model.ids import HostId, JobId, MoveId, TaskId
from numaplace.model.move import LeftReason, MoveOrder, MoveOutcome, MoveState, Strategy
from numaplace.model.policy import Budget, FollowMode, Policy
from numaplace.model.worth import HostCosts
from scheduler.planning.records import Move, Stage
from scheduler.ports import StoreBusyError, StoreCorruptError, StoreError
from scheduler.state.instructions import (
    ForgetMoves,
    ForgetPolicy,
    StoreCosts,
    StoreInstruction,
    StoreOrder,
    StoreOutcome,
    StorePolicy,
)
from scheduler.store.sqlite import MIGRATIONS, SqliteStore
from tests.unit.scheduler.scene import nodes


class StillClock:
    """A monotonic clock whose zero lay at a given Unix time."""

    def __init__(self, zero_unix_s: float = 1_000_000.0) -> None:
        self._zero = zero_unix_s

    def now_s(self) -> float:
        """Always the same."""
        return 50.0

    def wall_s(self, at_s: float) -> float:
        """Unix time."""
        return at_s + self._zero

    def at_s(self, wall_s: float) -> float:
        """Monotonic time."""
        return wall_s - self._zero


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "scheduler.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """An open store."""
    opened = SqliteStore(path, StillClock())
    yield opened
    opened.close()


def make_move(move: str = "m1") -> Move:
    """An order with every field that is kept."""
    order = MoveOrder(MoveId(move), TaskId("cgroup:/t"), nodes(1), nodes(0), 7, Policy(mode=FollowMode.LATER))
    return Move(order.id, HostId("h1"), JobId("job"), order.task, order, Stage.PLANNED, 10.0, "far away", "boot")


def ended(move: Move, at_s: float = 20.0) -> Move:
    """The same, with its outcome."""
    outcome = MoveOutcome(
        move.id, move.task, MoveState.PARTIAL, "pinned", Strategy.MOVE_PAGES, "hot", 5, {LeftReason.PINNED: 3}, 1.5
    )
    return replace(move, stage=Stage.FINISHED, outcome=outcome, ended_s=at_s, by_scheduler=True)


def test_everything_comes_back_as_it_was(path: Path) -> None:
    """Moves open and ended, policies and costs survive closing and opening."""
    opened, done = make_move(), ended(make_move("m2"))
    policy = Policy(mode=FollowMode.NEVER, budget=Budget(pace_bytes_per_s=5))
    records: list[StoreInstruction] = [
        StoreOrder(opened),
        StoreOutcome(done),
        StorePolicy(None, policy),
        StorePolicy(JobId("job"), Policy()),
        StoreCosts(HostId("h1"), HostCosts(5e8, 0.1)),
    ]
    first = SqliteStore(path, StillClock())
    first.write(records)
    first.close()
    restored = SqliteStore(path, StillClock()).load(Policy())
    assert restored.moves == (done, opened)
    assert restored.policies.default == policy
    assert restored.policies.by_job == {"job": Policy()}
    assert restored.costs == {"h1": HostCosts(5e8, 0.1)}


def test_times_survive_another_zero_of_the_clock(path: Path) -> None:
    """After a reboot the monotonic clock begins anew; what was created then is still as long ago."""
    first = SqliteStore(path, StillClock(1_000_000.0))
    first.write([StoreOrder(make_move())])
    first.close()
    restored = SqliteStore(path, StillClock(1_000_100.0)).load(Policy())
    assert restored.moves[0].created_s == -90.0


def test_later_words_replace_earlier_ones(store: SqliteStore) -> None:
    """A move is kept once, as far as it came; a policy that is deleted is gone."""
    store.write([StoreOrder(make_move()), StorePolicy(JobId("job"), Policy())])
    store.write([StoreOrder(replace(make_move(), stage=Stage.ACCEPTED)), ForgetPolicy(JobId("job"))])
    store.write([StoreOutcome(ended(make_move()))])
    restored = store.load(Policy())
    assert restored.moves == (ended(make_move()),)
    assert restored.policies.by_job == {}


def test_forgotten_moves_are_gone(store: SqliteStore) -> None:
    """The history is bounded on disk, too."""
    moves = [ended(make_move(f"m{i}"), 20.0 + i) for i in range(3)]
    store.write([StoreOutcome(move) for move in moves])
    store.write([ForgetMoves((MoveId("m0"), MoveId("m1")))])
    assert store.load(Policy()).moves == (moves[2],)


def test_default_of_the_configuration_holds_until_another_is_stored(store: SqliteStore) -> None:
    """The file's default is a default."""
    wanted = Policy(mode=FollowMode.OBSERVE)
    assert store.load(wanted).policies.default == wanted


def test_write_is_all_or_nothing(store: SqliteStore) -> None:
    """A transaction that fails in the middle leaves nothing behind."""
    nothing: list[StoreInstruction] = [StoreOrder(make_move()), StoreCosts(HostId("h1"), HostCosts(float("nan"), 0.1))]
    with pytest.raises(StoreError):
        store.write(nothing)
    assert store.load(Policy()).moves == ()
    store.write([StoreOrder(make_move())])


def test_full_disk_is_said_and_passes(path: Path) -> None:
    """Without room nothing is written; with room again everything goes on."""
    store = SqliteStore(path, StillClock())
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    many = [StoreOrder(make_move(f"m{i}")) for i in range(500)]
    with pytest.raises(StoreBusyError, match="no space is left"):
        store.write(many)
    store._connection.execute("PRAGMA max_page_count = 100000")
    store.write(many)
    assert len(store.load(Policy()).moves) == 500
    store.close()


@pytest.mark.parametrize("contents", [b"not a database", b"SQLite format 3\0" + b"\xff" * 4096, b"\0" * 5000])
def test_garbage_is_refused_and_left_alone(path: Path, contents: bytes) -> None:
    """A file that is no database of ours is named, with what to do, and not a byte of it changes."""
    path.write_bytes(contents)
    with pytest.raises(StoreCorruptError, match="move the file away"):
        SqliteStore(path, StillClock())
    assert path.read_bytes() == contents


def test_damage_in_the_middle_is_found(path: Path) -> None:
    """The check at the opening looks at every page."""
    store = SqliteStore(path, StillClock())
    store.write([StoreOutcome(ended(make_move(f"m{i}"))) for i in range(200)])
    store.close()
    contents = bytearray(path.read_bytes())
    contents[8192:12288] = b"\xa5" * 4096
    path.write_bytes(contents)
    with pytest.raises(StoreCorruptError, match="damaged"):
        SqliteStore(path, StillClock()).load(Policy())
    assert path.read_bytes() == contents


@pytest.mark.parametrize("column", ["move_order", "outcome", "stage"])
def test_value_that_cannot_be_read_is_refused(path: Path, column: str) -> None:
    """A sound file with damaged values is not believed either."""
    store = SqliteStore(path, StillClock())
    store.write([StoreOutcome(ended(make_move()))])
    damage = "'lost'" if column == "stage" else "x'ffffffff'"
    store._connection.execute(f"UPDATE moves SET {column} = {damage}")  # noqa: S608 - the columns are above
    with pytest.raises(StoreCorruptError, match="nothing was changed"):
        store.load(Policy())
    store.close()


def test_second_scheduler_is_refused(path: Path, store: SqliteStore) -> None:
    """Two on one file would contradict each other; the lock ends with its owner."""
    store.write([StoreOrder(make_move())])
    with pytest.raises(StoreBusyError, match="locked by another process"):
        SqliteStore(path, StillClock(), lock_within_s=0.05)
    store.close()
    SqliteStore(path, StillClock()).close()


def test_newer_version_is_refused(path: Path) -> None:
    """A downgrade does not guess."""
    SqliteStore(path, StillClock()).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(StoreCorruptError, match="newer version"):
        SqliteStore(path, StillClock())


def test_database_of_another_program_is_refused(path: Path) -> None:
    """We do not make our tables in somebody else's file."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()
    with pytest.raises(StoreCorruptError, match="another program"):
        SqliteStore(path, StillClock())


def test_missing_folder_is_said(tmp_path: Path) -> None:
    """The words name the folder."""
    with pytest.raises(StoreError, match="nowhere exists"):
        SqliteStore(tmp_path / "nowhere" / "scheduler.db", StillClock())


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
def test_durability_is_what_was_asked_for(path: Path, durable: bool, level: int) -> None:  # noqa: FBT001 - a parameter
    """FULL flushes at each commit, NORMAL survives a crash of the process."""
    store = SqliteStore(path, StillClock(), durable=durable)
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (level,)
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()
