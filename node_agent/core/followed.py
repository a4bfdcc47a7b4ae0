"""One followed task as the core knows it: its facts, its home, where its pages were, what moves taught."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from node_agent.core.events import PagesMeasured
from node_agent.core.facts import Measured, TaskFacts
from numaplace.model.ids import Nodes
from numaplace.model.job import Home, HomeChange, Task
from numaplace.model.move import LeftReason, MoveOutcome, MoveState
from numaplace.model.policy import Policy
from numaplace.model.residency import Residency
from numaplace.model.session import HostLoad
from numaplace.model.topology import Topology
from numaplace.model.worth import BOUNCE_WINDOW_S, HostCosts, Lacked, Situation

CHANGES_KEPT = 64
"""Times of changes kept per task: more say nothing new about a burst."""
MEASURE_PERIOD_S = 30.0
"""A task's pages are located anew this often, or less often where that takes long."""
MEASURE_SHARE = 1 / 1000
"""The share of one core that locating the pages of all tasks may take at rest."""
REST_S_MAX = 3600.0
"""However much it costs: late is still true, never is not."""
FRESH_S = 0.5
"""Pages located so recently are not located anew for a change, which moves no pages by itself."""
ORDER_WITHIN_S = 0.5
"""After a change an order is given time to come before pages are located: a move finds them itself, and sooner."""
ASKED_SHARE = 1 / 4
"""The share of one core that locating pages on demand may take: a home that changes without end is no reason."""


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
    """Mutable, owned by the core alone; what leaves the core is a :class:`Task`.

    ``measure_due_s`` is infinite while its pages are being located; ``asked`` says that somebody waits for it.
    ``judge_due_s``: when its drift is to be judged again while the agent is alone; infinite for not before it changes.
    ``waits_for_load``: the last judgement may be another when the host's load has eased.
    """

    facts: TaskFacts
    home: Home
    previous_home: Nodes
    changed_s: float
    changes_s: deque[float] = field(default_factory=lambda: deque(maxlen=CHANGES_KEPT))
    measured: Measured | None = None
    measuring: bool = False
    measure_due_s: float = 0.0
    asked: bool = False
    located_s: float = -inf
    locating_seconds: float = 0.0
    stuck: Mapping[LeftReason, int] = field(default_factory=dict)
    tried: tuple[Nodes, float] | None = None
    lacked: Lacked | None = None
    waits_for_load: bool = False
    judge_due_s: float = 0.0

    def change(self, change: HomeChange, now_s: float) -> None:
        """Its home, CPUs or mems are others now."""
        if change.home.nodes != self.home.nodes:
            self.previous_home = change.previous_home
            self.changed_s = now_s
            self.changes_s.extend([now_s] * min(change.changes, CHANGES_KEPT))
        if change.home.version != self.home.version:
            self.tried = self.lacked = None  # other nodes, or other mems that may allow what they forbade before
        self.home = change.home
        self.ask_measure(now_s + ORDER_WITHIN_S)
        self.judge_due_s = now_s

    def ask_measure(self, now_s: float) -> None:
        """Somebody wants to know where its pages are: locate them soon, before those that are only due."""
        rest_s = max(FRESH_S, self.locating_seconds / ASKED_SHARE)
        self.measure_due_s = min(self.measure_due_s, max(now_s, self.located_s + rest_s))
        self.asked = True

    def begin_measure(self) -> None:
        """Its pages are being located; whoever asks from now on wants it done once more."""
        self.measuring, self.asked, self.measure_due_s = True, False, inf

    def locate(self, new: PagesMeasured, now_s: float, tasks: int) -> None:
        """Its pages were located, as those of one of so many tasks."""
        self.measured = new.measured
        self.stuck = new.stuck
        self.judge_due_s = now_s
        self.locating_seconds = new.seconds
        self.end_measure(now_s, new.seconds * tasks / MEASURE_SHARE)

    def end_measure(self, now_s: float, rest_s: float = 0.0) -> None:
        """Its pages were located, or could not be; the next time is due after this rest, or when somebody asks."""
        self.measuring = False
        self.located_s = now_s
        due_s, self.measure_due_s = self.measure_due_s, now_s + max(MEASURE_PERIOD_S, min(rest_s, REST_S_MAX))
        if due_s < inf:
            self.ask_measure(now_s)

    def end_move(self, outcome: MoveOutcome, home: Nodes, now_s: float) -> None:
        """A move of it to this home ended: locate its pages anew, and do not try the same home again at once."""
        if outcome.state is not MoveState.SUPERSEDED and home == self.home.nodes:
            self.tried = (home, now_s)
            full = outcome.left.get(LeftReason.TARGET_FULL, 0)
            self.lacked = Lacked(full) if full else None
        self.ask_measure(now_s)
        self.judge_due_s = now_s
        if self.measured and outcome.residency.cells:
            self.measured = Measured(outcome.residency, self.measured.memory_policy, self.measured.policy_nodes)

    def hear_load(self, load: HostLoad, before: HostLoad, now_s: float) -> None:
        """The host's load is known anew: who waited for more room, or for others to rest, is judged again."""
        free_bytes, free_before = load.free_at(self.home.nodes), before.free_at(self.home.nodes)
        eased = load.others_pages_per_s < before.others_pages_per_s or (free_bytes or 0) > (free_before or 0)
        fits = self.lacked is not None and self.lacked.fits(free_bytes)
        if self.lacked is not None and not fits:
            self.lacked = self.lacked.seen(free_bytes)
        if fits or (eased and self.waits_for_load):
            self.judge_due_s = now_s

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
        tried_s = self.tried[1] if self.tried and self.tried[0] == self.home.nodes else None
        return Situation(
            task=self.as_task(now_s),
            policy=policy,
            topology=around.topology,
            now_s=now_s,
            changed_s=self.changed_s,
            recent_changes_s=tuple(t for t in self.changes_s if now_s - t < BOUNCE_WINDOW_S),
            measured=self.measured is not None,
            # What was stuck on the way to another home may lie at this one.
            stuck_bytes=0 if tried_s is None else sum(self.stuck.values()),
            tried_s=tried_s,
            room_again=self.lacked is not None and self.lacked.fits(around.load.free_at(self.home.nodes)),
            free_bytes=around.load.free_bytes,
            others_pages_per_s=around.load.others_pages_per_s,
            costs=around.costs,
            moves_on_host=around.moves,
            moves_on_host_max=around.moves_max,
        )
