"""A true host whose pages are those of the fake kernel, and the real mover at work on them.

The mover blocks, so it runs on a thread; but only one thread ever runs: the mover's clock hands the baton back to the
timeline whenever time is to pass, and gets it again when it has. So a run stays a run of its seed. A few runs are made
so, for they cost more; the bulk has `tests.simulation.mover`.
"""

import threading
from collections.abc import Callable, Mapping
from random import Random

import numpy as np

from node_agent.linux.mover import MemoryMover
from node_agent.ports import MoveJob
from numaplace.model.ids import HostId, NodeId, Nodes
from numaplace.model.move import MoveOutcome, MoveProgress
from numaplace.model.residency import PageKind, PageSize
from numaplace.model.session import HostLoad
from tests.fakes.kernel import BASE, HUGE, FakeHost, FakeNode, FakeProcess, FakeRegion, Quirks, VirtualClock
from tests.simulation.setting import Setting
from tests.simulation.timeline import Timeline
from tests.simulation.truth import MIB, Lot, TrueHost, TrueTask

STEP_S = 0.002
"""The mover's thread keeps the baton until so much time has gathered: a page at a time would be slow to simulate."""
BASE_BYTES_MAX = MIB
"""More of a task's memory than this is in huge pages."""


class Killed(BaseException):
    """Ends a mover's thread in mid-call, as SIGKILL does. Not an Exception: nothing in the mover may catch it."""


class Baton(VirtualClock):
    """The mover's clock: whoever lets time pass on it waits until the timeline has."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self._timeline = timeline
        self.runner: Runner | None = None

    def now_s(self) -> float:
        """The timeline's, and what the running thread has gathered since."""
        return self._timeline.now_s + (self.runner.gathered_s if self.runner is not None else 0.0)

    def advance(self, seconds: float) -> None:
        """Let time pass. On the timeline's own thread nothing takes time."""
        if self.runner is not None:
            self.runner.pass_time(seconds)


class Runner:
    """One mover's thread."""

    def __init__(
        self, clock: Baton, timeline: Timeline, work: Callable[[], None], moved: Callable[[NodeId, int], None]
    ) -> None:
        self.moved = moved
        self.gathered_s = 0.0
        self._clock, self._timeline = clock, timeline
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._ended = self._killed = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()
        timeline.after(0.0, self._resume)

    def _run(self, work: Callable[[], None]) -> None:
        self._go.acquire()
        try:
            if not self._killed:
                work()
        except Killed:
            pass
        except BaseException as failure:  # noqa: BLE001 - it is raised on the timeline's thread
            self._failure = failure
        self._ended = True
        self._back.release()

    def _resume(self) -> None:
        if self._ended:
            return
        self._clock.runner = self
        self._go.release()
        self._back.acquire()
        self._clock.runner = None
        if self._failure is not None:
            raise self._failure

    def pass_time(self, seconds: float) -> None:
        """Called by the thread: hand the baton back if enough time has gathered."""
        self._check()
        self.gathered_s += seconds
        if self.gathered_s >= STEP_S:
            self._timeline.after(self.gathered_s, self._resume)
            self.gathered_s = 0.0
            self._back.release()
            self._go.acquire()
            self._check()

    def _check(self) -> None:
        if self._killed:
            raise Killed

    def kill(self) -> None:
        """End the thread where it is."""
        self._killed = True
        self._resume()
        self._thread.join()


class Control:
    """The mover's line to the simulated shell."""

    def __init__(self, report: Callable[[MoveProgress], None]) -> None:
        self.reason: str | None = None
        self.report = report

    def cancelled(self) -> str | None:
        """The reason to end early."""
        return self.reason


class WatchedKernel(FakeHost):
    """A fake kernel that tells for whom it has moved a page: the truth that the mover's account is held against."""

    def put(self, process: FakeProcess, number: int, target: NodeId) -> bool:
        """Move one page."""
        runner = self.clock.runner if isinstance(self.clock, Baton) else None
        moved = super().put(process, number, target)
        if moved and runner is not None:
            runner.moved(target, int(self.folios.size[number]))
        return moved


