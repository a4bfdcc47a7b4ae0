"""Where the cgroup hierarchies are mounted, in which cgroup a process is, and who is in a cgroup.

A host may have cgroup v2 alone, v1 with a mount per controller, or both (hybrid), and a container sees only a part of
a hierarchy: the mount's own root in /proc/self/mountinfo says which, and paths of /proc/PID/cgroup are translated by
it. Formats: cgroups(7), proc_pid_mountinfo(5).

Which version a controller is on is decided by where it is mounted, never by the kernel's version.
"""

import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from numaplace.kernel.errors import KernelFormatError, translate_file
from numaplace.kernel.files import HOST, parse_int, read_text, unescape, write_text
from numaplace.kernel.status import CgroupPath, read_cgroup_paths
from numaplace.model.ids import NodeId

Version: TypeAlias = Literal[1, 2]

_MOUNT_FIELDS_MIN = 6

# What tells a v1 mount's controllers from its other options (/proc/cgroups leaves out what v1 does not have any more).
_V1_CONTROLLERS = frozenset(
    {
        "blkio",
        "cpu",
        "cpuacct",
        "cpuset",
        "debug",
        "devices",
        "freezer",
        "hugetlb",
        "memory",
        "misc",
        "net_cls",
        "net_prio",
        "perf_event",
        "pids",
        "rdma",
    }
)


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo; `root` is which part of its file system is mounted."""

    mount_point: str
    root: str
    file_system: str
    options: frozenset[str]


@dataclass(frozen=True, slots=True)
class CgroupMount:
    """A mounted hierarchy: its directory on this host, the part of it that is mounted, version and v1 controllers."""

    directory: Path
    part: str
    version: Version
    controllers: frozenset[str]
    no_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One cgroup: its directory, the version of its hierarchy, and its path in it.

    `no_prefix` is a v1 mount whose files are `cpus`, not `cpuset.cpus`.
    """

    directory: Path
    version: Version
    path: str
    no_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """The cgroup hierarchies of a host: the v2 one, and the v1 one of each controller (or `name=…`)."""

    v2: CgroupMount | None
    v1: Mapping[str, CgroupMount]

    def of_controller(self, controller: str) -> CgroupMount | None:
        """Return the hierarchy that a controller is on: v1 if it is mounted there, else v2, which then may have it."""
        return self.v1.get(controller, self.v2)


def parse_mounts(text: str, source: str = "mountinfo") -> tuple[Mount, ...]:
    """Parse the content of /proc/PID/mountinfo.

    Raises:
        KernelFormatError: a line of another form.
    """
    if not text.endswith("\n"):
        raise KernelFormatError(source, text[-80:])
    return tuple(_mount(line, source) for line in text.split("\n")[:-1])


def _mount(line: str, source: str) -> Mount:
    fields = line.split(" ")
    # Between the mount's own fields and those of its file system stand optional ones, ended by a lone hyphen.
    separator = fields.index("-", _MOUNT_FIELDS_MIN) if "-" in fields[_MOUNT_FIELDS_MIN:] else 0
    if not separator or len(fields) != separator + 4 or not fields[4].startswith("/"):
        raise KernelFormatError(source, line)
    options = frozenset(fields[separator + 3].split(","))
    return Mount(unescape(fields[4]), unescape(fields[3]), fields[separator + 1], options)


def read_mounts(root: Path = HOST) -> tuple[Mount, ...]:
    """Read what is mounted in this process's view; raises KernelFormatError."""
    path = root / "proc/self/mountinfo"
    return parse_mounts(read_text(path), str(path))


def hierarchies_of(mounts: Iterable[Mount], root: Path = HOST) -> Hierarchies:
    """Find the cgroup hierarchies among the mounts; the first mount of each counts. Mount points are below the root."""
    v2: CgroupMount | None = None
    v1: dict[str, CgroupMount] = {}
    for mount in mounts:
        directory = root / mount.mount_point.lstrip("/")
        if mount.file_system == "cgroup2" and v2 is None:
            v2 = CgroupMount(directory, mount.root, 2, frozenset())
        elif mount.file_system == "cgroup":
            names = frozenset(o for o in mount.options if o in _V1_CONTROLLERS or o.startswith("name="))
            found = CgroupMount(directory, mount.root, 1, names, "noprefix" in mount.options)
            v1 |= {name: found for name in names if name not in v1}
    return Hierarchies(v2, v1)


def read_hierarchies(root: Path = HOST) -> Hierarchies:
    """Read which cgroup hierarchies a host has, and where; raises KernelFormatError."""
    return hierarchies_of(read_mounts(root), root)


def at_path(mount: CgroupMount, path: str) -> Cgroup | None:
    """Return the cgroup of a path of /proc/PID/cgroup in a hierarchy, or None if it lies outside the mounted part."""
    part = mount.part.rstrip("/")
    if path != mount.part and not path.startswith(f"{part}/"):
        return None
    # A path may climb out of the reader's cgroup namespace: `/../other`. There is no directory for that.
    relative = posixpath.normpath(path[len(part) :].lstrip("/") or ".")
    if relative == ".." or relative.startswith("../"):
        return None
    return Cgroup(mount.directory / relative, mount.version, path, mount.no_prefix)


