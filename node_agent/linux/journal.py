"""The agent's journal: what must survive its crash, in one SQLite file.

Every method commits before it returns. WAL with synchronous=NORMAL survives the death of the process at any
instant; after a power failure the kernel has a new boot id, and then open orders are void anyway.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node_agent.core.facts import Remembered
from numaplace import wire
from numaplace.model.ids import MoveId
from numaplace.model.move import MoveOrder, MoveOutcome
from numaplace.model.session import PolicySet

FINISHED_KEPT = 1024
"""Finished orders kept, so that stale duplicates are answered with how they ended."""
VERSION = 1
LOCK_WAIT_S = 2.0
"""An agent that is just ending may still hold the journal for a moment."""

_ADVICE = {
    sqlite3.SQLITE_BUSY: "another agent runs with the same state folder; stop it, or give this one another --state-dir",
    sqlite3.SQLITE_FULL: "the disk is full; free space there, or give another folder with --state-dir",
    sqlite3.SQLITE_READONLY: "make the folder writable for the agent, or give another one with --state-dir",
    sqlite3.SQLITE_CANTOPEN: "make the folder writable for the agent, or give another one with --state-dir",
    sqlite3.SQLITE_CORRUPT: "move the file away and start again: only the memory of past moves is lost",
    sqlite3.SQLITE_NOTADB: "move the file away and start again: only the memory of past moves is lost",
}
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_ADVICE_ELSE = "look for faults of the disk in the kernel's log, or give another folder with --state-dir"
_PRIMARY_CODE = 0xFF
"""SQLite's extended result codes hold the primary one in their lowest byte: https://sqlite.org/rescode.html."""

_SCHEMA = """
CREATE TABLE orders (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  move TEXT NOT NULL UNIQUE,
  body BLOB,
  outcome BLOB,
  acknowledged INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
"""


class JournalError(Exception):
    """The journal cannot be used; the words say why and what to do."""


class JournalDamagedError(JournalError):
    """The journal cannot be believed or understood: starting again does not help. It was left as it is."""


class SqliteJournal:
    """A journal file; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._boot_id: str | None = None
        with self._explained():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        # Before journal_mode, so that WAL needs no shared memory and its lock is never given back.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise JournalDamagedError(
                f"{self._path} was written by a newer agent (version {version}); upgrade this one"
            )
        if version == 0:
            self._db.executescript(f"BEGIN EXCLUSIVE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        elif self._db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise JournalDamagedError(f"the journal {self._path} is damaged; {_ADVICE[sqlite3.SQLITE_CORRUPT]}")
        self._db.execute("BEGIN IMMEDIATE")  # takes the lock, so that two agents never share a journal
        self._db.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
            kind = JournalDamagedError if code in _DAMAGED else JournalError
            advice = _ADVICE.get(code, _ADVICE_ELSE)
            raise kind(f"cannot use the journal {self._path}: {error}; {advice}") from error
        except OSError as error:
            raise JournalError(f"cannot open the journal: {error}; give another folder with --state-dir") from error

    def remember(self, boot_id: str) -> Remembered:
        """See :class:`node_agent.ports.Journal`.

        The boot is written with the first order accepted in it, not here: an agent that dies before it has closed
        an earlier boot's orders must find them as such again.
        """
        self._boot_id = boot_id
        with self._explained(), self._transaction():
            earlier = self._fact("boot_id")
            rows = self._db.execute("SELECT body, outcome, acknowledged FROM orders ORDER BY sequence").fetchall()
            policies = self._fact("policies")
        try:
            return Remembered(
                open_moves=tuple(wire.from_bytes(MoveOrder, body) for body, outcome, _ in rows if outcome is None),
                outcomes=tuple(wire.from_bytes(MoveOutcome, done) for _, done, acked in rows if done and not acked),
                finished=tuple(wire.from_bytes(MoveOutcome, done) for _, done, acked in rows if done and acked),
                policies=wire.from_bytes(PolicySet, policies) if policies else None,
                same_boot=earlier is None or earlier == boot_id.encode(),
            )
        except wire.WireError as error:
            advice = _ADVICE[sqlite3.SQLITE_CORRUPT]
            raise JournalDamagedError(f"the journal {self._path} is damaged ({error}); {advice}") from error

    def accept(self, order: MoveOrder) -> None:
        """See :class:`node_agent.ports.Journal`; an id that only the journal still remembered begins anew."""
        with self._explained(), self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO orders (move, body) VALUES (?, ?)", (order.id, wire.to_bytes(order))
            )
            if self._boot_id is not None:
                self._keep("boot_id", self._boot_id.encode())

    def finish(self, outcome: MoveOutcome) -> None:
        """See :class:`node_agent.ports.Journal`; an order that was never accepted gets its outcome too."""
        with self._explained(), self._transaction():
            self._db.execute(
                "INSERT INTO orders (move, outcome) VALUES (?, ?)"
                " ON CONFLICT (move) DO UPDATE SET outcome = excluded.outcome, acknowledged = 0",
                (outcome.move, wire.to_bytes(outcome)),
            )

    def acknowledge(self, move: MoveId) -> None:
        """See :class:`node_agent.ports.Journal`; old acknowledged orders are forgotten."""
        with self._explained(), self._transaction():
            self._db.execute(
                "UPDATE orders SET acknowledged = 1, body = NULL WHERE move = ? AND outcome IS NOT NULL", (move,)
            )
            self._db.execute(
                "DELETE FROM orders WHERE acknowledged = 1 AND sequence <= (SELECT max(sequence) FROM orders) - ?",
                (FINISHED_KEPT,),
            )

    def keep_policies(self, policies: PolicySet) -> None:
        """See :class:`node_agent.ports.Journal`."""
        with self._explained(), self._transaction():
            self._keep("policies", wire.to_bytes(policies))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # on some errors, a full disk among them, SQLite has rolled back already
                self._db.execute("ROLLBACK")
            raise

    def _fact(self, name: str) -> bytes | None:
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return bytes(row[0]) if row else None

    def _keep(self, name: str, value: bytes) -> None:
        self._db.execute(
            "INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (name, value)
        )
