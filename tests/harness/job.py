"""A job of tests.jobs on a stage: started, asked, re-pinned in the three ways that people and batch systems use."""

import json
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from numaplace.model.cpuset import format_id_list, parse_nodes
from numaplace.model.ids import Cpus, Nodes
from tests.harness.stage import Stage

READY_WITHIN_S = 180.0
"""Filling memory takes long in a guest on a busy machine."""

_PIN = (
    "import os, sys; pid, cpus = int(sys.argv[1]), eval(sys.argv[2])\n"
    "[os.sched_setaffinity(int(tid), cpus) for tid in os.listdir(f'/proc/{pid}/task')]"
)


class Job:
    """A running job that speaks lines of JSON."""

    def __init__(self, stage: Stage, argv: Sequence[str], cpus: Cpus, prefix: Sequence[str] = ()) -> None:
        """Start ``python -m ARGV`` on these CPUs, behind a prefix such as numactl, and wait until it is ready."""
        self._stage = stage
        start = [*prefix, "python", "-u", "-c", _STARTER, ",".join(map(str, sorted(cpus))), *argv]
        self._process = stage.popen(start)
        self._lines = self._process.lines(timeout_s=READY_WITHIN_S)
        self.ready: dict[str, Any] = json.loads(next(self._lines))
        self.pid = self._process.pid

    def ask(self, word: str) -> dict[str, Any]:
        """Ask the job; see the job's own words."""
        self._process.write(word + "\n")
        answer: dict[str, Any] = json.loads(next(self._lines))
        return answer

    def pin(self, cpus: Iterable[int]) -> None:
        """sched_setaffinity(2) from outside, for each of its threads."""
        self._stage.run(["python", "-S", "-c", _PIN, str(self.pid), repr(set(cpus))])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._process.__exit__(kind, error, trace)


_STARTER = """
import os, runpy, sys
os.sched_setaffinity(0, {int(cpu) for cpu in sys.argv.pop(1).split(",")})
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=False)
"""


REMOVED_WITHIN_S = 30.0


class Cpusets:
    """Cpusets made for a test, on cgroup v1 or v2 as the stage has it; removed at the block's end, all jobs gone."""

    def __init__(self, stage: Stage, top: str) -> None:
        self._stage = stage
        v1 = stage.run(["test", "-e", "/sys/fs/cgroup/cpuset/cpuset.cpus"], check=False).exit_code == 0
        self.v1 = v1
        self._mount = "/sys/fs/cgroup/cpuset" if v1 else "/sys/fs/cgroup"
        self._top = top
        self._all_cpus = stage.read_text("/sys/devices/system/cpu/online").strip()
        self._all_mems = stage.read_text("/sys/devices/system/node/has_memory").strip()
        stage.run(["mkdir", "-p", self.path("")])
        if v1:
            self._fill("")
        else:
            stage.write(f"{self._mount}/cgroup.subtree_control", "+cpuset +memory")
            stage.write(f"{self.path('')}/cgroup.subtree_control", "+cpuset +memory")

    def path(self, name: str) -> str:
        """The folder of a cpuset below the top."""
        return f"{self._mount}/{self._top}/{name}".rstrip("/")

    def _fill(self, name: str) -> None:
        self._stage.write(f"{self.path(name)}/cpuset.cpus", self._all_cpus)
        self._stage.write(f"{self.path(name)}/cpuset.mems", self._all_mems)

    def make(self, name: str, cpus: Cpus | None = None, mems: Nodes | None = None) -> None:
        """Make a cpuset; all CPUs and nodes unless told."""
        self._stage.run(["mkdir", "-p", self.path(name)])
        self._fill(name)
        if cpus is not None:
            self.set_cpus(name, cpus)
        if mems is not None:
            self.set_mems(name, mems)

    def set_cpus(self, name: str, cpus: Cpus) -> None:
        """Write cpuset.cpus."""
        self._stage.write(f"{self.path(name)}/cpuset.cpus", format_id_list(cpus))

    def set_mems(self, name: str, mems: Nodes) -> None:
        """Write cpuset.mems."""
        self._stage.write(f"{self.path(name)}/cpuset.mems", format_id_list(mems))

    def mems(self, name: str) -> Nodes:
        """Read cpuset.mems."""
        return parse_nodes(self._stage.read_text(f"{self.path(name)}/cpuset.mems"))

    def attach(self, name: str, pid: int) -> None:
        """Attach a process, all its threads."""
        self._stage.write(f"{self.path(name)}/cgroup.procs", str(pid))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove them; a process that was killed leaves its cpuset in a moment of its own."""
        remove = ["sh", "-c", 'rmdir "$0"/*/; rmdir "$0"', self.path("")]
        deadline_s = time.monotonic() + REMOVED_WITHIN_S
        while self._stage.run(remove, check=False).exit_code != 0 and time.monotonic() < deadline_s:
            time.sleep(0.1)
