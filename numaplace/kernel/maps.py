r"""Reader of /proc/PID/maps: where a process's mappings are and what backs them.

Format: proc_pid_maps(5). The name runs to the line's end and may hold blanks; a newline in it is `\012`. The cheapest
list of address ranges: no page table is walked for it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from numaplace.kernel.errors import KernelFormatError
from numaplace.kernel.files import HOST, read_process_text
from numaplace.model.residency import Backing

_DELETED = " (deleted)"
_NO_MEMORY = frozenset({"[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]", "[uprobes]", "[sigpage]", "[vectors]"})
_SHARED_NAMES = ("/dev/shm/", "/memfd:", "/SYSV", "/dev/zero", "/anon_hugepage", "/dev/hugepages")  # noqa: S108 - kernel names, not files of ours
_DEVICE_NAMES = ("/dev/", "anon_inode:")
_LINE = re.compile(
    r"([0-9a-f]{1,16})-([0-9a-f]{1,16}) ([r-])([w-])([x-])([sp]) "
    r"([0-9a-f]{1,16}) ([0-9a-f]{1,8}):([0-9a-f]{1,8}) ([0-9]{1,20})(?: +(\S.*)?)?",
    re.ASCII,
)


class Mapping(NamedTuple):
    """One mapping: `[start, end)`, its permissions, and the file or the kernel's name for what backs it.

    `name` is a path, or a name in brackets such as `[heap]`, or empty for plain anonymous memory. (A tuple because a
    process has hundreds: a dataclass takes three times as long to make.)
    """

    start: int
    end: int
    readable: bool
    writable: bool
    executable: bool
    shared: bool
    offset: int
    device: tuple[int, int]
    inode: int
    name: str
    deleted: bool

    @property
    def length_bytes(self) -> int:
        """Its size in the address space."""
        return self.end - self.start


def backing_of(mapping: Mapping) -> Backing:
    """What is behind a mapping, by its name: the kernel has no plainer word for it that costs no walk."""
    if not mapping.name:
        return Backing.PRIVATE
    if mapping.name in _NO_MEMORY:
        return Backing.KERNEL
    if mapping.name.startswith(_SHARED_NAMES):
        return Backing.SHARED
    if mapping.name.startswith(_DEVICE_NAMES):
        return Backing.DEVICE
    return Backing.FILE if mapping.inode else Backing.PRIVATE


def parse_line(line: str, source: str = "maps") -> Mapping:
    """Parse one line, without its newline; raises KernelFormatError."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise KernelFormatError(source, line)
    start, end, r, w, x, s, offset, major, minor, inode, name = match.groups("")
    deleted = name.endswith(_DELETED)
    if deleted:
        name = name.removesuffix(_DELETED)
    mapping = Mapping(
        int(start, 16),
        int(end, 16),
        readable=r == "r",
        writable=w == "w",
        executable=x == "x",
        shared=s == "s",
        offset=int(offset, 16),
        device=(int(major, 16), int(minor, 16)),
        inode=int(inode),
        name=name.replace(r"\012", "\n"),
        deleted=deleted,
    )
    if mapping.start >= mapping.end:
        raise KernelFormatError(source, line)
    return mapping


def parse(text: str, source: str = "maps") -> Iterator[Mapping]:
    """Parse the content of a maps file, line by line; raises KernelFormatError."""
    if text and not text.endswith("\n"):
        raise KernelFormatError(source, text[-80:])
    return (parse_line(line, source) for line in text.split("\n")[:-1])


def read_maps(pid: int, root: Path = HOST) -> list[Mapping]:
    """Read the mappings of a process, in address order; none for a process without memory.

    Raises:
        ProcessGone: it does not exist (any more).
        Denied: no ptrace access.
        KernelFormatError: see `parse_line`.
    """
    return list(parse(read_process_text(root, pid, "maps"), f"/proc/{pid}/maps"))
