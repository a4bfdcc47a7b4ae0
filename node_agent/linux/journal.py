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
"""Ids of finished orders kept to recognise stale duplicates."""
VERSION = 1

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


class SqliteJournal:
    """A journal file; used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._migrate()

    def _migrate(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise JournalError(f"{self._path} was written by a newer agent (version {version}); upgrade this one")
        if version == 0:
            self._db.executescript(f"BEGIN EXCLUSIVE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        elif self._db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("quick_check failed")
        self._db.execute("BEGIN IMMEDIATE")  # takes the lock, so that two agents never share a journal
        self._db.execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            advice = "is another agent running with the same state folder, or is the disk full or read-only?"
            raise JournalError(f"cannot use the journal {self._path}: {error}; {advice}") from error
        except sqlite3.DatabaseError as error:
            advice = "move the file away and start again: only the memory of past moves is lost"
            raise JournalError(f"the journal {self._path} is damaged ({error}); {advice}") from error
        except OSError as error:
            raise JournalError(f"cannot open the journal: {error}; give another folder with --state-dir") from error

    def remember(self, boot_id: str) -> Remembered:
        """See :class:`node_agent.ports.Journal`."""
        with self._explained(), self._transaction():
            earlier = self._fact("boot_id")
            self._keep("boot_id", boot_id.encode())
            rows = self._db.execute("SELECT move, body, outcome, acknowledged FROM orders ORDER BY sequence").fetchall()
            policies = self._fact("policies")
        try:
            return Remembered(
                open_moves=tuple(wire.from_bytes(MoveOrder, body) for _, body, outcome, _ in rows if outcome is None),
                outcomes=tuple(wire.from_bytes(MoveOutcome, done) for _, _, done, acked in rows if done and not acked),
                finished=frozenset(MoveId(move) for move, _, _, acked in rows if acked),
                policies=wire.from_bytes(PolicySet, policies) if policies else None,
                same_boot=earlier is None or earlier.decode() == boot_id,
            )
        except wire.WireError as error:
            advice = "move the file away and start again: only the memory of past moves is lost"
            raise JournalError(f"the journal {self._path} is damaged ({error}); {advice}") from error

    def accept(self, order: MoveOrder) -> None:
        """See :class:`node_agent.ports.Journal`."""
        with self._explained(), self._transaction():
            self._db.execute("INSERT INTO orders (move, body) VALUES (?, ?)", (order.id, wire.to_bytes(order)))

    def finish(self, outcome: MoveOutcome) -> None:
        """See :class:`node_agent.ports.Journal`; an order that was never accepted gets its outcome too."""
        with self._explained(), self._transaction():
            self._db.execute(
                "INSERT INTO orders (move, outcome) VALUES (?, ?)"
                " ON CONFLICT (move) DO UPDATE SET outcome = excluded.outcome",
                (outcome.move, wire.to_bytes(outcome)),
            )

    def acknowledge(self, move: MoveId) -> None:
        """See :class:`node_agent.ports.Journal`; old acknowledged orders are forgotten."""
        with self._explained(), self._transaction():
            self._db.execute("UPDATE orders SET acknowledged = 1, body = NULL WHERE move = ?", (move,))
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
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _fact(self, name: str) -> bytes | None:
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return bytes(row[0]) if row else None

    def _keep(self, name: str, value: bytes) -> None:
        self._db.execute(
            "INSERT INTO facts VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (name, value)
        )