class PagedTask(TrueTask):
    """A task whose memory is its first process's, in the fake kernel."""

    def __init__(self, task: TrueTask, fake: FakeHost) -> None:
        super().__init__(task.id, task.job, task.processes, task.cpus, task.mems, task.started_s, task.memory_policy)
        self._fake = fake
        self.disturbed_bytes = 0
        self.fakes = [FakeProcess(ref, task.mems) for ref in task.processes]
        for process in self.fakes:
            fake.processes[process.ref.pid] = process

    def allow(self, mems: Nodes) -> None:
        """Its cpuset allows these nodes from now on."""
        super().allow(mems)
        for process in self.fakes:
            process.mems = mems

    @property
    def lots(self) -> Mapping[Lot, int]:
        """Its pages, summed up."""
        sums: dict[Lot, int] = {}
        for region in self.fakes[0].regions:
            numbers = region.folios[region.folios >= 0]
            codes = self._fake.folios.node[numbers] * 2 + self._fake.folios.pinned[numbers]
            for code, count in enumerate(np.bincount(codes).tolist()):
                if count:
                    lot = Lot(NodeId(code // 2), _size(region), PageKind.ANON, bool(code % 2))
                    sums[lot] = sums.get(lot, 0) + count * region.page_bytes
        return sums

    def add(self, lot: Lot, size: int) -> None:
        """Map and touch so much more, or free whole pages of so much."""
        if size < 0:
            self._free(lot, -size)
            return
        page_bytes = BASE if lot.size is PageSize.BASE else HUGE
        made = self._fake.map(self.fakes[0], [lot.node] * (size // page_bytes), page_bytes=page_bytes)
        self._fake.folios.pinned[made.folios] = lot.pinned

    def _free(self, lot: Lot, size: int) -> None:
        self.disturbed_bytes += size
        for region in self.fakes[0].regions:
            if _size(region) is not lot.size:
                continue
            for at in self.found(region, lot)[: size // region.page_bytes].tolist():
                self._fake.free(region, slice(at, at + 1))
                size -= region.page_bytes

    def found(self, region: FakeRegion, lot: Lot) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
        """The places in a region that hold a page of the lot."""
        numbers, folios = region.folios, self._fake.folios
        return np.flatnonzero(
            (numbers >= 0) & (folios.node[numbers] == lot.node) & (folios.pinned[numbers] == lot.pinned)
        )


def _size(region: FakeRegion) -> PageSize:
    return PageSize.BASE if region.page_bytes == BASE else PageSize.THP


class PagedHost(TrueHost):
    """A true host on the fake kernel."""

    slack_bytes = 4 * MIB

    def __init__(self, host: HostId, rng: Random, booted_s: float, timeline: Timeline) -> None:
        super().__init__(host, rng, booted_s)
        self.clock = Baton(timeline)
        nodes = (FakeNode(n, self.capacity[n] // BASE, self.cpus_of[n]) for n in self.nodes)
        self.fake = WatchedKernel(nodes, quirks=Quirks(old=rng.random() < 0.5), clock=self.clock)

    def new_mover(self) -> MemoryMover:
        """A mover of a new process of the agent."""
        return MemoryMover(self.fake, self.nodes)

    def begin(self, task: TrueTask) -> TrueTask:
        """A task begins, without memory."""
        return super().begin(PagedTask(task, self.fake))

    def end(self, task: TrueTask) -> None:
        """A task ends, and its processes."""
        super().end(task)
        assert isinstance(task, PagedTask)
        task.disturbed_bytes += sum(task.lots.values())
        for process in task.fakes:
            process.alive = False
            for region in process.regions:
                self.fake._unmap(region.folios)
            process.regions = []
            if self.fake.processes.get(process.ref.pid) is process:
                del self.fake.processes[process.ref.pid]

    def fill(self, node: NodeId, size: int) -> None:
        """Others take so much more of a node."""
        super().fill(node, size)
        self.fake.nodes[node].used_pages += size // BASE

    def empty(self) -> None:
        """Others free what they have taken."""
        super().empty()
        for node in self.fake.nodes.values():
            node.used_pages = 0

    def free(self, node: NodeId) -> int:
        """What a node can take above its watermark."""
        return self.fake.rooms([node])[node].free_bytes

    def load(self) -> HostLoad:
        """What a measurement by nobody in particular would say."""
        return HostLoad({node: self.free(node) for node in self.nodes})

    def allocate(self, task: TrueTask, wanted: Mapping[tuple[PageSize, PageKind, bool], int]) -> None:
        """The same, but most of it in huge pages, and all of it anonymous."""
        fitted: dict[tuple[PageSize, PageKind, bool], int] = {}
        for (size, _, pinned), amount in wanted.items():
            base = min(amount, BASE_BYTES_MAX) if size is PageSize.BASE else 0
            for page_size, part in ((PageSize.BASE, base), (PageSize.THP, (amount - base) // HUGE * HUGE)):
                key = (page_size, PageKind.ANON, pinned)
                fitted[key] = fitted.get(key, 0) + part
        super().allocate(task, {key: amount for key, amount in fitted.items() if amount})

    def relocate(self, task: TrueTask, lot: Lot, target: NodeId, size: int) -> int:
        """Somebody else moves some pages."""
        assert isinstance(task, PagedTask)
        todo = min(size, self.free(target))
        moved = 0
        for region in task.fakes[0].regions if not lot.pinned and target != lot.node else ():
            if _size(region) is lot.size:
                for at in task.found(region, lot)[: (todo - moved) // region.page_bytes].tolist():
                    self.fake.put(task.fakes[0], int(region.folios[at]), target)
                    moved += region.page_bytes
        task.disturbed_bytes += moved
        return moved


class PagedRun:
    """One order carried out by the real mover: the same face as `tests.simulation.mover.MoverRun`."""

    def __init__(
        self,
        mover: MemoryMover,
        host: PagedHost,
        setting: Setting,
        job: MoveJob,
        *,
        progress: Callable[[MoveProgress], None],
        ended: Callable[["PagedRun", MoveOutcome], None],
    ) -> None:
        self.order, self.task = job.order, job.task
        self._control = Control(progress)
        task = host.tasks.get(job.order.task)
        self._on = task if isinstance(task, PagedTask) else None
        self._before_bytes = self._on.disturbed_bytes if self._on is not None else 0
        self._runner = Runner(
            host.clock,
            setting.timeline,
            lambda: ended(self, mover.move(job, self._control)),
            lambda target, size: setting.ledger.moved(host.id, job.order, target, size),
        )

    def cancel(self, reason: str) -> None:
        """End after the present batch."""
        self._control.reason = reason

    @property
    def disturbed_bytes(self) -> int:
        """What was freed, moved by others, or ended, since the run began."""
        return 0 if self._on is None else self._on.disturbed_bytes - self._before_bytes

    @property
    def cancelled(self) -> bool:
        """Whether it was asked to end."""
        return self._control.reason is not None

    def kill(self) -> None:
        """Die with the process."""
        self._runner.kill()
