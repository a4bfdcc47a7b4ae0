"""One followed task as the core knows it: its facts, its home, where its pages were, what moves taught."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from node_agent.core.facts import Measured, TaskFacts
from numaplace.model.ids import Nodes
from numaplace.model.job import Home, HomeChange, Task
from numaplace.model.move import LeftReason, MoveOutcome
from numaplace.model.policy import Policy
from numaplace.model.residency import Residency
from numaplace.model.session import HostLoad
from numaplace.model.topology import Topology
from numaplace.model.worth import BOUNCE_WINDOW_S, HostCosts, Situation

CHANGES_KEPT = 64
"""Times of changes kept per task: more say nothing new about a burst."""
MEASURE_PERIOD_S = 30.0
"""A task's pages are located anew this often, or less often where that takes long."""
MEASURE_SHARE = 1 / 500
"""The share of one core that locating one task's pages may take in the long run."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else a judgement stands on: the host, and how many moves are open there of how many allowed."""

    topology: Topology
    load: HostLoad
    costs: HostCosts
    moves: int
    moves_max: int


@dataclass(slots=True)
class Followed:
    """Mutable, owned by the core alone; what leaves the core is a :class:`Task`."""

    facts: TaskFacts
    home: Home
    previous_home: Nodes
    changed_s: float
    changes_s: deque[float] = field(default_factory=lambda: deque(maxlen=CHANGES_KEPT))
    measured: Measured | None = None
    measuring: bool = False
    measure_due_s: float = 0.0
    stuck: Mapping[LeftReason, int] = field(default_factory=dict)
    tried: tuple[Nodes, float] | None = None

    def change(self, change: HomeChange, now_s: float) -> None:
        """Its home, CPUs or mems are others now."""
        if change.home.nodes != self.home.nodes:
            self.previous_home = change.previous_home
            self.changed_s = now_s
            self.changes_s.extend([now_s] * min(change.changes, CHANGES_KEPT))
        elif change.home.version != self.home.version:
            self.tried = None  # other mems may allow now what they forbade before
        self.home = change.home
        self.measure_due_s = now_s

    def locate(self, measured: Measured, stuck: Mapping[LeftReason, int], now_s: float, seconds: float) -> None:
        """Its pages were located."""
        self.measuring = False
        self.measured = measured
        self.stuck = stuck
        self.measure_due_s = now_s + max(MEASURE_PERIOD_S, seconds / MEASURE_SHARE)

    def end_move(self, outcome: MoveOutcome, now_s: float) -> None:
        """A move of it ended: its pages are to be located anew, and the same home is not tried again at once."""
        self.tried = (self.home.nodes, now_s)
        self.measure_due_s = now_s
        if self.measured and outcome.residency.cells:
            self.measured = Measured(outcome.residency, self.measured.memory_policy, self.measured.policy_nodes)

    @property
    def residency(self) -> Residency:
        """The last known residency; empty if it was never measured."""
        return self.measured.residency if self.measured else Residency()

    def as_task(self, now_s: float) -> Task:
        """The task as the scheduler is told."""
        facts, measured = self.facts, self.measured or Measured(Residency())
        return Task(
            id=facts.id,
            job=facts.job,
            command=facts.command,
            cpus=facts.cpus,
            mems=facts.mems,
            home=self.home,
            previous_home=self.previous_home,
            processes=len(facts.processes),
            threads=facts.threads,
            age_s=max(0.0, now_s - facts.started_s),
            memory_policy=measured.memory_policy,
            policy_nodes=measured.policy_nodes,
            cgroup=facts.cgroup,
            uid=facts.uid,
            residency=measured.residency,
        )

    def situation(self, now_s: float, policy: Policy, around: Surroundings) -> Situation:
        """What the judgement of its drift stands on, when the agent is alone."""
        return Situation(
            task=self.as_task(now_s),
            policy=policy,
            topology=around.topology,
            now_s=now_s,
            changed_s=self.changed_s,
            recent_changes_s=tuple(t for t in self.changes_s if now_s - t < BOUNCE_WINDOW_S),
            measured=self.measured is not None,
            stuck_bytes=sum(self.stuck.values()),
            tried_s=self.tried[1] if self.tried and self.tried[0] == self.home.nodes else None,
            free_bytes=around.load.free_bytes,
            others_pages_per_s=around.load.others_pages_per_s,
            costs=around.costs,
            moves_on_host=around.moves,
            moves_on_host_max=around.moves_max,
        )
