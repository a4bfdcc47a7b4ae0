"""What else /proc says of a process: status, what it may do, command, command line, and its cgroups.

Formats: proc_pid_status(5), proc_pid_cmdline(5), cgroups(7). `status` is `Key:<tab>value` lines, and newer kernels add
keys: the ones read here must be there and well formed, all others are passed over.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from numaplace.kernel.errors import KernelFormatError
from numaplace.kernel.files import HOST, cpus_in, nodes_in, parse_int, read_process_text
from numaplace.model.ids import Cpus, Nodes

_KIB = 1024


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """The parts of `/proc/PID/status` that matter to placement; sizes in bytes.

    `rss_bytes` is 0 for a kernel thread or a zombie, which have no memory. `namespace_pids` are its pids from the
    reader's pid namespace inwards, the last being its own view of itself.
    """

    pid: int
    thread_group: int
    parent_pid: int
    uid: int
    effective_uid: int
    threads: int
    rss_bytes: int
    locked_bytes: int
    pinned_bytes: int
    hugetlb_bytes: int
    cpus_allowed: Cpus
    mems_allowed: Nodes
    namespace_pids: tuple[int, ...]


class Capability(enum.IntEnum):
    """The capabilities that looking at memory and moving it takes, by their bit (include/uapi/linux/capability.h)."""

    DAC_READ_SEARCH = 2
    SYS_PTRACE = 19
    SYS_ADMIN = 21
    SYS_NICE = 23


class Seccomp(enum.IntEnum):
    """Whether system calls of a process are filtered (include/uapi/linux/seccomp.h)."""

    OFF = 0
    STRICT = 1
    FILTER = 2


@dataclass(frozen=True, slots=True)
class Privileges:
    """What a process may do: capabilities in effect, as the kernel's bit mask, and the filter of its system calls."""

    effective: int
    seccomp: Seccomp

    def has(self, capability: Capability) -> bool:
        """Whether the capability is in effect."""
        return bool(self.effective >> capability & 1)


@dataclass(frozen=True, slots=True)
class CgroupPath:
    """One line of `/proc/PID/cgroup`.

    Hierarchy 0 without controllers is cgroup v2; a controller `name=systemd` is a named v1 hierarchy without any.
    """

    hierarchy: int
    controllers: frozenset[str]
    path: str


def parse_status(text: str, source: str = "status") -> ProcessStatus:
    """Parse the content of `/proc/PID/status`.

    Raises:
        KernelFormatError: a key is missing, twice there, or has a value of another form.
    """
    values = _keys(text, source)
    uids = _ints(values, "Uid", source)
    if len(uids) != 4:  # noqa: PLR2004 - real, effective, saved, file system
        raise KernelFormatError(source, values["Uid"])
    return ProcessStatus(
        pid=_int(values, "Pid", source),
        thread_group=_int(values, "Tgid", source),
        parent_pid=_int(values, "PPid", source),
        uid=uids[0],
        effective_uid=uids[1],
        threads=_int(values, "Threads", source),
        rss_bytes=_size(values, "VmRSS", source),
        locked_bytes=_size(values, "VmLck", source),
        pinned_bytes=_size(values, "VmPin", source),
        hugetlb_bytes=_size(values, "HugetlbPages", source),
        cpus_allowed=cpus_in(_value(values, "Cpus_allowed_list", source), source),
        mems_allowed=nodes_in(_value(values, "Mems_allowed_list", source), source),
        namespace_pids=tuple(_ints(values, "NSpid", source)),
    )


def _keys(text: str, source: str) -> dict[str, str]:
    if not text.endswith("\n"):
        raise KernelFormatError(source, text[-80:])
    values: dict[str, str] = {}
    for line in text[:-1].split("\n"):
        key, colon, value = line.partition(":")
        if not colon or key in values:
            raise KernelFormatError(source, line)
        values[key] = value
    return values


def _value(values: Mapping[str, str], key: str, source: str) -> str:
    try:
        return values[key].strip()
    except KeyError as error:
        raise KernelFormatError(source, f"no {key}") from error


def _int(values: Mapping[str, str], key: str, source: str) -> int:
    return parse_int(_value(values, key, source), source)


