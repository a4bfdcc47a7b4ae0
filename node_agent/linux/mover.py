"""The mover: carries an order out with the strategy that fits this kernel, and proves what moved.

A move is a few passes over the task: pages that were busy, or that the job touched meanwhile, are found by the next
one; after each the residency is measured anew, and that measurement is the outcome's truth. The same code runs on a
host and on the fake kernel: all it knows of either is `HostMemory`.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from node_agent.core.accounting import LASTING
from node_agent.core.facts import Measured, ProcessRef
from node_agent.core.forecast import learned, speeds_of
from node_agent.core.strategy import KernelTraits
from node_agent.linux.attribution import Attribution, NoAttribution
from node_agent.linux.courier import Tally
from node_agent.linux.crew import Crew
from node_agent.linux.memory import HostMemory
from node_agent.linux.one_move import OneMove
from node_agent.linux.pins import StuckPages
from node_agent.linux.rehearsal import Rehearsal
from node_agent.linux.residency import PROCESSES_OPEN_MAX, measure
from node_agent.linux.underway import Means
from node_agent.ports import MoveControl, MoveJob
from numaplace.kernel.errors import Denied, ProcessGone
from numaplace.model.hand import Prediction
from numaplace.model.ids import NodeId
from numaplace.model.move import LeftReason, MoveOutcome, MoveState
from numaplace.model.session import Abilities, HostLoad

MEASURED_MAX = 4096
LOAD_S_MIN = 0.05


class MemoryMover:
    """Fulfils `node_agent.ports.Mover`. Thread-safe; several moves may run at once."""

    def __init__(
        self,
        host: HostMemory,
        nodes: Sequence[NodeId],
        traits: Callable[[], KernelTraits] = KernelTraits,
        *,
        abilities: Callable[[], Abilities] = Abilities,
        owns_cpuset: Callable[[str], bool] = lambda _: False,
        attribution: Attribution | None = None,
    ) -> None:
        """Take a host and what is known of it.

        Args:
            host: the host's memory, or a fake.
            nodes: the nodes that have memory.
            traits: what probing found; asked when a move begins.
            abilities: what the host allows, found by probing.
            owns_cpuset: whether the cpuset of this cgroup path is ours to write.
            attribution: tells our migrations from those of others; None where tracefs is missing.
        """
        self._host, self._nodes = host, tuple(nodes)
        self._traits, self._abilities, self._owns_cpuset = traits, abilities, owns_cpuset
        self._attribution: Attribution = attribution or NoAttribution()
        self._crew = Crew(host, self._attribution.enrol)
        self._stuck = StuckPages()
        self._lock = threading.Lock()
        self._measured: dict[frozenset[ProcessRef], Measured] = {}
        self._ours_pages = 0
        self._learned: tuple[float | None, float | None] = (None, None)
        self._last_load: tuple[float, int, int] | None = None

    def measure(self, processes: Sequence[ProcessRef]) -> Measured:
        """Where the pages of these processes lie."""
        measured = measure(self._host, processes)
        self._keep(processes, measured)
        return measured

    def _keep(self, processes: Sequence[ProcessRef], measured: Measured) -> None:
        with self._lock:
            self._measured.pop(frozenset(processes), None)
            self._measured[frozenset(processes)] = measured
            while len(self._measured) > MEASURED_MAX:
                del self._measured[next(iter(self._measured))]

    def stuck(self, processes: Sequence[ProcessRef]) -> Mapping[LeftReason, int]:
        """Bytes that the last move of this task proved unmovable."""
        return self._stuck.left(processes, self._host.now_s())

    def load(self) -> HostLoad:
        """What the nodes can take, and how many pages a second others have migrated since the last call."""
        rooms = self._host.rooms(self._nodes)
        now_s, pages = self._host.now_s(), self._host.counters().pgmigrate_success
        with self._lock:
            ours, last = self._ours_pages, self._last_load
            if last is None or now_s - last[0] >= LOAD_S_MIN:
                self._last_load = (now_s, pages, ours)
        rate = 0.0
        if last is not None and now_s > last[0]:
            rate = max(0, (pages - last[1]) - (ours - last[2])) / (now_s - last[0])
        return HostLoad({node: room.free_bytes for node, room in rooms.items()}, rate)

    def abilities(self) -> Abilities:
        """What this kernel and these capabilities allow."""
        return self._abilities()

    def move(self, job: MoveJob, control: MoveControl) -> MoveOutcome:
        """Carry the order out."""
        known, owns_cpuset = self._known(job), self._owns_cpuset(job.task.cgroup)
        one = OneMove(self._means(), job, control, known=known, owns_cpuset=owns_cpuset)
        outcome, measured = one.carry_out()
        outcome = self._with_the_rest(outcome, job.task.processes)
        if measured is not None:
            self._keep(job.task.processes, measured)
            if job.what is None:
                # What stays of a move by hand is not what keeps a task from home.
                lasting = {reason: size for reason, size in outcome.left.items() if reason in LASTING}
                self._stuck.settle(job.task.processes, lasting, self._host.now_s())
        if job.order.policy.budget.pace_bytes_per_s is None:
            self._learn(one.tally)
        return outcome

    def predict(self, job: MoveJob) -> Prediction:
        """What `move` would do with the same job now; see `node_agent.linux.rehearsal`."""
        known = self._known(job)
        with self._lock:
            base, huge = self._learned
        means = self._means()
        owns_cpuset = self._owns_cpuset(job.task.cgroup)
        speeds = speeds_of(means.traits, base, huge)
        foretold = Rehearsal(means, job, speeds, known, owns_cpuset=owns_cpuset).prediction()
        return replace(foretold, left={**foretold.left, **self._not_looked_at(job.task.processes)})

    def _known(self, job: MoveJob) -> Measured | None:
        """The task as it was measured last; not of a move by hand: nobody measures those, so it may be old."""
        if job.what is not None:
            return None
        with self._lock:
            return self._measured.get(frozenset(job.task.processes))

    def _means(self) -> Means:
        return Means(self._host, self._stuck, self._traits(), self._crew, self._attribution, self._count_ours)

    def _learn(self, tally: Tally) -> None:
        with self._lock:
            base, huge = self._learned
            self._learned = (
                learned(base, tally.base.moved_bytes, tally.base.call_ms),
                learned(huge, tally.huge.moved_bytes, tally.huge.call_ms),
            )

    def close(self) -> None:
        """Let the threads end, after the calls under way."""
        self._crew.close()

    def _with_the_rest(self, outcome: MoveOutcome, processes: Sequence[ProcessRef]) -> MoveOutcome:
        """The account with the processes that nobody looked at, because the task has too many."""
        rest = self._not_looked_at(processes)
        if not rest:
            return outcome
        state = MoveState.PARTIAL if outcome.state is MoveState.COMPLETED else outcome.state
        more = len(processes) - PROCESSES_OPEN_MAX
        words = f"{outcome.words}; {more} of its {len(processes)} processes were not looked at"
        return replace(outcome, state=state, words=words, left={**outcome.left, **rest})

    def _not_looked_at(self, processes: Sequence[ProcessRef]) -> dict[LeftReason, int]:
        """What the processes beyond those that are looked at together have resident, by its reason to be left."""
        size = sum(self._resident_bytes(process) for process in processes[PROCESSES_OPEN_MAX:])
        return {LeftReason.TOO_MANY_PROCESSES: size} if size else {}

    def _resident_bytes(self, process: ProcessRef) -> int:
        try:
            with closing(self._host.open(process)) as memory:
                return memory.resident_bytes()
        except (ProcessGone, Denied):
            return 0

    def _count_ours(self, pages: int) -> None:
        with self._lock:
            self._ours_pages += pages
