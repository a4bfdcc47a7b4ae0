"""Seeing that a task's home changed: a level-triggered comparison of each sweep with what is known.

Watchers miss events, repeat them and tell them late, so nothing is derived from an event. A sweep is the truth; hints
only say when to sweep, and afterwards who may have caused what the sweep found. Rules kept here:

- A change is reported once, when a sweep shows it; what bounced back between two sweeps never happened.
- A home's version grows whenever its nodes or the task's mems change. A change of CPUs within the same home keeps the
  home, version included: that marks it, and an order towards this home stays good.
- ``previous_home`` is the last home that had other nodes, so that relative positions survive changes within a home.
- Hints are kept for a short time and a bounded number. Each explains a task's change at most once.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from node_agent.core.facts import Hint, Sweep, TaskFacts
from numaplace.model.ids import Nodes, TaskId
from numaplace.model.job import Actor, ChangeSource, Home, HomeChange
from numaplace.model.session import TaskGone
from numaplace.model.topology import Topology

HINT_KEPT_S = 0.5
"""A change shows in the first sweeps after its hint; an older hint was about something else."""
HINTS_MAX = 256
"""More hints than this within their time are a storm, whose oldest ones explain nothing any more."""


@dataclass(frozen=True, slots=True)
class TaskAppeared:
    """A task was seen for the first time, with this home."""

    facts: TaskFacts
    home: Home


Seen = TaskAppeared | HomeChange | TaskGone
"""What one sweep told."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the detector holds of one task: the facts last seen, its home, and the last home with other nodes."""

    facts: TaskFacts
    home: Home
    previous_home: Nodes


@dataclass(slots=True)
class _Noted:
    """A hint, when it came, and which tasks' changes it has explained."""

    hint: Hint
    at_s: float
    explained: set[TaskId] = field(default_factory=set)


class Detector:
    """Compares sweeps. Not thread-safe; one owner."""

    def __init__(self) -> None:
        self._known: dict[TaskId, Known] = {}
        self._topology: Topology | None = None
        self._hints: deque[_Noted] = deque(maxlen=HINTS_MAX)

    @property
    def known(self) -> tuple[Known, ...]:
        """Every task as the last sweep showed it."""
        return tuple(self._known.values())

    def get(self, task: TaskId) -> Known | None:
        """One task as the last sweep showed it."""
        return self._known.get(task)

    def note(self, hint: Hint, at_s: float) -> None:
        """Keep a hint to explain a change with; ``at_s`` on the clock of the sweeps."""
        self._hints.append(_Noted(hint, at_s))

    def observe(self, sweep: Sweep, hints: Iterable[Hint] = ()) -> list[Seen]:
        """Take a sweep in and return what it changed, those gone first; ``hints`` came since the last one."""
        for hint in hints:
            self.note(hint, sweep.at_s)
        self._forget_hints(sweep.at_s)
        seen: list[Seen] = list(self._gone(sweep))
        same_topology = self._topology is not None and (
            sweep.topology is self._topology or sweep.topology == self._topology
        )
        self._topology = sweep.topology
        for facts in sweep.tasks:
            event = self._look(facts, sweep, same_topology=same_topology)
            if event is not None:
                seen.append(event)
        return seen

    def _forget_hints(self, now_s: float) -> None:
        while self._hints and self._hints[0].at_s < now_s - HINT_KEPT_S:
            self._hints.popleft()

    def _gone(self, sweep: Sweep) -> Iterator[TaskGone]:
        there = {facts.id for facts in sweep.tasks}
        for task in [task for task in self._known if task not in there]:
            del self._known[task]
            yield TaskGone(task)

    def _look(self, facts: TaskFacts, sweep: Sweep, *, same_topology: bool) -> Seen | None:
        known = self._known.get(facts.id)
        if known is None:
            return self._appear(facts, sweep)
        if same_topology and facts is known.facts:
            return None
        if same_topology and facts.cpus == known.facts.cpus:
            nodes = known.home.nodes
        else:
            nodes = sweep.topology.home_of(facts.cpus)
        if facts.cpus == known.facts.cpus and facts.mems == known.facts.mems and nodes == known.home.nodes:
            self._known[facts.id] = Known(facts, known.home, known.previous_home)
            return None
        return self._change(known, facts, nodes, sweep.at_s)

    def _appear(self, facts: TaskFacts, sweep: Sweep) -> TaskAppeared:
        nodes = sweep.topology.home_of(facts.cpus)
        home = Home(nodes, _version(sweep.at_s))
        self._known[facts.id] = Known(facts, home, nodes)
        return TaskAppeared(facts, home)

    def _change(self, known: Known, facts: TaskFacts, nodes: Nodes, at_s: float) -> HomeChange:
        home, previous = known.home, known.previous_home
        if nodes != home.nodes:
            previous = home.nodes
        if nodes != home.nodes or facts.mems != known.facts.mems:
            home = Home(nodes, max(home.version + 1, _version(at_s)))
        self._known[facts.id] = Known(facts, home, previous)
        source, actor, changes = self._explain(known.facts, facts)
        return HomeChange(facts.id, facts.cpus, facts.mems, home, previous, source, actor, changes)

    def _explain(self, before: TaskFacts, after: TaskFacts) -> tuple[ChangeSource, Actor | None, int]:
        """Who told of this change, who made it, and how many changes were told of."""
        fitting = [(_fit(noted.hint, before, after), noted) for noted in self._hints if after.id not in noted.explained]
        fitting = [(fit, noted) for fit, noted in fitting if fit is not None]
        if not fitting:
            return ChangeSource.SWEEP, None, 1
        for _, noted in fitting:
            noted.explained.add(after.id)
        # Of equally good ones the last: the state that the sweep found is the last one written.
        best = max(range(len(fitting)), key=lambda i: (fitting[i][0], i))
        hint = fitting[best][1].hint
        told = sum(not noted.hint.structural for _, noted in fitting)
        return hint.source, hint.actor, max(1, told)


def _version(at_s: float) -> int:
    return int(at_s * 1e9)


def _fit(hint: Hint, before: TaskFacts, after: TaskFacts) -> tuple[bool, bool, int] | None:
    """How well a hint explains a task's change, greater is better; None if it is about somebody else.

    What changes a home itself is better than processes that come and go, a known actor better than none. A process is
    narrower than its cgroup, a near cgroup than a far ancestor, and that than anyone.
    """
    known = hint.actor is not None
    # Who moves a process into a cgroup makes a structural change, and yet changes its home.
    changes_home = not hint.structural or known or hint.cgroup is not None
    if hint.pid is not None:
        is_ours = any(hint.pid == process.pid for facts in (after, before) for process in facts.processes)
        return (changes_home, known, 1_000_000) if is_ours else None
    if hint.cgroup is not None:
        is_ours = any(is_at_or_below(facts.cgroup, hint.cgroup) for facts in (after, before))
        return (changes_home, known, len(hint.cgroup)) if is_ours else None
    return (changes_home, known, 0)


def is_at_or_below(cgroup: str, ancestor: str) -> bool:
    """Whether a cgroup's path is this one or lies below it; no cgroup at all lies below none."""
    if not cgroup:
        return False
    top = ancestor.rstrip("/")
    return cgroup == top or cgroup.startswith(f"{top}/")
