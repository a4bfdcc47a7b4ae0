"""The host's processes, kept up to date at a small cost: what selection chooses from.

Reading everything about every process takes tens of microseconds each, and an idle agent may use half a percent of a
core. So a process is read in full when it is new; while it is young it is read at each refresh, because it is about to
exec, to join a process group, to be put into a cgroup; later it is checked in turn, a bounded number at each refresh.
Who is in a cgroup that matters is read from the cgroup, one file for many processes.

Rules kept here: a process is its pid and start time, and a pid with another start time is another process; one that
vanishes in mid-read was never there; a zombie is gone, unless other threads of it still run.
"""

import errno
import os
import pwd
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

from node_agent.core.facts import ProcessRef
from node_agent.core.rules import Process
from numaplace.kernel.cgroups import Cgroup, CgroupMount, Hierarchies, at_path, path_in, read_pids
from numaplace.kernel.errors import KernelCallError, ProcessGone
from numaplace.kernel.files import HOST
from numaplace.kernel.procfs import ProcessStat, list_pids, read_owner, read_stat
from numaplace.kernel.status import read_cgroup_paths, read_command_line

YOUNG_S = 10.0
"""For so long after its start a process is likely to become what it will be."""
YOUNG_CHECKS_MAX = 64
FOLLOWED_CHECKS_MAX = 256
OTHER_CHECKS_MAX = 64
KERNEL_CHECKS_MAX = 8
"""Checks at one refresh, of each sort of process. A kernel thread stays one: only its pid may come to be another's."""

_SERVICE_HIERARCHY = "name=systemd"


@dataclass(frozen=True, slots=True)
class Places:
    """The hierarchies that say where a process is: the one with cpusets, and systemd's; each may be missing."""

    cpuset: CgroupMount | None
    service: CgroupMount | None

    @classmethod
    def among(cls, hierarchies: Hierarchies) -> "Places":
        """Find them on a host with cgroup v1, v2 or both."""
        service = hierarchies.v1.get(_SERVICE_HIERARCHY, hierarchies.v2)
        return cls(hierarchies.of_controller("cpuset"), service)

    def cgroup(self, path: str) -> Cgroup | None:
        """The cgroup of a path in the cpuset hierarchy; None if it cannot be seen from here."""
        return None if self.cpuset is None or not path else at_path(self.cpuset, path)


