"""Which tasks there are on this host: its processes, grouped by the rules and by what was adopted.

Kept up to date in steps, because a host has many more processes than tasks; the grouping is made anew only if something
that it looks at has changed. An adoption is on disk before it counts, and ends when the last of its processes does, or
when its cgroup is removed. A tree whose first process ended lives on in those that are left.
"""

import errno
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from node_agent.core.detector import is_at_or_below
from node_agent.core.facts import ProcessRef
from node_agent.core.rules import Process, SelectionRules
from node_agent.core.selection import (
    Adoption,
    SelectedTask,
    Selection,
    cgroup_task_id,
    process_task_id,
    select,
)
from node_agent.linux.adoptions import AdoptionFile
from node_agent.linux.processes import Places, ProcessTable
from node_agent.ports import NotYoursError
from numaplace.kernel.cgroups import Cgroup, at_path
from numaplace.kernel.errors import ProcessGone
from numaplace.kernel.files import HOST
from numaplace.kernel.status import read_status
from numaplace.model.ids import JobId, TaskId

CGROUPS_MAX = 16_384
"""More cgroups than this below the roots are left to their processes' turn."""
_LINKS_OF_LEAF = 2


@dataclass(frozen=True, slots=True)
class Host:
    """What is read, and who reads it; the defaults are the running host and this process."""

    places: Places
    root: Path = HOST
    own_pids: frozenset[int] = frozenset({os.getpid()})
    own_uid: int = os.geteuid()
    read_group: Callable[[int], int] = os.getpgid