def named(mount: CgroupMount, name: str) -> Cgroup | None:
    """Return the cgroup that a person names: its directory on this host, or its path as /proc/PID/cgroup has it.

    It may not exist; None if it lies outside the mounted part.
    """
    part = "" if mount.part == "/" else mount.part
    directory = f"{mount.directory}/"
    inside = f"{part}/{name[len(directory) :]}" if f"{name}/".startswith(directory) else name
    return at_path(mount, posixpath.normpath(f"/{inside.lstrip('/')}"))


def parent(cgroup: Cgroup) -> Cgroup | None:
    """Return the cgroup directly above, or None of the hierarchy's top."""
    above = posixpath.dirname(cgroup.path)
    return None if above == cgroup.path else Cgroup(cgroup.directory.parent, cgroup.version, above, cgroup.no_prefix)


def path_in(mount: CgroupMount, paths: tuple[CgroupPath, ...]) -> str | None:
    """Return a process's path in a hierarchy, from all its cgroup paths."""
    for path in paths:
        on_v2 = path.hierarchy == 0 and not path.controllers
        if on_v2 if mount.version == 2 else mount.controllers & path.controllers:  # noqa: PLR2004 - cgroup v2
            return path.path
    return None


def cgroup_of(mount: CgroupMount, pid: int, root: Path = HOST, tid: int | None = None) -> Cgroup | None:
    """Read in which cgroup of a hierarchy a process (or one thread) is; None if outside the mounted part.

    Raises:
        ProcessGone: it does not exist (any more).
    """
    path = path_in(mount, read_cgroup_paths(pid, root, tid))
    return None if path is None else at_path(mount, path)


def children(cgroup: Cgroup) -> tuple[Cgroup, ...]:
    """Return the cgroups directly below, by name; none if it was removed."""
    try:
        with os.scandir(cgroup.directory) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise translate_file(f"listing {cgroup.directory}", error) from error
    return tuple(child(cgroup, name) for name in names)


def child(cgroup: Cgroup, name: str) -> Cgroup:
    """Return the cgroup of this name directly below, whether it exists or not."""
    return Cgroup(cgroup.directory / name, cgroup.version, posixpath.join(cgroup.path, name), cgroup.no_prefix)


def descendants(cgroup: Cgroup) -> Iterator[Cgroup]:
    """Return the cgroup and all below it, parents first."""
    waiting = [cgroup]
    while waiting:
        cgroup = waiting.pop()
        yield cgroup
        waiting.extend(reversed(children(cgroup)))


def _ids(cgroup: Cgroup, name: str) -> list[int]:
    path = cgroup.directory / name
    return sorted({parse_int(line, str(path)) for line in read_text(path).split()})


def read_pids(cgroup: Cgroup) -> list[int]:
    """Read the processes in a cgroup itself, ascending; 0 stands for one outside the reader's pid namespace.

    Raises:
        NoSuchFile: the cgroup was removed.
        Unsupported: it is a threaded one, whose processes only the domain above lists.
    """
    return _ids(cgroup, "cgroup.procs")


def attach_process(cgroup: Cgroup, pid: int) -> None:
    """Move a whole process into a cgroup. With v1 `memory_migrate`, and on v2, its pages may follow at once.

    Raises:
        ProcessGone: no such process.
        NoSuchFile: the cgroup was removed.
        KernelCallError: ENOSPC for a v1 cpuset without CPUs or nodes, EBUSY for a v2 one with controllers below it.
    """
    _attach(cgroup, "cgroup.procs", pid)


def _attach(cgroup: Cgroup, name: str, pid: int) -> None:
    if pid <= 0:
        raise ValueError(f"the kernel takes {pid} for the writer itself")
    write_text(cgroup.directory / name, str(pid))


def parse_numa_stat(text: str, unit_bytes: int, source: str = "memory.numa_stat") -> dict[str, dict[NodeId, int]]:
    """Parse memory.numa_stat into bytes by kind and node: `anon N0=… N1=…` (v2, bytes), `anon=… N0=…` (v1, pages).

    Raises:
        KernelFormatError: a line of another form.
    """
    if text and not text.endswith("\n"):
        raise KernelFormatError(source, text[-80:])
    found: dict[str, dict[NodeId, int]] = {}
    for line in text.split("\n")[:-1]:
        head, *fields = line.split(" ")
        kind, equals, total = head.partition("=")
        if not kind.isidentifier() or (equals and not total.isdecimal()) or kind in found:
            raise KernelFormatError(source, line)
        found[kind] = dict(_by_node(field, unit_bytes, source, line) for field in fields)
    return found


def _by_node(field: str, unit_bytes: int, source: str, line: str) -> tuple[NodeId, int]:
    node, equals, count = field.partition("=")
    if not equals or not node.startswith("N"):
        raise KernelFormatError(source, line)
    return NodeId(parse_int(node[1:], source)), parse_int(count, source) * unit_bytes


def read_numa_stat(cgroup: Cgroup, page_bytes: int) -> dict[str, dict[NodeId, int]]:
    """Read a cgroup's memory by kind and node, in bytes.

    It is what was *charged* to the cgroup: memory that a task touched before it entered is missing.

    Raises:
        NoSuchFile: the memory controller is not enabled there, or the cgroup was removed.
        KernelFormatError: see `parse_numa_stat`.
    """
    path = cgroup.directory / "memory.numa_stat"
    return parse_numa_stat(read_text(path), page_bytes if cgroup.version == 1 else 1, str(path))
