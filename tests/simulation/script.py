"""What befalls a cluster: a script drawn from the seed. Each run stresses other things, and some of them not at all.

An action is drawn with its time when the run begins and with its details when that time comes, for only then is it
known who is there.
"""

from collections.abc import Callable, Sequence

from numaplace.model.ids import Cpus, JobId, Nodes, TaskId
from numaplace.model.job import MemoryPolicy
from numaplace.model.policy import Policy
from numaplace.model.residency import PageKind, PageSize
from scheduler.state.events import CancelRequested, Event, MeasureRequested, PolicyChanged, PolicyDeleted
from tests.simulation.policies import random_policy
from tests.simulation.site import Site
from tests.simulation.truth import MIB, Lot, TrueTask
from tests.simulation.world import World

JOBS = tuple(JobId(f"job{i}") for i in range(4))


class Script:
    """The actions on one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng
        self._names = 0
        self._over = False
        self._policies_used: list[Policy] = []

    def schedule(self) -> float:
        """Put a whole run's actions on the timeline; returns when they have all happened."""
        rng, timeline = self._rng, self._world.timeline
        for site in self._world.sites:
            for _ in range(rng.choice((1, 2, 2, 4))):
                self._spawn(site)
            timeline.after(rng.uniform(0.0, 1.0), site.start)
        timeline.after(rng.choice((0.0, 0.0, 0.5, 6.0)), self._world.start_scheduler)
        length_s = rng.choice((6.0, 15.0, 30.0))
        names, weights = self._themes()
        for _ in range(rng.choice((10, 30, 60, 120))):
            action = rng.choices(names, weights)[0]
            timeline.at(rng.uniform(0.0, length_s), lambda act=action: self._act(act))  # type: ignore[misc] # bound now
        if self._world.hostile:
            timeline.after(rng.uniform(0.0, length_s), self._turn_hostile)
        return length_s

    def _themes(self) -> tuple[Sequence[Callable[[], None]], Sequence[float]]:
        rng = self._rng
        weighted: dict[Callable[[], None], float] = {
            self.repin: 12, self.burst: 2, self.bounce: 2, self.slow_bounce: 1, self.repin_within_home: 1,
            self.change_mems: 0.5, self.spawn: 1, self.end: 1, self.replace: 1, self.grow: 3, self.shrink: 1,
            self.pin: 1, self.unpin: 0.5, self.take_cpus: 0.5, self.fill: 1, self.empty: 1, self.others: 0.5,
            self.interleave: 0.3, self.set_policy: 2, self.cancel: 1.5, self.measure: 0.5,
            self.kill_agent: 1.5, self.kill_agent_soon: 2, self.reboot: 0.4, self.kill_scheduler: 1,
            self.kill_scheduler_soon: 1.5, self.cut: 2, self.part: 1, self.slow_down: 0.5,
        }  # fmt: skip
        return tuple(weighted), [w * rng.choice((0.0, 0.3, 1.0, 1.0, 3.0)) + 0.01 for w in weighted.values()]

    def _act(self, action: Callable[[], None]) -> None:
        self._world.trace.note(self._world.timeline.now_s, "script", action.__name__)
        self._world.look()
        action()

    def calm(self) -> None:
        """All faults end: everything is started, every route is there, and nobody changes anything any more."""
        world, self._over = self._world, True
        world.trace.note(world.timeline.now_s, "script", "calm")
        weather = world.net.weather
        orders_lost = weather.hostile and not weather.upwards_only
        weather.delay_s_max, weather.loss, weather.reordering, weather.repetition = 0.002, 0.0, 0.0, 0.0
        world.net.unreachable_until_s.clear()
        if orders_lost:  # no number tells the agent what it missed: a new stream makes that good
            for connection in world.net.all():
                connection.cut(0.0, 0.0)
        world.start_scheduler()
        if world.scheduler is not None:
            world.scheduler.kill_after = None
        for site in world.sites:
            site.start()
            if site.agent is not None:
                site.agent.kill_after = None
            site.host.others_pages_per_s = 0.0

    # Whom

    def _site(self) -> Site:
        return self._rng.choice(self._world.sites)

    def _busy_site(self) -> Site:
        """Faults are worth most where pages are on the move."""
        busy = [site for site in self._world.sites if site.agent is not None and site.agent.runs]
        return self._rng.choice(busy) if busy and self._rng.random() < 0.7 else self._site()

    def _anyone(self) -> tuple[Site, TrueTask] | None:
        site = self._site()
        return (site, self._rng.choice(list(site.host.tasks.values()))) if site.host.tasks else None

    # Tasks

    def spawn(self) -> None:
        """A new task."""
        self._spawn(self._site())

    def _spawn(self, site: Site, name: TaskId | None = None, pid: int | None = None) -> None:
        host, rng = site.host, self._rng
        at_s = self._world.timeline.now_s - host.booted_s
        processes = tuple(host.new_process(at_s, pid if i == 0 else None) for i in range(rng.choice((1, 1, 3))))
        first = processes[0]
        self._names += 1
        if name is None:
            by_group = rng.random() < 0.5
            name = TaskId(f"cgroup:/t{self._names}" if by_group else f"process:{first.pid}@{first.start_ticks}")
        started_s = at_s - rng.choice((0.0, 0.0, min(at_s, 50.0)))
        cpus = self._some_cpus(site)
        task = host.begin(TrueTask(name, rng.choice(JOBS), processes, cpus, host.all_nodes, started_s))
        self._allocate(site, task)
        site.changed()

    def _some_cpus(self, site: Site) -> Cpus:
        host, rng = site.host, self._rng
        nodes = rng.sample(host.cpu_nodes, rng.choice((1, 1, 1, min(2, len(host.cpu_nodes)))))
        return frozenset(cpu for node in nodes for cpu in host.cpus_of[node])

    def _allocate(self, site: Site, task: TrueTask) -> None:
        rng = self._rng
        wanted = {(PageSize.BASE, PageKind.ANON, False): rng.choice((2, 8, 40, 200, 400)) * MIB}
        if rng.random() < 0.3:
            wanted[PageSize.THP, PageKind.ANON, False] = rng.choice((2, 20, 200)) * MIB
        if rng.random() < 0.3:
            wanted[PageSize.BASE, rng.choice((PageKind.FILE, PageKind.SHARED)), False] = rng.choice((3, 30)) * MIB
        if rng.random() < 0.15:
            wanted[PageSize.BASE, PageKind.ANON, True] = rng.choice((1, 10, 100)) * MIB
        site.host.allocate(task, wanted)

    def end(self) -> None:
        """A task ends."""
        if (found := self._anyone()) is not None:
            found[0].host.end(found[1])
            found[0].changed()

    def replace(self) -> None:
        """A task ends and another comes under its name or its pid, perhaps before anybody has looked."""
        if (found := self._anyone()) is None:
            return
        site, task = found
        site.host.end(task)
        self._world.timeline.after(self._rng.choice((0.0, 0.3)), lambda: self._come_back(site, task))

    def _come_back(self, site: Site, task: TrueTask) -> None:
        if task.id not in site.host.tasks and not self._over:
            by_group = task.id.startswith("cgroup")
            self._spawn(site, task.id if by_group else None, task.processes[0].pid)

    # CPUs

    def _pin_to(self, site: Site, task: TrueTask, cpus: Cpus) -> None:
        if site.host.tasks.get(task.id) is task and not self._over:
            task.cpus = cpus
            site.changed()

    def repin(self) -> None:
        """Other CPUs."""
        if (found := self._anyone()) is not None:
            self._pin_to(*found, self._some_cpus(found[0]))

    def repin_within_home(self) -> None:
        """Fewer CPUs of the same nodes."""
        if (found := self._anyone()) is not None:
            site, task = found
            nodes = [node for node in site.host.cpu_nodes if site.host.cpus_of[node] & task.cpus]
            firsts = frozenset(min(site.host.cpus_of[node]) for node in nodes)
            self._pin_to(site, task, firsts or task.cpus)

    def _changes(self, count: int, gap_s: Callable[[], float], back_and_forth: bool) -> None:  # noqa: FBT001 - private
        if (found := self._anyone()) is None:
            return
        site, task = found
        places = [task.cpus, self._some_cpus(site)]
        at_s = self._world.timeline.now_s
        for i in range(count):
            cpus = places[(i + 1) % 2] if back_and_forth else self._some_cpus(site)
            at_s += gap_s()
            self._world.timeline.at(at_s, lambda to=cpus: self._pin_to(site, task, to))  # type: ignore[misc] # bound now

    def burst(self) -> None:
        """Many changes within a second."""
        count = self._rng.choice((3, 10, 40))
        self._changes(count, lambda: self._rng.uniform(0, 1.0 / count), back_and_forth=False)

    def bounce(self) -> None:
        """There and back."""
        self._changes(2, lambda: self._rng.choice((0.001, 0.03, 0.3)), back_and_forth=True)

    def slow_bounce(self) -> None:
        """There and back, again and again, seconds apart."""
        self._changes(self._rng.choice((3, 7)), lambda: self._rng.uniform(0.8, 3.0), back_and_forth=True)

    def change_mems(self) -> None:
        """The cpuset allows other nodes."""
        if (found := self._anyone()) is not None:
            site, task = found
            nodes = site.host.nodes
            few: Nodes = frozenset(self._rng.sample(nodes, self._rng.randint(1, len(nodes))))
            task.allow(self._rng.choice((few, site.host.all_nodes)))
            site.changed()

    def take_cpus(self) -> None:
        """CPUs go offline, and others come back."""
        site = self._site()
        cpus = sorted(cpu for node in site.host.nodes for cpu in site.host.cpus_of[node])
        site.host.set_offline(set(self._rng.sample(cpus, self._rng.randint(0, len(cpus) // 2))))
        site.changed()

    # Memory

    def grow(self) -> None:
        """A task touches more memory."""
        if (found := self._anyone()) is not None:
            self._allocate(*found)

    def shrink(self) -> None:
        """A task frees memory."""
        if (found := self._anyone()) is not None:
            for lot, size in list(found[1].lots.items()):
                if not lot.pinned and self._rng.random() < 0.5:
                    found[1].add(lot, -max(1, size // (2 * MIB)) * MIB if size > 2 * MIB else -size)

    def pin(self) -> None:
        """A device takes hold of some of a task's pages."""
        self._pin(pinned=True)

    def unpin(self) -> None:
        """A device lets go."""
        if not self._world.options.paged:  # the real mover asks what was held again after minutes only
            self._pin(pinned=False)

    def _pin(self, *, pinned: bool) -> None:
        if (found := self._anyone()) is None:
            return
        task = found[1]
        lots = [lot for lot in task.lots if lot.pinned is not pinned]
        if lots:
            lot = self._rng.choice(lots)
            size = task.lots[lot]
            task.add(lot, -size)
            task.add(Lot(lot.node, lot.size, lot.kind, pinned), size)

    def fill(self) -> None:
        """Somebody else takes most of a node, or all of it."""
        host = self._site().host
        node = self._rng.choice(host.nodes)
        share = self._rng.choice((0.5, 0.95, 1.0))
        host.fill(node, int(host.free(node) * share / MIB) * MIB)

    def empty(self) -> None:
        """Somebody else frees what was taken."""
        self._site().host.empty()

    def others(self) -> None:
        """AutoNUMA or a person migrates pages too."""
        site = self._site()
        site.host.others_pages_per_s = self._rng.choice((0.0, 20_000.0))
        if (found := self._anyone()) is None:
            return
        host, task = found[0].host, found[1]
        for lot, size in list(task.lots.items()):
            if self._rng.random() < 0.5:
                host.relocate(task, lot, self._rng.choice(host.nodes), size // (2 * MIB) * MIB)

    def interleave(self) -> None:
        """A task turns out to be under another memory policy."""
        if (found := self._anyone()) is not None:
            policies = (MemoryPolicy.INTERLEAVE, MemoryPolicy.DEFAULT, MemoryPolicy.PREFERRED)
            found[1].memory_policy = self._rng.choice(policies)

    # People

    def _ask(self, event: Event) -> None:
        if self._world.scheduler is not None:
            self._world.scheduler.put(event)

    def set_policy(self) -> None:
        """A policy is set or deleted; often one that was there before."""
        rng = self._rng
        if rng.random() < 0.15:
            self._ask(PolicyDeleted(rng.choice(JOBS)))
            return
        if not self._policies_used or rng.random() < 0.7:
            self._policies_used.append(random_policy(rng))
        self._ask(PolicyChanged(rng.choice((*JOBS, None)), rng.choice(self._policies_used)))

    def cancel(self) -> None:
        """A person cancels a move, more often than not one that is open."""
        moves = [move.id for move in self._world.store.moves.values() if move.open] or list(self._world.store.moves)
        if moves:
            self._ask(CancelRequested(self._rng.choice(moves), "somebody wants it so"))

    def measure(self) -> None:
        """A person wants to know where a job's pages are."""
        self._ask(MeasureRequested(self._rng.choice(JOBS)))

    # Faults

    def kill_agent(self) -> None:
        """SIGKILL, now."""
        if (agent := self._busy_site().agent) is not None:
            agent.kill()

    def kill_agent_soon(self) -> None:
        """SIGKILL between two of its next instructions."""
        if (agent := self._site().agent) is not None:
            agent.kill_after = self._rng.randint(0, 25)

    def reboot(self) -> None:
        """Power is lost and comes back."""
        site = self._busy_site()
        services = [name for name in site.host.tasks if name.startswith("cgroup")]
        site.reboot()
        for name in services:
            delay_s = self._rng.choice((0.0, 3.0)) * self._rng.random()
            self._world.timeline.after(delay_s, lambda again=name: self._come_up(site, again))  # type: ignore[misc] # bound now

    def _come_up(self, site: Site, name: TaskId) -> None:
        """A service starts again after a reboot."""
        if name not in site.host.tasks and not self._over:
            self._spawn(site, name)

    def kill_scheduler(self) -> None:
        """SIGKILL, now."""
        if self._world.scheduler is not None:
            self._world.scheduler.kill()

    def kill_scheduler_soon(self) -> None:
        """SIGKILL between two of its next instructions."""
        if self._world.scheduler is not None:
            self._world.scheduler.kill_after = self._rng.randint(0, 25)

    def _notice_s(self) -> float:
        return self._rng.choice((0.0, 0.01, 2.0, 15.0)) * self._rng.random()

    def cut(self) -> None:
        """A stream is cut; either end notices in its own time."""
        for connection in self._world.net.of_host(self._busy_site().host.id):
            connection.cut(self._notice_s(), self._notice_s())

    def part(self) -> None:
        """A host cannot reach the scheduler for a while, long enough to follow alone."""
        site = self._site()
        world = self._world
        world.net.unreachable_until_s[site.host.id] = world.timeline.now_s + self._rng.choice((1.0, 6.0, 12.0))
        for connection in world.net.of_host(site.host.id):
            connection.cut(self._notice_s(), self._notice_s())

    def slow_down(self) -> None:
        """The network is slow from now on, or fast again."""
        self._world.net.weather.delay_s_max = self._rng.choice((0.002, 0.05, 0.8))

    def _turn_hostile(self) -> None:
        weather, rng = self._world.net.weather, self._rng
        weather.loss, weather.reordering = rng.choice((0.0, 0.02, 0.1)), rng.choice((0.0, 0.02, 0.1))
        weather.repetition = rng.choice((0.0, 0.02, 0.1))
        weather.upwards_only = rng.random() < 0.5
