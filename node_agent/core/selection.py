"""Grouping a host's processes into the tasks to follow, by what was adopted and by the rules.

Processes that share memory must move together, so a task is never a lone thread and seldom a lone process:

- an adopted process with all its descendants, also those whose parent ended meanwhile;
- an adopted cgroup with everything below it;
- a cgroup that the rules select: all processes in it;
- a process that matches a pattern, with its descendants in the same process group that match as well: what a shell
  calls a job. (Everything on a host descends from one process, so some border is needed.)

A process is in one task at most, found in this order. The agent itself is in none. A task's id is made of its cgroup or
of its first process, so an agent finds the same ids after a restart.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from node_agent.core.detector import is_at_or_below
from node_agent.core.facts import ProcessRef
from node_agent.core.rules import Process, SelectionRules, matches_pattern, task_cgroup
from numaplace.model.ids import JobId, TaskId

CGROUP = "cgroup:"
PROCESS = "process:"


@dataclass(frozen=True, slots=True)
class Adoption:
    """A task that was asked for by name: a cgroup, or the trees below the processes ``roots``.

    ``by_uid``: who asked, and so who may release it.
    """

    job: JobId
    task: TaskId
    cgroup: str = ""
    roots: frozenset[ProcessRef] = frozenset()
    by_uid: int = 0


@dataclass(frozen=True, slots=True)
class SelectedTask:
    """A task to follow; ``processes`` are in the order of their start, the first of them gives the command."""

    id: TaskId
    job: JobId
    processes: tuple[Process, ...]
    cgroup: str
    adopted: bool

    @property
    def first(self) -> Process:
        """The process that started first."""
        return self.processes[0]

    @property
    def resident_bytes(self) -> int:
        """The sum over its processes; pages that several map count several times."""
        return sum(process.resident_bytes for process in self.processes)


@dataclass(frozen=True, slots=True)
class Selection:
    """The tasks to follow, and how many more there are than ``tasks_max``."""

    tasks: tuple[SelectedTask, ...]
    left_out: int = 0


def process_task_id(ref: ProcessRef) -> TaskId:
    """The id of a task that began with this process."""
    return TaskId(f"{PROCESS}{ref.pid}@{ref.start_ticks}")


def cgroup_task_id(path: str) -> TaskId:
    """The id of a cgroup's task."""
    return TaskId(f"{CGROUP}{path}")


