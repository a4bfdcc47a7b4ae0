"""What the kernel refuses, translated from errno in one place.

The same errno means different things from different calls: EACCES from `move_pages` says that the target lies outside
the task's cpuset (root included), from a file it is a missing permission; ENOMEM from `move_pages` is a full target
node, from `fanotify_init` it is not. So the translation is a table by call and errno, and every caller sees one of the
classes below, which are OSErrors that carry the call, the pid it was about and the errno.

`KernelFormatError` is the other fault: the kernel answered, in words that a parser here does not know.
"""

import errno
import os

_LINE_SHOWN_MAX = 200


class KernelCallError(OSError):
    """A system call or a kernel file refused, with an errno that has no class of its own."""

    def __init__(self, call: str, number: int, pid: int | None = None) -> None:
        about = "" if pid is None else f" of pid {pid}"
        super().__init__(number, f"{call}{about}: {os.strerror(number)}")
        self.call = call
        self.pid = pid

    def __reduce__(self) -> tuple[type["KernelCallError"], tuple[str, int | None, int | None]]:
        """Pickle by the arguments of construction: OSError's own way would repeat the message as a call."""
        return type(self), (self.call, self.errno, self.pid)


class ProcessGone(KernelCallError):  # noqa: N818 - says what happened
    """The process or thread does not exist, is exiting, or has no memory (a zombie, a kernel thread)."""


class Denied(KernelCallError):  # noqa: N818 - says what happened
    """The caller lacks a capability or a permission (ptrace access, CAP_SYS_NICE, CAP_SYS_ADMIN, file mode)."""


class OutsideCpuset(KernelCallError):  # noqa: N818 - says what happened
    """The target node is outside the task's own cpuset.mems; `move_pages` refuses that even to root."""


class TargetFull(KernelCallError):  # noqa: N818 - says what happened
    """The target node ran dry; a part of the pages may have moved already."""


class Unsupported(KernelCallError):  # noqa: N818 - says what happened
    """This kernel was built or started without the call, the file or the option."""


class NoSuchFile(Unsupported):
    """A file of sysfs, procfs or cgroupfs is not there: never was on this kernel, or its cgroup was removed."""


class KernelFormatError(ValueError):
    """Kernel text (or a kernel structure) that does not have the documented form."""

    def __init__(self, source: str, line: str) -> None:
        shown = line if len(line) <= _LINE_SHOWN_MAX else line[:_LINE_SHOWN_MAX] + "…"
        super().__init__(f"{source}: unexpected {shown!r}")
        self.source = source
        self.line = line

    def __reduce__(self) -> tuple[type["KernelFormatError"], tuple[str, str]]:
        """Pickle by the arguments of construction."""
        return type(self), (self.source, self.line)


_BY_ERRNO: dict[int, type[KernelCallError]] = {
    errno.ESRCH: ProcessGone,
    errno.EPERM: Denied,
    errno.EACCES: Denied,
    errno.ENOSYS: Unsupported,
    errno.EOPNOTSUPP: Unsupported,
}

_BY_CALL: dict[tuple[str, int], type[KernelCallError]] = {
    ("move_pages", errno.EACCES): OutsideCpuset,
    ("move_pages", errno.ENOMEM): TargetFull,
    ("migrate_pages", errno.ENOMEM): TargetFull,
    ("mbind", errno.ENOMEM): TargetFull,
    # Before 6.7 /proc/PID/pagemap has no ioctl at all.
    ("PAGEMAP_SCAN", errno.ENOTTY): Unsupported,
}

# Of files that are not a process's: ENODEV is a read of one whose cgroup was removed while it was open.
_BY_FILE_ERRNO: dict[int, type[KernelCallError]] = {
    errno.ENOENT: NoSuchFile,
    errno.ENOTDIR: NoSuchFile,
    errno.ENODEV: NoSuchFile,
}


def translate(call: str, number: int, pid: int | None = None) -> KernelCallError:
    """Return (not raise) the exception for an errno that a call left, about a pid where there is one."""
    kind = _BY_CALL.get((call, number)) or _BY_ERRNO.get(number, KernelCallError)
    return kind(call, number, pid)


def translate_file(call: str, error: OSError) -> KernelCallError:
    """Return the exception for what a file of sysfs, procfs or cgroupfs refused; for a process's see `files`."""
    number = error.errno or errno.EIO
    kind = _BY_FILE_ERRNO.get(number) or _BY_ERRNO.get(number, KernelCallError)
    return kind(call, number)
