"""inotify: writes to single files, for the cpuset files of cgroup v1, whose file systems fanotify cannot mark.

One watch per file (or directory). A parent's write gives no event on a child's file, though it may change what is
effective there; who wrote is not told; and a cgroup that is removed says nothing: its paths must be given up by hand.
Structure and calls: inotify(7); libc has wrappers for these.
"""

import ctypes
import errno
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from numaplace.kernel.errors import KernelFormatError, translate, translate_file
from numaplace.kernel.syscalls import libc_function

MODIFY: Final = 0x2
CLOSE_WRITE: Final = 0x8
CREATE: Final = 0x100
DELETE: Final = 0x200
DELETE_SELF: Final = 0x400
IS_DIRECTORY: Final = 0x4000_0000
_QUEUE_OVERFLOW = 0x4000
_IGNORED = 0x8000  # the watch is gone, as its file is

_HEADER = struct.Struct("=iIII")  # wd mask cookie len
_BUFFER_BYTES = 16_384  # far above one event with the longest name


class RawEvent(NamedTuple):
    """One event as the kernel writes it; `name` is empty for an event of the watched file itself."""

    watch: int
    mask: int
    name: str


@dataclass(frozen=True, slots=True)
class PathEvent:
    """Something happened to a watched path, or to `name` in a watched directory; `mask` says what."""

    path: Path
    name: str
    mask: int


@dataclass(frozen=True, slots=True)
class PathEvents:
    """What one reading brought; `lost` says that the queue overflowed: sweep."""

    events: tuple[PathEvent, ...]
    lost: bool = False


def decode(data: bytes) -> list[RawEvent]:
    """Decode what a read of an inotify descriptor brought; raises KernelFormatError if it ends within an event."""
    events: list[RawEvent] = []
    offset = 0
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            raise KernelFormatError("inotify", data[offset:].hex())
        watch, mask, _, length = _HEADER.unpack_from(data, offset)
        offset += _HEADER.size
        name = data[offset : offset + length]
        if len(name) != length:
            raise KernelFormatError("inotify", data.hex())
        events.append(RawEvent(watch, mask, os.fsdecode(name.rstrip(b"\0"))))
        offset += length
    return events


class InotifyWatch:
    """Events of a set of paths. A context manager; `fileno` is readable when events wait."""

    def __init__(self) -> None:
        """Start with no path.

        Raises:
            KernelCallError: EMFILE, too many instances of this user (fs.inotify.max_user_instances).
        """
        self._descriptor = int(libc_function("inotify_init1")(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._descriptor < 0:
            raise translate("inotify_init1", ctypes.get_errno())
        self._paths: dict[int, Path] = {}

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

    def add(self, path: Path, mask: int = MODIFY) -> None:
        """Watch a path, or change what of it is watched.

        Raises:
            NoSuchFile: there is nothing (any more).
            Denied: it may not be read.
            KernelCallError: ENOSPC, too many watches of this user (fs.inotify.max_user_watches).
        """
        arguments = (ctypes.c_int(self._descriptor), ctypes.c_char_p(os.fsencode(path)), ctypes.c_uint32(mask))
        watch = int(libc_function("inotify_add_watch")(*arguments))
        if watch < 0:
            number = ctypes.get_errno()
            raise translate_file(f"watching {path}", OSError(number, os.strerror(number)))
        self._paths[watch] = path

    def discard(self, path: Path) -> None:
        """Stop watching a path; nothing if it is not watched, or is gone and its watch with it."""
        for watch in [watch for watch, watched in self._paths.items() if watched == path]:
            del self._paths[watch]
            libc_function("inotify_rm_watch")(ctypes.c_int(self._descriptor), ctypes.c_int(watch))

    @property
    def paths(self) -> frozenset[Path]:
        """The watched paths."""
        return frozenset(self._paths.values())

    def read(self) -> PathEvents:
        """Return the events that wait, without blocking; none if there are none. Forgets paths that are gone.

        Raises:
            KernelFormatError: see `decode`.
            KernelCallError: the descriptor is broken.
        """
        try:
            raw = decode(os.read(self._descriptor, _BUFFER_BYTES))
        except BlockingIOError:
            return PathEvents(())
        except OSError as error:
            raise translate("reading inotify", error.errno or errno.EIO) from error
        events: list[PathEvent] = []
        for event in raw:
            path = self._paths.pop(event.watch, None) if event.mask & _IGNORED else self._paths.get(event.watch)
            # An event of a watch that was given up meanwhile has no path any more, and nobody to hear it.
            if path is not None and not event.mask & _IGNORED:
                events.append(PathEvent(path, event.name, event.mask))
        return PathEvents(tuple(events), lost=any(event.mask & _QUEUE_OVERFLOW for event in raw))
