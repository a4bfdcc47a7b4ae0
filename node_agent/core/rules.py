"""Which processes a host's rules speak of, before they are grouped into tasks.

A rule is a cgroup root (what runs in cgroups below it), or patterns of commands and users. Patterns are those of
fnmatch, or ``re:`` and a regular expression. Rules kept here:

- Kernel threads match nothing: they have no memory.
- System services match a pattern only if they are asked for. They are what runs in ``system.slice`` (but not in a
  ``.scope`` there: containers and Slurm's steps live in those), in an ``init.scope``, in a user manager's own slices,
  or as pid 1. A cgroup root that itself names such a slice asks for it.
"""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from node_agent.core.facts import ProcessRef

REGEX_PREFIX = "re:"
TASKS_MAX = 4096

_INIT_PID = 1
_MANAGER_SLICES = frozenset({"session.slice", "background.slice"})


@dataclass(frozen=True, slots=True)
class Process:
    """A process as selection needs it.

    ``command`` is the kernel's name of it (15 bytes), ``arguments`` its command line. ``cgroup`` is its path in the
    hierarchy that has the cpuset controller, ``service`` its path in systemd's; on cgroup v2 they are the same.
    ``group`` is its process group.
    """

    ref: ProcessRef
    parent_pid: int
    group: int
    command: str
    arguments: tuple[str, ...] = ()
    uid: int = 0
    user: str = ""
    cgroup: str = ""
    service: str = ""
    resident_bytes: int = 0
    kernel: bool = False


@dataclass(frozen=True, slots=True)
class SelectionRules:
    """Which tasks to follow besides the adopted ones; none at all by default.

    ``cgroup_roots``: absolute paths, whose components may be fnmatch patterns. Every cgroup below one that holds
    processes itself is a task; with ``cgroup_depth`` the cgroups so many levels below the root are, whatever is below
    them. ``commands``: matched with the command's name and its first argument's last component; those that begin with
    ``re:`` are searched for in the whole command line. ``users``: matched with the user's name and number. If both
    commands and users are given, both must match. ``min_resident_bytes``: of a task as a whole.

    Raises ValueError for what cannot be a rule.
    """

    cgroup_roots: tuple[str, ...] = ()
    cgroup_depth: int | None = None
    commands: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    min_resident_bytes: int = 0
    system_services: bool = False
    tasks_max: int = TASKS_MAX

    def __post_init__(self) -> None:
        for root in self.cgroup_roots:
            if not root.startswith("/") or ".." in root.split("/"):
                raise ValueError(f"a cgroup root is a path from the hierarchy's top, such as /slurm, not {root!r}")
        if self.cgroup_depth is not None and self.cgroup_depth < 1:
            raise ValueError(f"cgroup_depth counts levels below the root: at least 1, not {self.cgroup_depth}")
        if self.tasks_max < 1 or self.min_resident_bytes < 0:
            raise ValueError("tasks_max must be at least 1 and min_resident_bytes at least 0")
        for pattern in self.commands:
            _check_regex(pattern)

    @property
    def by_pattern(self) -> bool:
        """Whether any process may match by its command or user."""
        return bool(self.commands or self.users)


def _check_regex(pattern: str) -> None:
    if pattern.startswith(REGEX_PREFIX):
        try:
            re.compile(pattern.removeprefix(REGEX_PREFIX))
        except re.error as error:
            raise ValueError(f"no regular expression: {pattern!r}: {error}") from error


def task_cgroup(rules: SelectionRules, process: Process) -> str | None:
    """The path of the cgroup that is this process's task by a root, or None."""
    if process.kernel or not process.cgroup:
        return None
    path = _components(process.cgroup)
    for root in rules.cgroup_roots:
        top = _components(root)
        below = len(path) - len(top)
        if below < 1 or not all(map(fnmatchcase, path, top)):
            continue
        if is_system_service(process) and not (rules.system_services or _names_a_service(top)):
            continue
        depth = below if rules.cgroup_depth is None else min(below, rules.cgroup_depth)
        return "/" + "/".join(path[: len(top) + depth])
    return None


def matches_pattern(rules: SelectionRules, process: Process) -> bool:
    """Whether a process is followed for its command and user."""
    if process.kernel or not rules.by_pattern:
        return False
    if is_system_service(process) and not rules.system_services:
        return False
    by_command = not rules.commands or any(_is_command(process, pattern) for pattern in rules.commands)
    return by_command and (not rules.users or any(_is_user(process, pattern) for pattern in rules.users))


def _is_command(process: Process, pattern: str) -> bool:
    if pattern.startswith(REGEX_PREFIX):
        # re keeps a cache of compiled patterns.
        return re.search(pattern.removeprefix(REGEX_PREFIX), " ".join(process.arguments)) is not None
    names = {process.command, *(argument.rpartition("/")[2] for argument in process.arguments[:1])}
    return any(fnmatchcase(name, pattern) for name in names)


def _is_user(process: Process, pattern: str) -> bool:
    return fnmatchcase(str(process.uid), pattern) or (bool(process.user) and fnmatchcase(process.user, pattern))


def is_system_service(process: Process) -> bool:
    """Whether a process belongs to the host itself rather than to anyone's work."""
    return process.ref.pid == _INIT_PID or any(
        _is_service_path(_components(path)) for path in {process.cgroup, process.service}
    )


def _is_service_path(path: list[str]) -> bool:
    if "init.scope" in path:
        return True
    if path[:1] == ["system.slice"]:
        return not any(name.endswith(".scope") for name in path)
    managed = any(name.startswith("user@") and name.endswith(".service") for name in path)
    return managed and not _MANAGER_SLICES.isdisjoint(path)


def _names_a_service(root: list[str]) -> bool:
    return _is_service_path(root)


def _components(path: str) -> list[str]:
    return [name for name in path.split("/") if name]
