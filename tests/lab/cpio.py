"""Archives for the kernel's initramfs, in its "newc" form, so that making one needs neither root nor a cpio program.

Format: https://docs.kernel.org/driver-api/early-userspace/buffer-format.html. Archives may be concatenated, and a later
one adds to an earlier one: that is how each guest's own settings follow the part that all guests of a kernel share.
"""

import stat
from collections.abc import Iterable
from dataclasses import dataclass

_FILE_ALIGN = 4
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder or symbolic link; `mode` holds its type and permissions, `rdev` a device's numbers."""

    path: str
    mode: int
    content: bytes = b""
    rdev: tuple[int, int] = (0, 0)


def folder(path: str) -> Entry:
    """A folder."""
    return Entry(path, stat.S_IFDIR | 0o755)


def file(path: str, content: bytes, *, executable: bool = False) -> Entry:
    """A file."""
    return Entry(path, stat.S_IFREG | (0o755 if executable else 0o644), content)


def link(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def device(path: str, major: int, minor: int) -> Entry:
    """A character device."""
    return Entry(path, stat.S_IFCHR | 0o600, rdev=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive of `entries`, in their order: a folder before what lies in it."""
    parts = [_record(number, entry) for number, entry in enumerate(entries, start=1)]
    return b"".join([*parts, _record(0, Entry(_TRAILER, 0))])


def _record(inode: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\0"
    fields = (inode, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, *entry.rdev, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % value for value in fields)
    return _aligned(header + name) + _aligned(entry.content)


def _aligned(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % _FILE_ALIGN)