def printable(text: str) -> str:
    """An identifier as the wire takes it: users name cgroups and processes, and may use escapes or any bytes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def select(
    processes: Iterable[Process],
    rules: SelectionRules,
    adoptions: Sequence[Adoption] = (),
    before: Mapping[ProcessRef, TaskId] | None = None,
    own_pids: frozenset[int] = frozenset(),
) -> Selection:
    """Group the processes into tasks.

    Args:
        processes: all processes of the host.
        rules: which tasks to follow besides the adopted ones.
        adoptions: the adopted ones.
        before: which task each process was in at the last selection: orphans stay in theirs.
        own_pids: the agent's own processes.
    """
    finder = _Finder(processes, rules, adoptions, before or {}, own_pids)
    groups: defaultdict[TaskId, list[Process]] = defaultdict(list)
    for process in finder.by_pid.values():
        task = finder.task_of(process)
        if task is not None:
            groups[task].append(process)
    adopted = {adoption.task: adoption for adoption in adoptions}
    tasks = [_task(task, members, adopted.get(task)) for task, members in groups.items()]
    followed = frozenset(finder.before.values())
    return _bounded([task for task in tasks if _is_large(task, rules, followed)], rules.tasks_max, followed)


def _task(task: TaskId, members: Sequence[Process], adoption: Adoption | None) -> SelectedTask:
    ordered = tuple(sorted(members, key=lambda p: (p.ref.start_ticks, p.ref.pid)))
    first = ordered[0]
    is_cgroup = task.startswith(CGROUP)
    cgroup = task.removeprefix(CGROUP) if is_cgroup else first.cgroup
    if adoption is not None:
        job = adoption.job
    else:
        job = JobId(cgroup.rpartition("/")[2] if is_cgroup else f"{first.command}-{first.ref.pid}")
    return SelectedTask(task, job, ordered, cgroup, adoption is not None)


def _is_large(task: SelectedTask, rules: SelectionRules, followed: frozenset[TaskId]) -> bool:
    # A task at the border must not come and go with every page, so who is in stays in until half of it is gone.
    least = rules.min_resident_bytes // 2 if task.id in followed else rules.min_resident_bytes
    return task.adopted or task.resident_bytes >= least


def _bounded(tasks: list[SelectedTask], tasks_max: int, followed: frozenset[TaskId]) -> Selection:
    """Keep the adopted tasks, then those followed already, then the largest."""
    left_out = max(0, len(tasks) - tasks_max)
    if left_out:
        tasks = sorted(tasks, key=lambda t: (not t.adopted, t.id not in followed, -t.resident_bytes, t.id))
    return Selection(tuple(sorted(tasks[:tasks_max], key=lambda t: t.id)), left_out)


class _Finder:
    """Finds the task of each process; answers are kept, since children ask for their parents'."""

    def __init__(
        self,
        processes: Iterable[Process],
        rules: SelectionRules,
        adoptions: Sequence[Adoption],
        before: Mapping[ProcessRef, TaskId],
        own_pids: frozenset[int],
    ) -> None:
        self.by_pid = {p.ref.pid: p for p in processes if not p.kernel and p.ref.pid not in own_pids}
        self.before = before
        self._rules = rules
        self._roots = {ref: adoption.task for adoption in adoptions for ref in adoption.roots}
        self._trees = frozenset(self._roots.values()) | {a.task for a in adoptions if not a.cgroup}
        # The longest path first: the nearest adopted cgroup owns a process.
        self._cgroups = sorted((a for a in adoptions if a.cgroup), key=lambda a: -len(a.cgroup))
        self._adopted: dict[ProcessRef, TaskId | None] = {}
        self._patterned: dict[ProcessRef, bool] = {}

    def task_of(self, process: Process) -> TaskId | None:
        """The task that a process belongs to, if any."""
        return self._adopted_tree(process) or self._cgroup(process) or self._pattern(process)

    def _parent(self, process: Process) -> Process | None:
        parent = self.by_pid.get(process.parent_pid)
        # A parent that is younger than its child has a reused pid: the listing is not of one instant.
        return parent if parent is not None and parent.ref.start_ticks <= process.ref.start_ticks else None

    def _adopted_tree(self, process: Process) -> TaskId | None:
        if not self._trees:
            return None
        line: set[ProcessRef] = set()
        at: Process | None = process
        task: TaskId | None = None
        while at is not None and at.ref not in line:
            if at.ref in self._adopted:
                task = self._adopted[at.ref]
                break
            line.add(at.ref)
            task = self._roots.get(at.ref) or self._was_in_tree(at.ref)
            if task is not None:
                break
            at = self._parent(at)
        self._adopted.update(dict.fromkeys(line, task))
        return task

    def _was_in_tree(self, ref: ProcessRef) -> TaskId | None:
        task = self.before.get(ref)
        return task if task in self._trees else None

    def _cgroup(self, process: Process) -> TaskId | None:
        for adoption in self._cgroups:
            if is_at_or_below(process.cgroup, adoption.cgroup):
                return adoption.task
        path = task_cgroup(self._rules, process)
        return None if path is None else cgroup_task_id(path)

    def _pattern(self, process: Process) -> TaskId | None:
        """The task of the topmost of the matching ancestors in the process's group."""
        line: set[ProcessRef] = set()
        at: Process | None = process
        task: TaskId | None = None
        while at is not None and at.ref not in line and at.group == process.group and self._is_patterned(at):
            line.add(at.ref)
            task = self._orphans_task(at) or process_task_id(at.ref)
            at = self._parent(at)
        return task

    def _is_patterned(self, process: Process) -> bool:
        if process.ref not in self._patterned:
            self._patterned[process.ref] = (
                matches_pattern(self._rules, process)
                and self._adopted_tree(process) is None
                and self._cgroup(process) is None
            )
        return self._patterned[process.ref]

    def _orphans_task(self, process: Process) -> TaskId | None:
        """The task that a process was in, if it is no longer anybody's child there."""
        task = self.before.get(process.ref)
        if task is None or not task.startswith(PROCESS) or task in self._trees:
            return None
        parent = self._parent(process)
        return None if parent is not None and self.before.get(parent.ref) == task else task