class TaskList:
    """The followed tasks as of the last refresh. Not thread-safe; one owner."""

    def __init__(self, rules: SelectionRules, host: Host, file: AdoptionFile) -> None:
        """Take up what an earlier agent of this boot had adopted. Raises OSError if that may not be read."""
        self._rules = rules
        self._host = host
        self._file = file
        self._table = ProcessTable(host.places, host.root, host.read_group)
        loaded = file.load()
        self._load_remark = loaded.remark
        self._adoptions: dict[TaskId, Adoption] = {adoption.task: adoption for adoption in loaded.adoptions}
        self._members: dict[ProcessRef, TaskId] = {}
        self._selection = Selection(())
        self._stale = True

    @property
    def tasks(self) -> tuple[SelectedTask, ...]:
        """The followed tasks."""
        return self._selection.tasks

    @property
    def remarks(self) -> tuple[str, ...]:
        """In plain words what is not as it should be."""
        left_out = self._selection.left_out
        words = (
            f"{left_out} more tasks match the rules than tasks_max = {self._rules.tasks_max} allows; "
            "they are not followed: raise it, or narrow the rules"
        )
        return (*filter(None, [self._load_remark]), *([words] if left_out else []))

    def refresh(self, now_s: float) -> bool:
        """Bring the list up to date; ``now_s``: seconds since boot. Returns whether it was made anew."""
        followed = {ref.pid for ref in self._members}
        changed = self._table.refresh(now_s, followed, self._cgroups())
        if not (changed or self._stale or self._rules.min_resident_bytes):
            return False
        self._select()
        self._keep_adoptions()
        self._stale = False
        return True

    def look_again(self, pids: Iterable[int]) -> bool:
        """Read these processes anew, as they seem to have been moved. Returns whether the list was made anew."""
        changed = [self._table.look_again(pid) for pid in pids]
        if any(changed):
            self._select()
        return any(changed)

    def adopt_process(self, job: JobId, ref: ProcessRef, by_uid: int = 0) -> TaskId:
        """Follow a process and its descendants under this name; this process, not another one with its pid.

        Raises:
            ProcessGone: there is no such process any more.
            ValueError: it is a thread, a kernel thread, or the agent itself.
            NotYoursError: somebody else adopted it, or something by this name.
            OSError: it could not be written down, and is not followed.
        """
        pid = ref.pid
        if read_status(pid, self._host.root).thread_group != pid:
            raise ValueError(f"{pid} is a thread; adopt its process")
        process = self._table.read_now(pid)
        if process is None or process.ref != ref:
            raise ProcessGone("adopting", errno.ESRCH, pid)
        if process.kernel or pid in self._host.own_pids:
            raise ValueError(f"{pid} is {'a kernel thread' if process.kernel else 'the agent itself'}: never followed")
        task = process_task_id(process.ref)
        family = tuple(self._descendants(process))
        self._adopt(Adoption(job, task, roots=frozenset({ref}), by_uid=by_uid), taken_from=self._tasks_of(family))
        # Descendants that belonged to another adopted tree belong to this nearer one now.
        for below in family:
            self._members.pop(below, None)
        return task

    def _tasks_of(self, family: Collection[ProcessRef]) -> set[TaskId]:
        """The tasks that these processes are in, and the adopted cgroups that they lie in."""
        tasks = {self._members[ref] for ref in family if ref in self._members}
        for ref in family:
            process = self._table.get(ref.pid)
            tasks |= self._around(process.cgroup) if process is not None else set()
        return tasks

    def _around(self, cgroup: str) -> set[TaskId]:
        """The adopted cgroups at or above this one."""
        return {a.task for a in self._adoptions.values() if a.cgroup and is_at_or_below(cgroup, a.cgroup)}

    def adopt_cgroup(self, job: JobId, path: str, by_uid: int = 0) -> TaskId:
        """Follow a cgroup and all below it under this name; it may be empty yet.

        Args:
            job: the name.
            path: from the top of the hierarchy with the cpusets, or the cgroup's directory on this host.
            by_uid: who asks.

        Raises:
            ValueError: there is no such cgroup, or it is the top.
            NotYoursError: somebody else adopted it, or something by this name.
            OSError: it could not be written down, and is not followed.
        """
        cgroup = self._find_cgroup(path)
        task = cgroup_task_id(cgroup.path)
        below = {a.task for a in self._adoptions.values() if a.cgroup and is_at_or_below(a.cgroup, cgroup.path)}
        adoption = Adoption(job, task, cgroup=cgroup.path, by_uid=by_uid)
        self._adopt(adoption, taken_from=self._around(cgroup.path) | below)
        return task

    def release(self, job: JobId, by_uid: int = 0) -> int:
        """Forget what this user adopted under this name; returns how many tasks that were.

        Raises NotYoursError if all of it is others', OSError if it cannot be written down; unchanged then.
        """
        named = [adoption for adoption in self._adoptions.values() if adoption.job == job]
        gone = {adoption.task for adoption in named if self._may_change(by_uid, adoption)}
        if named and not gone:
            raise NotYoursError(f"another user adopted {job}: they or root may release it")
        if gone:
            self._store({task: adoption for task, adoption in self._adoptions.items() if task not in gone})
        return len(gone)

    def _may_change(self, by_uid: int, adoption: Adoption) -> bool:
        return by_uid in (0, self._host.own_uid, adoption.by_uid)

    def _adopt(self, adoption: Adoption, taken_from: Collection[TaskId]) -> None:
        """The nearest adoption wins, so a new one takes from those around it: only who may release them may do that."""
        for other in self._adoptions.values():
            same = other.task == adoption.task or other.job == adoption.job or other.task in taken_from
            if same and not self._may_change(adoption.by_uid, other):
                raise NotYoursError(f"another user adopted {other.task} as {other.job}")
        self._store({**self._adoptions, adoption.task: adoption})

    def _store(self, adoptions: dict[TaskId, Adoption]) -> None:
        self._file.save(tuple(adoptions.values()))
        self._adoptions = adoptions
        self._stale = True

    def _find_cgroup(self, path: str) -> Cgroup:
        mount = self._host.places.cpuset
        if mount is None:
            raise ValueError("no cgroup hierarchy with cpusets is mounted")
        inside = path.removeprefix(str(mount.directory))
        clean = "/" + "/".join(name for name in inside.split("/") if name)
        cgroup = None if ".." in clean.split("/") else at_path(mount, clean)
        if clean == "/" or cgroup is None or not cgroup.directory.is_dir():
            raise ValueError(f"no cgroup {path!r} below {mount.directory}")
        return cgroup

    def _descendants(self, process: Process) -> Iterator[ProcessRef]:
        children: dict[int, list[Process]] = {}
        for other in self._table.processes:
            children.setdefault(other.parent_pid, []).append(other)
        line = [process]
        seen = {process.ref}
        while line:
            at = line.pop()
            yield at.ref
            below = [child for child in children.get(at.ref.pid, ()) if child.ref not in seen]
            seen.update(child.ref for child in below)
            line.extend(below)

    def _select(self) -> None:
        adoptions = tuple(self._adoptions.values())
        self._selection = select(self._table.processes, self._rules, adoptions, self._members, self._host.own_pids)
        self._members = {process.ref: task.id for task in self.tasks for process in task.processes}

    def _keep_adoptions(self) -> None:
        """End the adoptions that nothing is left of, and hand a tree on to those that are left of it."""
        kept = {task: self._kept(adoption) for task, adoption in self._adoptions.items()}
        alive = {task: adoption for task, adoption in kept.items() if adoption is not None}
        if alive != self._adoptions:
            self._file.save(tuple(alive.values()))
            self._adoptions = alive

    def _kept(self, adoption: Adoption) -> Adoption | None:
        if adoption.cgroup:
            cgroup = self._host.places.cgroup(adoption.cgroup)
            return adoption if cgroup is not None and cgroup.directory.is_dir() else None
        members = {ref for ref, task in self._members.items() if task == adoption.task}
        if not members:
            return None
        if adoption.roots & members:
            return adoption
        return replace(adoption, roots=frozenset(self._tops(members)))

    def _tops(self, members: set[ProcessRef]) -> Iterator[ProcessRef]:
        for ref in members:
            process = self._table.get(ref.pid)
            parent = None if process is None else self._table.get(process.parent_pid)
            if parent is None or parent.ref not in members:
                yield ref

    def _cgroups(self) -> list[Cgroup]:
        """Every cgroup whose members are of interest: below the roots and the adopted ones, and where tasks are."""
        tops = {_fixed_part(root) for root in self._rules.cgroup_roots}
        tops |= {adoption.cgroup for adoption in self._adoptions.values() if adoption.cgroup}
        found: dict[str, Cgroup] = {}
        for top in tops:
            cgroup = self._host.places.cgroup(top)
            if cgroup is not None:
                _walk(cgroup, found)
        for task in self.tasks:
            for path in {process.cgroup for process in task.processes} - found.keys():
                cgroup = self._host.places.cgroup(path)
                if cgroup is not None:
                    found[path] = cgroup
        return list(found.values())


def _fixed_part(root: str) -> str:
    """The path down to the first component that is a pattern."""
    fixed: list[str] = []
    for name in root.split("/"):
        if any(letter in name for letter in "*?["):
            break
        if name:
            fixed.append(name)
    return "/" + "/".join(fixed)


def _walk(top: Cgroup, found: dict[str, Cgroup]) -> None:
    """Add a cgroup and all below it, at most CGROUPS_MAX in all."""
    line = [top]
    while line and len(found) < CGROUPS_MAX:
        at = line.pop()
        if at.path in found:
            continue
        found[at.path] = at
        line.extend(_below(at))


def _below(cgroup: Cgroup) -> Iterator[Cgroup]:
    try:
        # A cgroup's directory has dozens of files; the number of links tells whether there is a directory among them.
        if cgroup.directory.stat().st_nlink == _LINKS_OF_LEAF:
            return
        with os.scandir(cgroup.directory) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for name in names:
        path = f"{cgroup.path.rstrip('/')}/{name}"
        yield Cgroup(cgroup.directory / name, cgroup.version, path, cgroup.no_prefix)
