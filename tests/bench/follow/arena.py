"""A guest with an agent, a scheduler on this host, and a job that is re-pinned again and again.

Every run begins alike: the job and all its pages on node 0, nobody following it, AutoNUMA off, nobody migrating. The
change is always to node 1. Only for our own runs is the job adopted, and each is the first of a new job: a change
back that nobody followed would look like a move that was just tried.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numaplace.client import SchedulerClient
from numaplace.model.ids import CpuId, HostId, JobId
from numaplace.model.policy import Budget, Policy
from numaplace.model.views import Move
from numaplace.model.worth import OTHERS_PAGES_PER_S
from tests.bench.follow.cases import Case, Effort, Mover, Pages, wait_s
from tests.bench.follow.directed import BenchError, Directed
from tests.bench.follow.figures import Run
from tests.harness.cluster import AgentProcess, Certificates, ClusterError, SchedulerProcess, polls, wait_job
from tests.harness.job import Job
from tests.lab.description import NodeSpec
from tests.lab.guest import Guest
from tests.lab.lab import boot, describe

HOST = "bench-host"
NODE_MB = 1536
LOAD_S = 2.5
"""The agent tells every two seconds how much others migrate."""
QUIET_WITHIN_S = 30.0
ENDED_WITHIN_S = 120.0
RELEASED_WITHIN_S = 60.0
AUTONUMA_WARM_S = 3.0
NUMAD_WARM_S = 5.0
SETTLED_SHARE = 0.995
BALANCING = "/proc/sys/kernel/numa_balancing"


class Arena:
    """Made once for a kernel; a context manager."""

    def __init__(self, kernel: str) -> None:
        self.kernel = kernel
        self._stack = self._jobs = contextlib.ExitStack()
        self._runs = 0

    def __enter__(self) -> Self:
        """Boot the guest; start scheduler, agent and director."""
        with contextlib.ExitStack() as stack:
            self.guest = stack.enter_context(two_nodes(self.kernel))
            self.guest.write(BALANCING, "0")
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="numaplace-bench-")))
            certificates = Certificates.make(folder / "certs", (HOST,))
            scheduler = stack.enter_context(SchedulerProcess(folder, certificates))
            self.client: SchedulerClient = stack.enter_context(scheduler.client())
            self.agent = AgentProcess(self.guest, HOST, scheduler, certificates)
            self.agent.start()
            stack.callback(self.agent.kill)
            self.agent.wait_connected(self.client)
            self._director = stack.enter_context(Directed(self.guest, self.agent.socket))
            self._jobs = stack.enter_context(contextlib.ExitStack())
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all of it."""
        self._stack.__exit__(kind, error, trace)

    def order(self, do: str, **what: object) -> dict[str, Any]:
        """Have the director do something; raises BenchError if it could not."""
        return self._director.order(do, **what)

    def cpus(self, node: int) -> list[int]:
        """The CPUs of a node."""
        return list(self.guest.description.cpus_of(node))

    def scene(self, case: Case, effort: Effort) -> "Scene":
        """Start a case's job on node 0; it ends with the next scene, or with the arena."""
        self._jobs.close()
        cpus = frozenset(CpuId(cpu) for cpu in self.cpus(0))
        job = self._jobs.enter_context(Job(self.guest, case.job(effort.size_mb), cpus, case.prefix))
        return Scene(self, case, effort, job)

    def next_name(self) -> str:
        """A job's name that nobody had yet."""
        self._runs += 1
        return f"bench-{self._runs}"

    def wait_quiet(self) -> None:
        """Until the agent sees nobody else migrate: it gives way to others, and our setting up was one."""
        time.sleep(LOAD_S)
        for _ in polls(QUIET_WITHIN_S):
            if self.client.host(HostId(HOST)).load.others_pages_per_s < OTHERS_PAGES_PER_S / 2:
                return
        raise ClusterError("the agent still sees others migrate pages")

    def wait_ended(self, job: str) -> None:
        """Until no move of the job is under way."""
        for _ in polls(ENDED_WITHIN_S):
            if not self.client.moves(job=JobId(job), only_open=True):
                return
        raise ClusterError(f"the move of {job} does not end")

    def wait_released(self, job: str) -> None:
        """Until the agent follows the job no longer: only then does it leave the next mover alone."""
        for _ in polls(RELEASED_WITHIN_S):
            if all(not each.tasks for each in self.client.jobs() if each.id == JobId(job)):
                return
        raise ClusterError(f"the agent still follows {job}")

    def told(self) -> str:
        """What the agent itself says of the last move, and why if there was none."""
        name = f"bench-{self._runs}"
        self.wait_ended(name)
        moves = self.client.moves(job=JobId(name))
        if not moves:
            return str(self.client.explain(JobId(name)))
        return "; ".join(_in_words(move) for move in moves)