def _ints(values: Mapping[str, str], key: str, source: str) -> list[int]:
    return [parse_int(field, source) for field in _value(values, key, source).split()]


def _size(values: Mapping[str, str], key: str, source: str) -> int:
    """Return a size in bytes; a task without memory has no such line."""
    if key not in values:
        return 0
    number, blank, unit = values[key].strip().partition(" ")
    if not blank or unit != "kB":
        raise KernelFormatError(source, values[key])
    return parse_int(number, source) * _KIB


def read_status(pid: int, root: Path = HOST, tid: int | None = None) -> ProcessStatus:
    """Read `/proc/PID/status`, or that of one thread.

    Raises:
        ProcessGone: it does not exist (any more).
        KernelFormatError: see `parse_status`.
    """
    name = "status" if tid is None else f"task/{tid}/status"
    return parse_status(read_process_text(root, pid, name), f"/proc/{pid}/{name}")


def parse_privileges(text: str, source: str = "status") -> Privileges:
    """Parse what `/proc/PID/status` says of privileges; a kernel without seccomp has no line for it.

    Raises:
        KernelFormatError: the capabilities are missing, or a value has another form.
    """
    values = _keys(text, source)
    effective = parse_int(_value(values, "CapEff", source), source, 16)
    mode = _int(values, "Seccomp", source) if "Seccomp" in values else 0
    if effective < 0 or mode not in set(Seccomp):
        raise KernelFormatError(source, f"CapEff {effective:x}, Seccomp {mode}")
    return Privileges(effective, Seccomp(mode))


def read_privileges(pid: int, root: Path = HOST) -> Privileges:
    """Read what a process may do; raises as `read_status`."""
    return parse_privileges(read_process_text(root, pid, "status"), f"/proc/{pid}/status")


def read_command(pid: int, root: Path = HOST, tid: int | None = None) -> str:
    """Return the command name of a process or thread: 15 bytes at most, of its own choice; raises ProcessGone."""
    name = "comm" if tid is None else f"task/{tid}/comm"
    return read_process_text(root, pid, name).removesuffix("\n")


def parse_command_line(data: str) -> tuple[str, ...]:
    """Split the content of `/proc/PID/cmdline`; a process may have overwritten it, so any text is one."""
    return tuple(data.removesuffix("\0").split("\0")) if data else ()


def read_command_line(pid: int, root: Path = HOST) -> tuple[str, ...]:
    """Return the arguments a process was started with; empty for a kernel thread or a zombie; raises ProcessGone."""
    return parse_command_line(read_process_text(root, pid, "cmdline"))


def parse_cgroup_paths(text: str, source: str = "cgroup") -> tuple[CgroupPath, ...]:
    """Parse the content of `/proc/PID/cgroup`: v1, v2, or both at once (hybrid).

    A path may hold colons and blanks, but no newline: the kernel refuses such a cgroup.

    Raises:
        KernelFormatError: a line of another form.
    """
    if text and not text.endswith("\n"):
        raise KernelFormatError(source, text[-80:])
    return tuple(_cgroup_path(line, source) for line in text.split("\n")[:-1])


def _cgroup_path(line: str, source: str) -> CgroupPath:
    hierarchy, _, rest = line.partition(":")
    controllers, colon, path = rest.partition(":")
    if not colon or not path.startswith("/"):
        raise KernelFormatError(source, line)
    names = frozenset(controllers.split(",")) if controllers else frozenset[str]()
    return CgroupPath(parse_int(hierarchy, source), names, path)


def read_cgroup_paths(pid: int, root: Path = HOST, tid: int | None = None) -> tuple[CgroupPath, ...]:
    """Read in which cgroup of each hierarchy a process, or one of its threads, is.

    Paths are relative to the reader's cgroup namespace; one that was removed ends in ` (deleted)`.

    Raises:
        ProcessGone: it does not exist (any more).
        KernelFormatError: see `parse_cgroup_paths`.
    """
    name = "cgroup" if tid is None else f"task/{tid}/cgroup"
    return parse_cgroup_paths(read_process_text(root, pid, name), f"/proc/{pid}/{name}")
