"""A tracefs instance of our own: kernel events as text, without a BPF toolchain and without disturbing other tracers.

An instance has its own buffers, filters and enabled events, and is a directory that outlives the process that made it:
so its name holds the identity of its maker, and a later start removes those whose maker is gone.

Read without blocking. The clock is set to CLOCK_MONOTONIC, so that times compare with `time.monotonic_ns()`. When the
reader is too slow the oldest events are overwritten, and how many is told: then sweep. Documentation/trace/ftrace.rst.
"""

import errno
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from numaplace.kernel.cgroups import Mount, read_mounts
from numaplace.kernel.errors import KernelFormatError, NoSuchFile, translate_file
from numaplace.kernel.files import HOST, write_text
from numaplace.kernel.procfs import ProcessId, is_alive, read_identity
from numaplace.kernel.trace_events import TraceEvent, parse_line, parse_lost

CGROUP_ATTACH: Final = "cgroup/cgroup_attach_task"
AFFINITY_CALL: Final = "syscalls/sys_enter_sched_setaffinity"
AFFINITY_RETURN: Final = "syscalls/sys_exit_sched_setaffinity"
FORK: Final = "sched/sched_process_fork"
EXEC: Final = "sched/sched_process_exec"
EXIT: Final = "sched/sched_process_exit"
MIGRATE_PAGES: Final = "migrate/mm_migrate_pages"
USER_FAULT: Final = "exceptions/page_fault_user"
KERNEL_FAULT: Final = "exceptions/page_fault_kernel"
DAMON_AGGREGATED: Final = "damon/damon_aggregated"

_PREFIX = "numaplace"
_INSTANCE = re.compile(rf"{_PREFIX}-([0-9]{{1,10}})-([0-9]{{1,20}})(?:-[a-z]{{1,20}})?", re.ASCII)
_READ_BYTES = 65_536
_LINE_BYTES_MAX = 65_536  # far above any event; what is longer is no line


@dataclass(frozen=True, slots=True)
class TraceReading:
    """What one reading brought; with `lost` or `unreadable` above zero there is more than was understood: sweep."""

    events: tuple[TraceEvent, ...]
    lost: int = 0
    unreadable: int = 0


def find_tracefs(mounts: tuple[Mount, ...], root: Path = HOST) -> Path | None:
    """Return where tracefs is mounted, on its own or inside debugfs; None if nowhere."""
    for mount in mounts:
        if mount.file_system == "tracefs":
            return root / mount.mount_point.lstrip("/")
    for mount in mounts:
        tracing = root / mount.mount_point.lstrip("/") / "tracing"
        if mount.file_system == "debugfs" and (tracing / "instances").is_dir():
            return tracing
    return None


def remove_stale_instances(tracefs: Path) -> tuple[str, ...]:
    """Remove the instances that earlier runs left behind, and return their names. One that is still read stays."""
    removed: list[str] = []
    for entry in sorted((tracefs / "instances").iterdir()):
        match = _INSTANCE.fullmatch(entry.name)
        if match is None or is_alive(ProcessId(int(match[1]), int(match[2]))):
            continue
        try:
            entry.rmdir()
        except OSError:
            # Somebody holds it open, or removed it first: it is left to the next start, and harms nobody.
            continue
        removed.append(entry.name)
    return tuple(removed)