class Scene:
    """A case's job in an arena, and the runs on it."""

    def __init__(self, arena: Arena, case: Case, effort: Effort, job: Job) -> None:
        self._arena, self._case, self._effort, self._job = arena, case, effort, job
        self._area = {
            "pid": job.pid, "address": job.ready["address"], "size_bytes": job.ready["size_bytes"],
        }  # fmt: skip

    def run(self, mover: Mover) -> Run:
        """One change, from node 0 to node 1; raises BenchError, ClusterError, or what the guest raises."""
        settled = self._arena.order("settle", **self._area, cpus=self._arena.cpus(0), node=0, **{"from": 1})
        if settled["share"] < SETTLED_SHARE:
            raise BenchError(f"only {settled['share']:.1%} of the job could be brought to node 0")
        if self._case.pages is Pages.THP and settled["huge_bytes"] < SETTLED_SHARE * self._area["size_bytes"]:
            raise BenchError("the job's huge pages were split")
        with _PREPARED[mover](self):
            self._job.ask("stalls")
            seen = self._arena.order(
                "follow", **self._area, cpus=self._arena.cpus(1), node=1, rival=self._rival(mover),
                wait_s=wait_s(mover, self._effort), after_s=self._effort.after_s,
            )  # fmt: skip
            stalls = self._job.ask("stalls")
            words = self._arena.told() if mover is Mover.OURS else ""
        return Run(mover, seen["home_s"], seen["first_page_s"], stalls["mmap_ms"], stalls["touch_ms"], words)

    def _rival(self, mover: Mover) -> list[str]:
        """The program that is started at the instant of the change."""
        return ["migratepages", str(self._job.pid), "0", "1"] if mover is Mover.MIGRATEPAGES else []

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """The agent follows the job, and the scheduler knows where its pages are."""
        name = self._arena.next_name()
        if self._case.stall_ms_max is not None:
            allowed = Policy(budget=Budget(stall_ms_max=self._case.stall_ms_max))
            self._arena.client.set_policy(allowed, JobId(name), ["budget.stall_ms_max"])
        self._arena.order("adopt", job=name, pid=self._job.pid)
        try:
            wait_job(self._arena.client, name)
            self._arena.wait_quiet()
            self._arena.wait_ended(name)
            yield
            self._arena.wait_ended(name)
        finally:
            self._arena.order("release", job=name)
            self._arena.wait_released(name)

    @contextlib.contextmanager
    def balanced(self) -> Iterator[None]:
        """AutoNUMA is on, and has found the job before the change."""
        self._arena.guest.write(BALANCING, "1")
        try:
            time.sleep(AUTONUMA_WARM_S)
            yield
        finally:
            self._arena.guest.write(BALANCING, "0")

    @contextlib.contextmanager
    def advised(self) -> Iterator[None]:
        """The daemon numad is on, as eager as it can be told to be, and has looked at the job before the change."""
        self._arena.guest.run(["numad", "-i", "1:5"])
        try:
            time.sleep(NUMAD_WARM_S)
            yield
        finally:
            self._arena.guest.run(["numad", "-i", "0"], check=False)


_PREPARED: Mapping[Mover, Callable[[Scene], contextlib.AbstractContextManager[None]]] = {
    Mover.OURS: Scene.followed,
    Mover.MIGRATEPAGES: lambda _: contextlib.nullcontext(),
    Mover.AUTONUMA: Scene.balanced,
    Mover.NUMAD: Scene.advised,
    Mover.NOTHING: lambda _: contextlib.nullcontext(),
}


def two_nodes(kernel: str) -> Guest:
    """Two nodes with room for a job, its copy on the way and an agent."""
    two = describe(f"two-{kernel}-v2")
    return boot(replace(two, name=f"bench-{kernel}-v2", nodes=(NodeSpec(0, 2, NODE_MB), NodeSpec(1, 2, NODE_MB))))


def _in_words(move: Move) -> str:
    outcome = move.outcome
    if outcome is None:
        return move.state.value
    strategy = outcome.strategy.value if outcome.strategy else "-"
    cost = f"{outcome.calls} calls, longest {outcome.call_ms_max:.0f} ms, stall {outcome.stall_ms_max:.0f} ms"
    why = f"{outcome.strategy_reason}; {outcome.words}"
    return f"{outcome.state.value} by {strategy} in {outcome.seconds:.2f} s, {cost} ({why})"
