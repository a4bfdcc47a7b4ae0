"""A guest in which a person works: an agent that follows nothing, the commands on PATH, a job, and the director.

Every turn begins alike: all of the job on node 0, AutoNUMA off, nobody migrating. Then the job is pinned to node 1, as
a batch system would, and the command is given, ours or its rival; the director sees by the guest's clock when the
pages have come, whoever brings them.
"""

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from numaplace.cli import exits
from numaplace.model.ids import CpuId
from tests.bench.follow.arena import BALANCING, LOAD_S, SETTLED_SHARE, two_nodes
from tests.bench.follow.cases import NEVER_S, Pages
from tests.bench.follow.directed import BenchError, Directed
from tests.harness.cluster import polls
from tests.harness.job import Job

SOCKET = "/run/numaplace/agent.sock"
ANSWERS_WITHIN_S = 180.0
AFTER_S = 0.5
CODES = (exits.OK, exits.STAYED)
"""How a command may end: a library that others map too stays, as it does for our rivals without a word."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One command seen to its end: when 95 % had come, when it ended, the job's longest waits, and what it printed."""

    home_s: float | None
    ended_s: float
    mmap_ms: float
    touch_ms: float
    told: str

    @property
    def move_s(self) -> float:
        """What our command says that the move took."""
        return float(json.loads(self.told)["seconds"])


class Arena:
    """Made once for a kernel; a context manager."""

    def __init__(self, kernel: str) -> None:
        self.kernel = kernel
        self._stack = self._jobs = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Boot the guest; start agent and director."""
        with contextlib.ExitStack() as stack:
            self.guest = stack.enter_context(two_nodes(self.kernel))
            self.guest.write(BALANCING, "0")
            stack.enter_context(self.guest.popen(["numaplace-agent", "run", "--mode", "never"]))
            self._wait_agent()
            self.director = stack.enter_context(Directed(self.guest, SOCKET))
            self._jobs = stack.enter_context(contextlib.ExitStack())
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all of it."""
        self._stack.__exit__(kind, error, trace)

    def _wait_agent(self) -> None:
        asked = None
        for _ in polls(ANSWERS_WITHIN_S):
            asked = self.guest.run(["numaplace", "status"], check=False, timeout_s=ANSWERS_WITHIN_S)
            if asked.exit_code == 0:
                return
        raise BenchError(f"the agent does not answer: {asked.stderr if asked else 'it was not asked'}")

    def job(self, *argv: str) -> Job:
        """Start a job on node 0; it ends with the next one, or with the arena."""
        self._jobs.close()
        return self._jobs.enter_context(Job(self.guest, argv, frozenset(map(CpuId, self._cpus(0)))))

    def _cpus(self, node: int) -> list[int]:
        return list(self.guest.description.cpus_of(node))

    def settle(self, job: Job, pages: Pages = Pages.BASE) -> None:
        """Bring the job back to where a turn begins, and let the agent see that nobody migrates any more."""
        settled = self.director.order("settle", **_area(job), cpus=self._cpus(0), node=0, **{"from": 1})
        if settled["share"] < SETTLED_SHARE:
            raise BenchError(f"only {settled['share']:.1%} of the job could be brought to node 0")
        if pages is Pages.THP and settled["huge_bytes"] < SETTLED_SHARE * job.ready["size_bytes"]:
            raise BenchError("the job's huge pages were split")
        time.sleep(LOAD_S)

    def turn(self, job: Job, command: Sequence[str]) -> Turn:
        """Re-pin the job to node 1, give the command, and see what becomes of it."""
        job.ask("stalls")
        seen = self.director.order(
            "follow", **_area(job), cpus=self._cpus(1), node=1, rival=list(command), codes=CODES,
            wait_s=NEVER_S, after_s=AFTER_S,
        )  # fmt: skip
        stalls = job.ask("stalls")
        return Turn(seen["home_s"], seen["ended_s"], stalls["mmap_ms"], stalls["touch_ms"], seen["told"])

    def share(self, job: Job, node: int, part: slice) -> float:
        """The share of a part of the job's memory (in bytes from its start) that lies on a node."""
        start, size = part.start, part.stop - part.start
        asked = {"pid": job.pid, "address": job.ready["address"] + start, "size_bytes": size, "node": node}
        return float(self.director.order("share", **asked)["share"])


def _area(job: Job) -> dict[str, Any]:
    return {"pid": job.pid, "address": job.ready["address"], "size_bytes": job.ready["size_bytes"]}
