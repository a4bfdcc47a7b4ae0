"""One run: a cluster made from a seed, a time of changes and faults, and a time of quiet in which all must be well."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from node_agent.core.desk import Limits
from numaplace.model.ids import HostId
from scheduler.planning.records import MoveLimits
from tests.simulation.agent import Habits
from tests.simulation.disk import Store
from tests.simulation.goal import overdue, unmet, unmet_alone
from tests.simulation.ledger import Ledger, Violation
from tests.simulation.network import Network
from tests.simulation.paged import PagedHost
from tests.simulation.policies import random_policy
from tests.simulation.scheduler import SchedulerProcess
from tests.simulation.setting import Setting
from tests.simulation.site import Site
from tests.simulation.timeline import Timeline
from tests.simulation.trace import Trace
from tests.simulation.truth import TrueHost

QUIET_S_MAX = 150.0
"""Within this time after the last fault all must be well: reconnecting, a measurement's period, and two retries."""
PROGRESS_S_MAX = 60.0
"""Tasks that trade places on full nodes move a little at each retry: they have longer while they come closer."""
PROGRESS_LASTS_S_MAX = 1200.0
LOOK_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Options:
    """What a run may be told besides its seed. ``hostile`` None lets the seed choose.

    ``checked``: after how many turns the scheduler's own check is asked, 0 for never. ``paged``: the real mover on the
    fake kernel's pages.
    """

    hostile: bool | None = None
    checked: int = 8
    paged: bool = False


class World:
    """Everything in one run."""

    def __init__(self, seed: int, options: Options) -> None:
        self.rng = rng = Random(seed)  # noqa: S311 - a seed must reproduce the run
        self.options = options
        self.timeline = Timeline()
        self.trace = Trace()
        self.ledger = Ledger()
        self.net = Network(self.timeline, rng)
        self.setting = Setting(self.timeline, rng, self.net, self.ledger, self.trace)
        self.net.wired = rng.random() < 0.05
        self.hostile = rng.random() < 0.2 if options.hostile is None else options.hostile
        self.store = Store(random_policy(rng))
        self.limits = MoveLimits(rng.choice((1, 2, 2, 4)), rng.choice((1, 2, 64)))
        self.scheduler: SchedulerProcess | None = None
        self.scheduler_wanted = True
        self.lonely = rng.random() < 0.06
        self.epochs = 0
        hosts = rng.choice((1, 1, 2, 3))
        self.sites = [
            Site(self.setting, self._host(HostId(f"h{i}"), -rng.uniform(100, 9e4)), self._habits())
            for i in range(hosts)
        ]

    def _host(self, host: HostId, booted_s: float) -> TrueHost:
        if self.options.paged:
            return PagedHost(host, self.rng, booted_s, self.timeline)
        return TrueHost(host, self.rng, booted_s)

    def close(self) -> None:
        """End what a failed run has left: threads of movers."""
        for site in self.sites:
            if site.agent is not None:
                site.agent.end_threads()

    def _habits(self) -> Habits:
        rng = self.rng
        return Habits(
            limits=Limits(rng.choice((1, 2, 2, 3)), rng.choice((1, 1, 2)), *rng.choice((*19 * ((4096, 256),), (8, 3)))),
            can_move=rng.random() > 0.03,
            sweep_period_s=rng.choice((0.7, 1.0, 2.0)),
            load_period_s=rng.choice((1.5, 2.0, 4.0)),
            hint_missed=rng.choice((0.0, 0.0, 0.3, 1.0)),
            journal_s_max=rng.choice((0.001, 0.004, 0.2)),
            measuring_fails=rng.choice((0.0, 0.0, 0.1)),
        )

    # The scheduler

    def start_scheduler(self) -> None:
        """Start it, unless it runs or is to stay away."""
        if self.scheduler is None and self.scheduler_wanted:
            self.epochs += 1
            self.scheduler = SchedulerProcess(
                self.setting,
                self.store,
                f"s{self.epochs}",
                limits=self.limits,
                checked=self.options.checked,
                died=self._scheduler_died,
            )

    def _scheduler_died(self) -> None:
        self.scheduler = None
        self.timeline.after(self.rng.choice((0.1, 1.0, 5.0, 9.0)) * self.rng.random(), self.start_scheduler)

    # The end

    def look(self) -> None:
        """Ask what must hold at any time. Raises Violation."""
        late = list(overdue(self))
        if late:
            raise Violation("; ".join(late))

    def await_goal(self) -> float:
        """Let quiet pass until all is well; returns how long that took. Raises Violation if it never is."""
        quiet_s = 0.0
        if self.lonely:
            self.scheduler_wanted = False
            if self.scheduler is not None:
                self.scheduler.kill()
            quiet_s += self._await(unmet_alone)
            self.scheduler_wanted = True
            self.start_scheduler()
        return quiet_s + self._await(unmet)

    def _await(self, what_is_missing: Callable[["World"], Iterator[str]]) -> float:
        began_s = self.timeline.now_s
        until_s, moved = began_s + QUIET_S_MAX, self.ledger.moved_bytes
        while True:
            self.timeline.run_until(self.timeline.now_s + LOOK_EVERY_S)
            self.look()
            missing = list(what_is_missing(self))
            quiet_s = self.timeline.now_s - began_s
            if not missing:
                return quiet_s
            if self.ledger.moved_bytes > moved and quiet_s < PROGRESS_LASTS_S_MAX:
                until_s, moved = max(until_s, self.timeline.now_s + PROGRESS_S_MAX), self.ledger.moved_bytes
            if self.timeline.now_s >= until_s:
                raise Violation(f"{quiet_s:.0f} s after the last fault: {'; '.join(missing)}")