class TraceInstance:
    """An instance with events of its own choice. A context manager; `fileno` is readable when events wait."""

    def __init__(self, tracefs: Path | None = None, buffer_kb_per_cpu: int = 256, purpose: str = "") -> None:
        """Create the instance, with nothing enabled.

        Args:
            tracefs: where it is mounted; looked up if None.
            buffer_kb_per_cpu: how much waits for a slow reader, on every possible CPU.
            purpose: lower-case letters that tell several instances of one process apart.

        Raises:
            NoSuchFile: tracefs is not mounted.
            Denied: it may not be written (no root, lockdown).
            KernelCallError: EEXIST, this process has an instance for this purpose already; EROFS, ENOMEM.
        """
        found = tracefs or find_tracefs(read_mounts())
        if found is None:
            raise NoSuchFile("finding tracefs", errno.ENOENT)
        own = read_identity(os.getpid())
        name = "-".join(filter(None, [_PREFIX, str(own.pid), str(own.start_ticks), purpose]))
        if _INSTANCE.fullmatch(name) is None:
            raise ValueError(f"a purpose is up to 20 lower-case letters, not {purpose!r}")
        self.directory = found / "instances" / name
        self._tail = b""
        self._descriptor = -1
        try:
            self.directory.mkdir()
        except OSError as error:
            raise translate_file(f"creating {self.directory}", error) from error
        try:
            self._set_up(buffer_kb_per_cpu)
        except BaseException:
            self.close()
            raise

    def _set_up(self, buffer_kb_per_cpu: int) -> None:
        write_text(self.directory / "buffer_size_kb", f"{buffer_kb_per_cpu}\n")
        write_text(self.directory / "trace_clock", "mono\n")
        # Wake a waiting reader at the first event, not (as by default) when a half of the buffer is full.
        write_text(self.directory / "buffer_percent", "0\n")
        try:
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            self._descriptor = os.open(self.directory / "trace_pipe", flags)
        except OSError as error:
            raise translate_file(f"opening {self.directory / 'trace_pipe'}", error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._descriptor

    def enable(self, event: str, event_filter: str | None = None) -> None:
        """Let an event into the buffer, such as `CGROUP_ATTACH`, only where the filter holds if one is given.

        Raises:
            NoSuchFile: this kernel has no such event.
            KernelCallError: EINVAL for a filter it does not understand.
        """
        directory = self.directory / "events" / event
        if event_filter is not None:
            write_text(directory / "filter", f"{event_filter}\n")
        write_text(directory / "enable", "1\n")

    def disable(self, event: str) -> None:
        """Let an event into the buffer no more; raises NoSuchFile."""
        write_text(self.directory / "events" / event / "enable", "0\n")

    def only_threads(self, tids: Iterable[int]) -> None:
        """Let only events of these threads into the buffer, and of those that they will start.

        While the kernel puts one list in place of another there is none: do not record meanwhile.

        Raises:
            NoSuchFile: this kernel cannot.
            ProcessGone: none of them is there any more.
        """
        write_text(self.directory / "options/event-fork", "1\n")
        write_text(self.directory / "set_event_pid", " ".join(map(str, tids)) + "\n")

    def record(self, *, on: bool) -> None:
        """Let events into the buffer, or none at all; far cheaper than to enable and disable each event."""
        write_text(self.directory / "tracing_on", f"{int(on)}\n")

    def read(self) -> TraceReading:
        """Return the events that wait, without blocking; none if there are none. Takes one buffer at most.

        Raises:
            KernelCallError: the instance is broken.
        """
        return parse_lines(self.read_lines())

    def read_lines(self) -> list[bytes]:
        """Return the lines that wait as they are, for whoever parses them by the hundred thousand; else as `read`."""
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return []
        except OSError as error:
            raise translate_file("reading trace_pipe", error) from error
        # The kernel cuts its text where the buffer ends, not where a line does.
        *lines, self._tail = (self._tail + data).split(b"\n")
        if len(self._tail) > _LINE_BYTES_MAX:
            lines.append(self._tail)
            self._tail = b""
        return lines

    def close(self) -> None:
        """Stop, and remove the instance; a second call does nothing.

        Raises:
            KernelCallError: EBUSY, somebody else reads it.
        """
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        try:
            self.directory.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            raise translate_file(f"removing {self.directory}", error) from error


def parse_lines(lines: list[bytes]) -> TraceReading:
    """Parse lines of a trace_pipe; those that cannot be read are counted, as one of them must not hide the others."""
    events: list[TraceEvent] = []
    lost = unreadable = 0
    for line in lines:
        overwritten = parse_lost(line)
        if overwritten is not None:
            lost += overwritten
            continue
        try:
            events.append(parse_line(line))
        except KernelFormatError:
            unreadable += 1
    return TraceReading(tuple(events), lost, unreadable)
