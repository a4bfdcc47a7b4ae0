"""A host as files, with processes of a test's making: their mappings, pages, threads and children.

The nodes, zones and settings are those of a folder in tests/unit/kernel/hosts. A pagemap is a sparse file, on which
PAGEMAP_SCAN is unknown, as on kernels before 6.7: so huge pages are read from smaps.
"""

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from numaplace.kernel.pagemap import EXCLUSIVE, PAGE_BYTES, PRESENT

HOSTS = Path(__file__).parents[1] / "kernel/hosts"
NODE_0, NODE_1 = 0x1000, 2097152
"""The first frames of the nodes of `two-nodes`."""


@dataclass(frozen=True)
class Area:
    """One mapping: where, as maps names it, the rest of its numa_maps line, its pages as (frame, exclusive)."""

    start: int
    pages_long: int
    name: str
    numa: str
    pages: Sequence[tuple[int, bool]] = ()
    permissions: str = "rw-p"
    inode: int = 0
    huge_kb: int = 0

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + self.pages_long * PAGE_BYTES


@dataclass
class FakeHost:
    """A host below ``root``."""

    root: Path
    like: str = "two-nodes"

    def __post_init__(self) -> None:
        (self.root / "proc").mkdir()
        (self.root / "sys").symlink_to(HOSTS / self.like / "sys")
        for name in ("zoneinfo", "self"):
            (self.root / "proc" / name).symlink_to(HOSTS / self.like / "proc" / name)

    def add(
        self,
        pid: int,
        areas: Sequence[Area],
        *,
        start_ticks: int = 100,
        tids: Sequence[int] = (),
        children: Sequence[int] = (),
        maps: Sequence[Area] | None = None,
    ) -> Path:
        """A process; ``maps`` if that file was read when the mappings were others by then."""
        folder = self.root / f"proc/{pid}"
        for tid in tids or (pid,):
            task = folder / f"task/{tid}"
            task.mkdir(parents=True)
            for name, text in self._words(tid, pid, start_ticks).items():
                (task / name).write_text(text)
            (task / "children").write_text("".join(f"{child} " for child in children) if tid == pid else "")
        for name, text in self._words(pid, pid, start_ticks).items():
            (folder / name).write_text(text)
        (folder / "numa_maps").write_text("".join(f"{area.start:x} {area.numa}\n" for area in areas))
        (folder / "maps").write_text("".join(map(_maps_line, areas if maps is None else maps)))
        (folder / "smaps").write_text("".join(f"{_maps_line(a)}AnonHugePages:  {a.huge_kb:8} kB\n" for a in areas))
        with (folder / "pagemap").open("wb") as pagemap:
            for area in areas:
                for index, (frame, exclusive) in enumerate(area.pages):
                    pagemap.seek((area.start // PAGE_BYTES + index) * 8)
                    pagemap.write(struct.pack("=Q", PRESENT | (EXCLUSIVE if exclusive else 0) | frame))
        return folder

    def _words(self, tid: int, leader: int, start_ticks: int) -> Mapping[str, str]:
        status = (HOSTS / "two-nodes/proc/4242/status").read_text()
        fields = ["S", "1", *["0"] * 17, str(start_ticks), "0", "0"]
        fields[17] = "1"
        return {
            "stat": f"{tid} (job) {' '.join(fields)}\n",
            "status": status.replace("Tgid:\t4242", f"Tgid:\t{leader}").replace("Pid:\t4242", f"Pid:\t{tid}"),
            "comm": f"thread-{tid}\n",
            "cmdline": "python\0train.py\0",
        }

    def map_counts(self, counts: Mapping[int, int]) -> None:
        """How often frames are mapped on this host."""
        with (self.root / "proc/kpagecount").open("wb") as file:
            for frame, count in counts.items():
                file.seek(frame * 8)
                file.write(struct.pack("=Q", count))

    def cgroup(self, path: str, pids: Sequence[int]) -> None:
        """Processes in a cgroup of the v2 hierarchy."""
        folder = self.root / "sys-fs-cgroup" / path.strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))

    def mount_cgroups(self) -> None:
        """The v2 hierarchy, at a place of its own: the folders under sys are others' too."""
        proc_self = self.root / "proc/self"
        proc_self.unlink()
        proc_self.mkdir()
        (proc_self / "mountinfo").write_text("30 20 0:26 / /sys-fs-cgroup rw - cgroup2 cgroup rw\n")


def _maps_line(area: Area) -> str:
    name = f"          {area.name}" if area.name else " "
    return f"{area.start:x}-{area.end:x} {area.permissions} 00000000 00:05 {area.inode}{name}\n"


@dataclass(frozen=True)
class Affinity:
    """Where threads may run."""

    cpus: Mapping[int, set[int]]

    def __call__(self, tid: int) -> set[int]:
        """The CPUs of a thread."""
        if tid not in self.cpus:
            raise ProcessLookupError(os.strerror(3))
        return self.cpus[tid]
