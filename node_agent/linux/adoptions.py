"""The adopted tasks on disk, so that a restarted agent still follows what it was asked to follow.

One small JSON file, replaced as a whole: it holds either the old adoptions or the new ones, never half of them. Pids
mean nothing after a boot, and cgroups are made anew, so adoptions of another boot are void. A file that cannot be
understood is put aside and named in a remark: an agent that does not start follows nothing at all.
"""

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from node_agent.core.facts import ProcessRef
from node_agent.core.selection import Adoption
from numaplace.model.ids import JobId, TaskId

VERSION = 1
FILE_BYTES_MAX = 16 << 20


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the file held, and in plain words what was wrong with it."""

    adoptions: tuple[Adoption, ...] = ()
    remark: str = ""


class AdoptionFile:
    """Where adoptions are kept; without a path nowhere."""

    def __init__(self, path: Path | None, boot_id: str) -> None:
        self._path = path
        self._boot_id = boot_id

    def load(self) -> Loaded:
        """Read what an earlier agent of this boot adopted. Raises OSError if the file may not be read."""
        if self._path is None:
            return Loaded()
        try:
            with self._path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            return Loaded()
        try:
            boot_id, adoptions = _decode(data)
        except ValueError as error:
            aside = self._path.with_name(f"{self._path.name}.unreadable")
            self._path.replace(aside)
            return Loaded((), f"{self._path} could not be read ({error}); it is now {aside}, adopt its tasks again")
        return Loaded(adoptions if boot_id == self._boot_id else ())

    def save(self, adoptions: tuple[Adoption, ...]) -> None:
        """Replace the file; on disk when this returns. Raises OSError if it cannot be written: nothing changed."""
        if self._path is None:
            return
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            with fresh.open("wb") as file:
                file.write(_encode(self._boot_id, adoptions))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _encode(boot_id: str, adoptions: tuple[Adoption, ...]) -> bytes:
    rows = [
        {
            "job": adoption.job,
            "task": adoption.task,
            "cgroup": adoption.cgroup,
            "roots": sorted([ref.pid, ref.start_ticks] for ref in adoption.roots),
            "by_uid": adoption.by_uid,
        }
        for adoption in adoptions
    ]
    return json.dumps({"version": VERSION, "boot_id": boot_id, "adoptions": rows}, indent=1).encode()


def _decode(data: bytes) -> tuple[str, tuple[Adoption, ...]]:
    """Read strictly; raises ValueError."""
    if len(data) > FILE_BYTES_MAX:
        raise ValueError("it is too large")
    table = json.loads(data)
    if not isinstance(table, dict) or table.get("version") != VERSION:
        raise ValueError(f"its version is not {VERSION}")
    boot_id, rows = table.get("boot_id"), table.get("adoptions")
    if not isinstance(boot_id, str) or not isinstance(rows, list):
        raise ValueError("boot_id or adoptions is missing")  # noqa: TRY004 - one class for all that a file may lack
    return boot_id, tuple(_adoption(row) for row in rows)


def _adoption(row: object) -> Adoption:
    # A file of an agent that did not know yet whose an adoption was: root may release what is in it.
    row = {"by_uid": 0, **row} if isinstance(row, dict) else row
    if not isinstance(row, dict) or set(row) != {"job", "task", "cgroup", "roots", "by_uid"}:
        raise ValueError(f"no adoption: {str(row)[:80]}")
    job, task, cgroup, roots, by_uid = (row[key] for key in ("job", "task", "cgroup", "roots", "by_uid"))
    texts = all(isinstance(text, str) for text in (job, task, cgroup))
    if not texts or not isinstance(roots, list) or not isinstance(by_uid, int):
        raise ValueError(f"no adoption: {str(row)[:80]}")
    return Adoption(JobId(job), TaskId(task), cgroup, frozenset(_ref(root) for root in roots), by_uid)


def _ref(root: object) -> ProcessRef:
    match root:
        case [int(pid), int(start_ticks)]:
            return ProcessRef(pid, start_ticks)
        case _:
            raise ValueError(f"no process: {str(root)[:80]}")
