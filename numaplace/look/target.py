"""What to look at: one process, a process and its descendants, or all processes in a cgroup and below."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from numaplace.kernel import cgroups, procfs
from numaplace.kernel.cgroups import Cgroup, CgroupMount, Hierarchies
from numaplace.kernel.errors import KernelCallError, NoSuchFile, ProcessGone, Unsupported
from numaplace.kernel.files import HOST
from numaplace.kernel.status import read_status
from numaplace.look.errors import LookError, NotThere

PID_MAX = 1 << 22
"""The kernel's PID_MAX_LIMIT on 64-bit machines."""


@dataclass(frozen=True, slots=True)
class Target:
    """Processes to look at. ``alone``: one process is meant, and if it cannot be seen there is nothing to see."""

    title: str
    pids: tuple[int, ...]
    alone: bool = False


def process(pid: int, root: Path = HOST, start_ticks: int | None = None) -> Target:
    """The process of this pid, or of the thread that has it; of this start, if one is given. Raises LookError."""
    if not 0 < pid <= PID_MAX:
        raise NotThere(f"no process has the pid {pid}")
    try:
        stat = procfs.read_stat(pid, root)
        if stat.is_kernel_thread:
            raise LookError(f"process {pid} ({stat.comm}) is a thread of the kernel: it has no memory of its own")
        if stat.is_dead:
            raise NotThere(f"process {pid} ({stat.comm}) has ended, and only waits for its parent to notice")
        leader = read_status(pid, root).thread_group
    except ProcessGone as error:
        raise NotThere(f"no process has the pid {pid}") from error
    if start_ticks is not None and stat.start_ticks != start_ticks:
        raise NotThere(f"process {pid} has ended; another one has its pid by now")
    return Target(f"process {leader}", (leader,), alone=True)


def tree(pid: int, root: Path = HOST, start_ticks: int | None = None) -> Target:
    """A process and its descendants. Raises LookError."""
    first = process(pid, root, start_ticks)
    return Target(f"process {pid} and its descendants", tuple(_descendants(pid, root))) if pid in first.pids else first


def _descendants(pid: int, root: Path) -> Iterator[int]:
    waiting, seen = [pid], {pid}
    while waiting:
        pid = waiting.pop()
        yield pid
        try:
            fresh = [child for child in procfs.read_children(pid, root) if child not in seen]
        except (ProcessGone, Unsupported):
            continue
        seen.update(fresh)
        waiting += fresh


def cgroup(path: str, root: Path = HOST) -> Target:
    """All processes in a cgroup and below, by its directory or its path in a hierarchy. Raises LookError."""
    found = _found(path, cgroups.read_hierarchies(root), root)
    if found is None:
        raise NotThere(f"there is no cgroup {path}")
    pids: set[int] = set()
    try:
        for each in cgroups.descendants(found):
            pids.update(_pids(each))
    except KernelCallError as error:
        raise LookError(f"cgroup {path}: {error.strerror}") from error
    if not pids:
        raise NotThere(f"no process is in the cgroup {path}")
    return Target(f"cgroup {found.path}", tuple(sorted(pids)))


def _pids(each: Cgroup) -> list[int]:
    try:
        return [pid for pid in cgroups.read_pids(each) if pid]
    except NoSuchFile:
        return []  # removed since it was listed
    except KernelCallError as error:
        if isinstance(error, Unsupported):
            return []  # a threaded one: its processes are listed by the domain above
        raise


def _found(path: str, hierarchies: Hierarchies, root: Path) -> Cgroup | None:
    if ".." in Path(path).parts:
        return None
    mounts = _mounts(hierarchies)
    directory = root / path.strip("/")
    inside = [mount for mount in mounts if mount.directory in {directory, *directory.parents}]
    name = str(directory) if inside else path
    candidates = (cgroups.named(mount, name) for mount in inside[:1] or mounts)
    return next((each for each in candidates if each and (each.directory / "cgroup.procs").exists()), None)


def _mounts(hierarchies: Hierarchies) -> list[CgroupMount]:
    """The hierarchy of cpusets first: it is the one that places memory."""
    all_mounts = [hierarchies.of_controller("cpuset"), hierarchies.v2, *hierarchies.v1.values()]
    return list({mount.directory: mount for mount in all_mounts if mount is not None}.values())
