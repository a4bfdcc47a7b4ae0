"""fanotify on the cgroup2 mount: every write to any file of the tree, with the writer's pid.

One mark on the file system covers all cgroups, those not born yet included. It says that a file was written, not what:
the value must be read. It does not see effective values that follow from a write at an ancestor, nor CPU hotplug, nor
`sched_setaffinity`: it wakes a sweep, it does not replace it.

Structures: fanotify(7), include/uapi/linux/fanotify.h. Each event brings an open file descriptor, closed here once its
path is known. The path is as the writer's mount namespace has it. An event that could not be delivered (queue
overflow, no free descriptor) is a reason to sweep, and is reported as such.
"""

import ctypes
import errno
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from numaplace.kernel.errors import KernelFormatError, translate
from numaplace.kernel.syscalls import system_call

MODIFY: Final = 0x2
CLOSE_WRITE: Final = 0x8
_QUEUE_OVERFLOW = 0x4000

_INIT_FLAGS = 0x1 | 0x2  # FAN_CLOEXEC | FAN_NONBLOCK; the class FAN_CLASS_NOTIF is 0
_MARK_ADD_FILESYSTEM = 0x1 | 0x100  # FAN_MARK_ADD | FAN_MARK_FILESYSTEM
_EVENT_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # of the descriptors that come with events
_AT_FDCWD = -100

_METADATA = struct.Struct("=IBBHQii")  # event_len vers reserved metadata_len mask fd pid
_VERSION = 3
_BUFFER_BYTES = 64 * _METADATA.size
_DELETED = " (deleted)"


@dataclass(frozen=True, slots=True)
class FileWritten:
    """A file was modified, or closed after being open for writing.

    `pid` is the writer's, 0 for one outside the reader's pid namespace; the process may be gone by now.
    """

    path: str
    pid: int
    mask: int


@dataclass(frozen=True, slots=True)
class FileWrites:
    """What one reading brought; `lost` says that there were events nobody will hear of: sweep."""

    events: tuple[FileWritten, ...]
    lost: bool = False


class RawEvent(NamedTuple):
    """One event as the kernel writes it; `descriptor` is -1 for a queue overflow."""

    mask: int
    descriptor: int
    pid: int


def decode(data: bytes) -> list[RawEvent]:
    """Decode what a read of a fanotify descriptor brought.

    Raises:
        KernelFormatError: another version of the metadata, or a buffer that ends within an event.
    """
    events: list[RawEvent] = []
    offset = 0
    while offset < len(data):
        if len(data) - offset < _METADATA.size:
            raise KernelFormatError("fanotify", data[offset:].hex())
        length, version, _, metadata_length, mask, descriptor, pid = _METADATA.unpack_from(data, offset)
        if version != _VERSION or not _METADATA.size <= metadata_length <= length <= len(data) - offset:
            raise KernelFormatError("fanotify", data[offset : offset + _METADATA.size].hex())
        events.append(RawEvent(mask, descriptor, pid))
        offset += length
    return events


class FanotifyWatch:
    """Writes to all files of one file system. A context manager; `fileno` is readable when events wait."""

    def __init__(self, mount_point: Path, mask: int = MODIFY | CLOSE_WRITE) -> None:
        """Mark the file system that is mounted there.

        Raises:
            Denied: no CAP_SYS_ADMIN.
            Unsupported: the kernel was built without fanotify.
            KernelCallError: EINVAL before Linux 4.20, ENODEV or EXDEV for a file system without an id, EMFILE.
        """
        self._descriptor = system_call("fanotify_init", ctypes.c_uint(_INIT_FLAGS), ctypes.c_uint(_EVENT_FLAGS))
        try:
            system_call(
                "fanotify_mark",
                ctypes.c_int(self._descriptor),
                ctypes.c_uint(_MARK_ADD_FILESYSTEM),
                ctypes.c_uint64(mask),
                ctypes.c_int(_AT_FDCWD),
                ctypes.c_char_p(os.fsencode(mount_point)),
            )
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._descriptor

    def close(self) -> None:
        """Stop watching; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def read(self) -> FileWrites:
        """Return the events that wait, without blocking; none if there are none. Reads one buffer at most.

        Raises:
            KernelFormatError: see `decode`.
            KernelCallError: the descriptor is broken.
        """
        try:
            data = os.read(self._descriptor, _BUFFER_BYTES)
        except BlockingIOError:
            return FileWrites(())
        except OSError as error:
            if error.errno == errno.EBADF:
                raise translate("reading fanotify", errno.EBADF) from error
            # The kernel could not open the event's file for us (EMFILE, ENOENT, …), and dropped the event.
            return FileWrites((), lost=True)
        raw = decode(data)
        # Every descriptor must be closed, even if one cannot be resolved: so all are, before anything is judged.
        resolved = [(event, _take_path(event.descriptor)) for event in raw]
        written = tuple(FileWritten(path, event.pid, event.mask) for event, path in resolved if path is not None)
        return FileWrites(written, lost=any(event.mask & _QUEUE_OVERFLOW for event in raw))


def _take_path(descriptor: int) -> str | None:
    """Return the path of an event's file and close its descriptor; None if there is none, as with an overflow."""
    if descriptor < 0:
        return None
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(_DELETED)  # noqa: PTH115 - not a path to walk
    finally:
        os.close(descriptor)
