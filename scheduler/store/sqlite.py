"""Orders, outcomes, policies and costs in one SQLite file.

Rules it keeps:
- What :meth:`SqliteStore.write` returned from survives SIGKILL, and with ``durable`` (synchronous=FULL: the
  write-ahead log is flushed at each commit) also the loss of power.
- One process at a time: the lock is held as long as the store is open, and the kernel releases it with the process.
- A file that cannot be believed is refused and left as it is.

Values are stored in the wire's form, which upgrades can read; what a person may look for is in columns. Times are
Unix times, for the monotonic clock starts anew with each boot.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numaplace import wire
from numaplace.model.ids import HostId, JobId, MoveId, TaskId
from numaplace.model.move import MoveOrder, MoveOutcome
from numaplace.model.policy import Policy
from numaplace.model.session import PolicySet
from numaplace.model.worth import HostCosts
from scheduler.planning.records import Move, Stage
from scheduler.ports import Clock, StoreBusyError, StoreCorruptError, StoreError
from scheduler.state.instructions import (
    ForgetMoves,
    ForgetPolicy,
    StoreCosts,
    StoreInstruction,
    StoreOrder,
    StoreOutcome,
    StorePolicy,
)
from scheduler.state.machine import Restored

APPLICATION_ID = 0x6E756D61
"""``numa``: tells our files from others."""
MIGRATIONS = (
    """
    CREATE TABLE moves (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        host TEXT NOT NULL,
        job TEXT NOT NULL,
        task TEXT NOT NULL,
        stage TEXT NOT NULL,
        created_unix_s REAL NOT NULL,
        ended_unix_s REAL,
        reason TEXT NOT NULL,
        cancel TEXT NOT NULL,
        boot_id TEXT NOT NULL,
        by_agent_alone INTEGER NOT NULL,
        by_scheduler INTEGER NOT NULL,
        move_order BLOB,
        outcome BLOB
    ) STRICT;
    CREATE TABLE policies (job TEXT PRIMARY KEY, policy BLOB NOT NULL) STRICT;
    CREATE TABLE costs (host TEXT PRIMARY KEY, bytes_per_s REAL NOT NULL, fixed_s REAL NOT NULL) STRICT;
    """,
)
"""One script for each version of the schema, from the one before; never changed once released."""

_DEFAULT = ""
"""The default policy's key among the jobs."""
_PUT_MOVE = """
INSERT INTO moves (id, host, job, task, stage, created_unix_s, ended_unix_s, reason, cancel, boot_id, by_agent_alone,
    by_scheduler, move_order, outcome)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET stage = excluded.stage, ended_unix_s = excluded.ended_unix_s, cancel = excluded.cancel,
    by_scheduler = excluded.by_scheduler, outcome = excluded.outcome
"""
_GET_MOVES = """
SELECT id, host, job, task, stage, created_unix_s, ended_unix_s, reason, cancel, boot_id, by_agent_alone, by_scheduler,
    move_order, outcome
FROM moves ORDER BY ended_unix_s NULLS LAST, number
"""
_BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL)
_CORRUPT_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SqliteStore:
    """The store in one file, which is made if it is missing. All methods belong on the thread that opened it."""

    def __init__(self, path: Path, clock: Clock, *, durable: bool = True, lock_within_s: float = 3.0) -> None:
        self._path = path
        self._clock = clock
        self._connection = self._open(durable=durable, lock_within_s=lock_within_s)

    def _open(self, *, durable: bool, lock_within_s: float) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self._path, timeout=lock_within_s, isolation_level=None)
        except sqlite3.Error as error:
            raise self._translated(error) from error
        try:
            self._prepare(connection, durable=durable)
        except sqlite3.Error as error:
            connection.close()
            raise self._translated(error) from error
        except StoreError:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection, *, durable: bool) -> None:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        version = self._checked(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        # An immediate transaction takes the lock, which the exclusive mode then keeps.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for script in MIGRATIONS[version:]:
            for statement in filter(str.strip, script.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")

    def _checked(self, connection: sqlite3.Connection) -> int:
        """The version of a schema that is ours and sound; 0 for a new file."""
        words = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
        if words != ["ok"]:
            raise self._corrupt(str(words[0]))
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            advice = "run that version, or name another file with --db"
            raise StoreCorruptError(f"{self._path} was written by a newer version of numaplace", advice)
        application = int(connection.execute("PRAGMA application_id").fetchone()[0])
        tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
        if tables and application != APPLICATION_ID:
            raise StoreCorruptError(f"{self._path} is the database of another program", "name another file with --db")
        return version

    def _corrupt(self, words: str) -> StoreCorruptError:
        advice = (
            "nothing was changed; move the file away (and its -wal beside it) to begin with an empty one, or restore it"
            " from a backup; agents report the moves that are under way when they reconnect"
        )
        return StoreCorruptError(f"{self._path} is damaged: {words}", advice)

    def _translated(self, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _CORRUPT_CODES:
            return self._corrupt(str(error))
        if code == sqlite3.SQLITE_FULL:
            return StoreBusyError(f"{self._path}: no space is left on the disk", "free some")
        if code in _BUSY_CODES:
            advice = "stop the other scheduler (fuser shows which process it is), or name another file with --db"
            return StoreBusyError(f"{self._path} is locked by another process", advice)
        advice = f"make sure that {self._path.parent} exists and that this user may write there and to the file"
        return StoreError(f"{self._path} cannot be used: {error}", advice)

    # Reading

    def load(self, default: Policy) -> Restored:
        """All that earlier runs have stored; raises StoreCorruptError if any of it cannot be read."""
        try:
            moves = tuple(self._move(row) for row in self._connection.execute(_GET_MOVES))
            policies = {
                JobId(job): wire.from_bytes(Policy, data)
                for job, data in self._connection.execute("SELECT job, policy FROM policies")
            }
            costs = {
                HostId(host): HostCosts(bytes_per_s, fixed_s)
                for host, bytes_per_s, fixed_s in self._connection.execute("SELECT * FROM costs")
            }
        except sqlite3.Error as error:
            raise self._translated(error) from error
        except (ValueError, TypeError) as error:
            raise self._corrupt(str(error)) from error
        default = policies.pop(JobId(_DEFAULT), default)
        return Restored(moves, PolicySet(default, policies), costs)

    def _move(self, row: tuple[Any, ...]) -> Move:
        move, host, job, task, stage, created, ended, reason, cancel, boot_id, alone, here, order, outcome = row
        return Move(
            id=MoveId(move),
            host=HostId(host),
            job=JobId(job),
            task=TaskId(task),
            order=None if order is None else wire.from_bytes(MoveOrder, order),
            stage=Stage(stage),
            created_s=self._clock.at_s(created),
            ended_s=None if ended is None else self._clock.at_s(ended),
            reason=reason,
            cancel=cancel,
            boot_id=boot_id,
            by_agent_alone=bool(alone),
            by_scheduler=bool(here),
            outcome=None if outcome is None else wire.from_bytes(MoveOutcome, outcome),
        )

    # Writing

    def write(self, records: Sequence[StoreInstruction]) -> None:
        """Make these durable in one transaction; raises StoreError, and then none of them is."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for record in records:
                    _WRITERS[type(record)](self, record)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _put_move(self, record: StoreOrder | StoreOutcome) -> None:
        move = record.move
        values = (
            move.id,
            move.host,
            move.job,
            move.task,
            move.stage.value,
            self._clock.wall_s(move.created_s),
            None if move.ended_s is None else self._clock.wall_s(move.ended_s),
            move.reason,
            move.cancel,
            move.boot_id,
            int(move.by_agent_alone),
            int(move.by_scheduler),
            None if move.order is None else wire.to_bytes(move.order),
            None if move.outcome is None else wire.to_bytes(move.outcome),
        )
        self._connection.execute(_PUT_MOVE, values)

    def _forget_moves(self, record: ForgetMoves) -> None:
        self._connection.executemany("DELETE FROM moves WHERE id = ?", [(move,) for move in record.moves])

    def _put_policy(self, record: StorePolicy) -> None:
        values = (_DEFAULT if record.job is None else record.job, wire.to_bytes(record.policy))
        self._connection.execute("INSERT OR REPLACE INTO policies VALUES (?, ?)", values)

    def _forget_policy(self, record: ForgetPolicy) -> None:
        self._connection.execute("DELETE FROM policies WHERE job = ?", (record.job,))

    def _put_costs(self, record: StoreCosts) -> None:
        values = (record.host, record.costs.bytes_per_s, record.costs.fixed_s)
        self._connection.execute("INSERT OR REPLACE INTO costs VALUES (?, ?, ?)", values)

    def close(self) -> None:
        """Fold the log into the file and release the lock."""
        self._connection.close()


_WRITERS: Mapping[type[StoreInstruction], Callable[[SqliteStore, Any], None]] = {
    StoreOrder: SqliteStore._put_move,  # noqa: SLF001 - the class's own table
    StoreOutcome: SqliteStore._put_move,  # noqa: SLF001 - the same
    ForgetMoves: SqliteStore._forget_moves,  # noqa: SLF001 - the same
    StorePolicy: SqliteStore._put_policy,  # noqa: SLF001 - the same
    ForgetPolicy: SqliteStore._forget_policy,  # noqa: SLF001 - the same
    StoreCosts: SqliteStore._put_costs,  # noqa: SLF001 - the same
}