class ProcessTable:
    """All processes of a host, as of the last refresh. Not thread-safe; one owner."""

    def __init__(
        self, places: Places, root: Path = HOST, read_group: Callable[[int], int] = os.getpgid, page_bytes: int = 4096
    ) -> None:
        self._places = places
        self._root = root
        self._read_group = read_group
        self._page_bytes = page_bytes
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")
        self._entries: dict[int, Process] = {}
        # Whoever was checked goes to the end: the front waits longest.
        self._turns: dict[int, None] = {}

    @property
    def processes(self) -> tuple[Process, ...]:
        """Every process, kernel threads included."""
        return tuple(self._entries.values())

    def get(self, pid: int) -> Process | None:
        """The process that had this pid at the last refresh."""
        return self._entries.get(pid)

    def refresh(self, now_s: float, followed: Collection[int] = (), cgroups: Iterable[Cgroup] = ()) -> bool:
        """Bring the table up to date; returns whether anything that selection looks at has changed.

        Args:
            now_s: seconds since boot.
            followed: pids that are checked before others.
            cgroups: whose members are compared with what is known.
        """
        there = set(list_pids(self._root))
        gone = self._entries.keys() - there
        for pid in gone:
            self._forget(pid)
        new = there - self._entries.keys()
        changed = [self._read(pid) for pid in sorted(new)]
        changed += [self._check(pid, now_s) for pid in self._due(now_s, new, followed)]
        changed += [self._read(pid) for pid in self._misplaced(cgroups)]
        return bool(gone) or any(changed)

    def read_now(self, pid: int) -> Process | None:
        """Read one process in full; None if there is none."""
        self._read(pid)
        return self.get(pid)

    def look_again(self, pid: int) -> bool:
        """Read a known process in full; returns whether it changed."""
        return pid in self._entries and self._read(pid)

    def _forget(self, pid: int) -> None:
        self._entries.pop(pid, None)
        self._turns.pop(pid, None)

    def _due(self, now_s: float, new: Collection[int], followed: Collection[int]) -> list[int]:
        old = [pid for pid in self._turns if pid not in new]
        young = (pid for pid in old if self._is_young(pid, now_s))
        ours = (pid for pid in old if pid in followed)
        others = (pid for pid in old if pid not in followed and not self._entries[pid].kernel)
        kernel = (pid for pid in old if self._entries[pid].kernel)
        turns = chain(
            islice(young, YOUNG_CHECKS_MAX),
            islice(ours, FOLLOWED_CHECKS_MAX),
            islice(others, OTHER_CHECKS_MAX),
            islice(kernel, KERNEL_CHECKS_MAX),
        )
        return list(dict.fromkeys(turns))

    def _is_young(self, pid: int, now_s: float) -> bool:
        process = self._entries[pid]
        return not process.kernel and process.ref.start_ticks > (now_s - YOUNG_S) * self._ticks_per_s

    def _read(self, pid: int) -> bool:
        """Read a process in full; returns whether that changed the table."""
        before = self.get(pid)
        try:
            stat = read_stat(pid, self._root, tid=pid)
            after = None if _is_gone(stat) else self._full(stat)
        except ProcessGone:
            after = None
        if after is None:
            self._forget(pid)
        else:
            self._entries[pid] = after
            self._turns.pop(pid, None)
            self._turns[pid] = None
        return not _is_same(before, after)

    def _full(self, stat: ProcessStat) -> Process:
        lean = self._lean(stat)
        if lean.kernel:
            return lean
        paths = read_cgroup_paths(stat.pid, self._root)
        cpuset, service = (
            (path_in(mount, paths) if mount is not None else None) or ""
            for mount in (self._places.cpuset, self._places.service)
        )
        arguments = read_command_line(stat.pid, self._root)
        return replace(lean, arguments=arguments, cgroup=cpuset, service=service, user=user_name(lean.uid))

    def _lean(self, stat: ProcessStat) -> Process:
        """All that is cheap to know."""
        ref = ProcessRef(stat.pid, stat.start_ticks)
        if stat.is_kernel_thread:
            return Process(ref, stat.parent_pid, 0, stat.comm, kernel=True)
        try:
            group = self._read_group(stat.pid)
        except OSError as error:
            raise ProcessGone("reading its group", errno.ESRCH, stat.pid) from error
        uid = read_owner(stat.pid, self._root)
        size = max(0, stat.rss_pages) * self._page_bytes
        return Process(ref, stat.parent_pid, group, stat.comm, uid=uid, resident_bytes=size)

    def _check(self, pid: int, now_s: float) -> bool:
        """See whether a process is still what we know; read it in full if it is not, or is young."""
        if self._is_young(pid, now_s):
            return self._read(pid)
        self._turns[pid] = self._turns.pop(pid)
        known = self._entries[pid]
        try:
            stat = read_stat(pid, self._root, tid=pid)
            lean = None if _is_gone(stat) else self._lean(stat)
        except ProcessGone:
            lean = None
        if lean is None:
            self._forget(pid)
            return True
        size = lean.resident_bytes
        as_known = replace(
            lean, arguments=known.arguments, cgroup=known.cgroup, service=known.service, user=known.user,
            resident_bytes=known.resident_bytes,
        )  # fmt: skip
        if as_known != known:
            return self._read(pid)
        if size != known.resident_bytes:
            self._entries[pid] = replace(known, resident_bytes=size)
        return False

    def _misplaced(self, cgroups: Iterable[Cgroup]) -> set[int]:
        """Processes that are in one of these cgroups and were elsewhere, or the other way round."""
        known: defaultdict[str, set[int]] = defaultdict(set)
        for pid, process in self._entries.items():
            if not process.kernel:
                known[process.cgroup].add(pid)
        misplaced: set[int] = set()
        for cgroup in cgroups:
            try:
                misplaced |= known[cgroup.path] ^ set(read_pids(cgroup))
            except KernelCallError:
                # Removed meanwhile, or threaded: its processes are found by their turn.
                continue
        return {pid for pid in misplaced if pid in self._entries and not self._entries[pid].kernel}


def _is_same(before: Process | None, after: Process | None) -> bool:
    """Whether a process is as it was, but for its size: that changes all the time, and is no reason to select anew."""
    if before is None or after is None:
        return before is after
    return replace(after, resident_bytes=before.resident_bytes) == before


def _is_gone(stat: ProcessStat) -> bool:
    # The first thread may end before the others: then the process looks dead, and is not.
    return stat.is_dead and stat.threads <= 1


@lru_cache(maxsize=1024)
def user_name(uid: int) -> str:
    """The user's name by the host's user database, or the number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
