"""The detector: what sweeps and hints tell, and that nothing is told twice, late or for ever unsaid."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.core.detector import HINT_KEPT_S, HINTS_MAX, Detector, Seen, TaskAppeared
from node_agent.core.facts import Hint, ProcessRef, Sweep, TaskFacts
from numaplace.model.ids import CpuId, Cpus, JobId, NodeId, Nodes, TaskId
from numaplace.model.job import Actor, ChangeSource, HomeChange
from numaplace.model.session import TaskGone
from numaplace.model.topology import Node, Topology


def cpus(*ids: int) -> Cpus:
    """A set of CPUs."""
    return frozenset(CpuId(i) for i in ids)


def nodes(*ids: int) -> Nodes:
    """A set of nodes."""
    return frozenset(NodeId(i) for i in ids)


def host(*offline: int) -> Topology:
    """Two nodes of two CPUs each, some of which may be offline."""
    return Topology(
        tuple(Node(NodeId(n), cpus(2 * n, 2 * n + 1) - cpus(*offline), 1 << 30, {}) for n in range(2)),
    )


TASK = TaskFacts(
    TaskId("process:10@5"), JobId("job"), "job", (ProcessRef(10, 5),), 1, cpus(0, 1), nodes(0, 1), 0.05, "/jobs/a"
)
OTHER = replace(TASK, id=TaskId("process:20@6"), processes=(ProcessRef(20, 6),), cgroup="/jobs/b")


class Scene:
    """A detector that is shown sweeps a tenth of a second apart."""

    def __init__(self, *tasks: TaskFacts) -> None:
        self.detector = Detector()
        self.now_s = 100.0
        self.sweep(*tasks)

    def sweep(self, *tasks: TaskFacts, hints: tuple[Hint, ...] = (), topology: Topology | None = None) -> list[Seen]:
        """Show a sweep and return what was seen."""
        self.now_s += 0.1
        return self.detector.observe(Sweep(self.now_s, topology or host(), tasks), hints)

    def change(self, *tasks: TaskFacts, hints: tuple[Hint, ...] = (), topology: Topology | None = None) -> HomeChange:
        """Show a sweep that must tell of one change and nothing else."""
        (seen,) = self.sweep(*tasks, hints=hints, topology=topology)
        assert isinstance(seen, HomeChange)
        return seen


def test_a_task_appears_with_its_home_and_is_gone_once() -> None:
    """The first sweep that shows a task tells of it, the first that does not tells of its end; others say nothing."""
    detector = Detector()
    (seen,) = detector.observe(Sweep(1.0, host(), (TASK,)))
    assert isinstance(seen, TaskAppeared)
    assert (seen.facts, seen.home.nodes, seen.home.version) == (TASK, nodes(0), 1_000_000_000)
    assert detector.observe(Sweep(2.0, host(), (TASK,))) == []
    assert detector.observe(Sweep(3.0, host(), ())) == [TaskGone(TASK.id)]
    assert detector.observe(Sweep(4.0, host(), ())) == []
    assert detector.get(TASK.id) is None


def test_another_home_is_told_with_the_one_before() -> None:
    """A change carries the new home, the last other one, and a version of the time it was seen."""
    scene = Scene(TASK)
    change = scene.change(replace(TASK, cpus=cpus(2)))
    assert (change.home.nodes, change.previous_home, change.cpus) == (nodes(1), nodes(0), cpus(2))
    assert change.home.version == int(scene.now_s * 1e9)
    assert change.source is ChangeSource.SWEEP


def test_the_home_before_is_always_the_last_other_one() -> None:
    """Positions are kept from one home to the next, not from the first one on."""
    scene = Scene(TASK)
    homes = [scene.change(replace(TASK, cpus=cpus(*ids))) for ids in ((2,), (1, 2), (3,), (0,))]
    assert [change.previous_home for change in homes] == [nodes(0), nodes(1), nodes(0, 1), nodes(1)]


def test_other_cpus_within_the_same_home_keep_the_home_and_its_version() -> None:
    """Orders towards a home stay good while the home stays; the same version marks such a change."""
    scene = Scene(TASK)
    moved = scene.change(replace(TASK, cpus=cpus(2, 3)))
    within = scene.change(replace(TASK, cpus=cpus(3)))
    assert within.home == moved.home
    assert within.previous_home == nodes(0), "positions are those of the last home with other nodes"
    assert within.cpus == cpus(3)


def test_other_mems_make_a_new_version_of_the_same_home() -> None:
    """What may be moved where depends on the mems, so a change of them is a reason to decide anew."""
    scene = Scene(TASK)
    before = scene.detector.get(TASK.id)
    assert before is not None
    change = scene.change(replace(TASK, mems=nodes(0)))
    assert change.home.nodes == before.home.nodes
    assert change.home.version > before.home.version


def test_what_bounced_back_between_two_sweeps_never_happened() -> None:
    """The detector compares states, so a hundred hints without a difference tell nothing."""
    scene = Scene(TASK)
    hints = tuple(Hint(ChangeSource.TRACEFS, Actor(7, "x"), pid=10) for _ in range(100))
    assert scene.sweep(TASK, hints=hints) == []


def test_a_burst_is_one_change_that_says_how_many_it_sums_up() -> None:
    """A hundred pinnings between two sweeps are one change, of a hundred."""
    scene = Scene(TASK)
    hints = tuple(Hint(ChangeSource.TRACEFS, Actor(7, "x"), pid=10) for _ in range(100))
    assert scene.change(replace(TASK, cpus=cpus(2)), hints=hints).changes == 100


def test_cpus_that_go_offline_change_the_home() -> None:
    """A home follows from the CPUs that are there, so hotplug alone may change it."""
    task = replace(TASK, cpus=cpus(1, 2))
    scene = Scene(task)
    # The kernel takes the CPU out of the mask as well, but a sweep may see the one before the other.
    change = scene.change(task, topology=host(2, 3))
    assert (change.home.nodes, change.previous_home) == (nodes(0), nodes(0, 1))
    assert scene.change(task).home.nodes == nodes(0, 1)


def test_versions_grow_even_if_the_clock_does_not() -> None:
    """A version tells newer from older whatever the clock does."""
    detector = Detector()
    detector.observe(Sweep(5.0, host(), (TASK,)))
    versions = []
    for cpu in (2, 0, 2):
        (seen,) = detector.observe(Sweep(1.0, host(), (replace(TASK, cpus=cpus(cpu)),)))
        assert isinstance(seen, HomeChange)
        versions.append(seen.home.version)
    assert versions == [5_000_000_001, 5_000_000_002, 5_000_000_003]


WRITER = Actor(70, "writer")


@pytest.mark.parametrize(
    ("hint", "is_ours"),
    [
        (Hint(ChangeSource.TRACEFS, WRITER, pid=10), True),
        (Hint(ChangeSource.TRACEFS, WRITER, pid=11), False),
        (Hint(ChangeSource.FANOTIFY, WRITER, cgroup="/jobs/a"), True),
        (Hint(ChangeSource.FANOTIFY, WRITER, cgroup="/jobs"), True),
        (Hint(ChangeSource.FANOTIFY, WRITER, cgroup="/"), True),
        (Hint(ChangeSource.FANOTIFY, WRITER, cgroup="/jobs/a/below"), False),
        (Hint(ChangeSource.FANOTIFY, WRITER, cgroup="/job"), False),
        (Hint(ChangeSource.FANOTIFY, WRITER), True),
    ],
)
def test_a_hint_explains_its_process_its_cgroup_and_all_below(hint: Hint, *, is_ours: bool) -> None:
    """A change is explained by a hint about its process, its cgroup or one above, or about anyone; by no other."""
    change = Scene(TASK).change(replace(TASK, cpus=cpus(2)), hints=(hint,))
    assert (change.source, change.actor) == ((hint.source, WRITER) if is_ours else (ChangeSource.SWEEP, None))


def test_the_narrowest_and_then_the_last_hint_explains() -> None:
    """Whoever wrote to the task itself did it rather than whoever wrote somewhere above, and the last of them."""
    first, last = Actor(1, "first"), Actor(2, "last")
    hints = (
        Hint(ChangeSource.TRACEFS, first, pid=10),
        Hint(ChangeSource.TRACEFS, last, pid=10),
        Hint(ChangeSource.FANOTIFY, WRITER, cgroup="/jobs/a"),
        Hint(ChangeSource.FANOTIFY, WRITER),
        Hint(ChangeSource.TRACEFS, pid=10, structural=True),
    )
    assert Scene(TASK).change(replace(TASK, cpus=cpus(2)), hints=hints).actor == last


def test_who_attached_a_task_to_another_cgroup_is_named() -> None:
    """The cgroup that a task left is as good an explanation as the one it entered."""
    hint = Hint(ChangeSource.FANOTIFY, WRITER, cgroup="/new", structural=True)
    entered = replace(TASK, cpus=cpus(2), cgroup="/new")
    assert Scene(TASK).change(entered, hints=(hint,)).actor == WRITER


def test_a_hint_explains_a_change_of_each_task_below_it_but_none_twice() -> None:
    """A write at an ancestor changes many tasks, each once; the next change has another cause."""
    scene = Scene(TASK, OTHER)
    hint = Hint(ChangeSource.FANOTIFY, WRITER, cgroup="/jobs")
    away = [replace(task, cpus=cpus(2)) for task in (TASK, OTHER)]
    seen = scene.sweep(*away, hints=(hint,))
    assert [change.actor for change in seen if isinstance(change, HomeChange)] == [WRITER, WRITER]
    again = scene.sweep(TASK, OTHER)
    assert [change.source for change in again if isinstance(change, HomeChange)] == [ChangeSource.SWEEP] * 2


def test_an_old_hint_explains_nothing() -> None:
    """What changes long after a hint has another cause."""
    scene = Scene(TASK)
    scene.detector.note(Hint(ChangeSource.TRACEFS, WRITER, pid=10), scene.now_s)
    scene.now_s += HINT_KEPT_S
    assert scene.change(replace(TASK, cpus=cpus(2))).source is ChangeSource.SWEEP


def test_a_storm_of_hints_is_bounded() -> None:
    """Hints are kept up to a number, the newest ones."""
    scene = Scene(TASK)
    storm = [Hint(ChangeSource.TRACEFS, WRITER, pid=10)] + [Hint(ChangeSource.TRACEFS, pid=99)] * HINTS_MAX
    assert scene.change(replace(TASK, cpus=cpus(2)), hints=tuple(storm)).source is ChangeSource.SWEEP


masks = st.sets(st.sampled_from(range(4)), min_size=1).map(lambda ids: cpus(*ids))
mems = st.sets(st.sampled_from(range(2)), min_size=1).map(lambda ids: nodes(*ids))
tasks = st.sampled_from((TASK, OTHER))
pids = st.none() | st.sampled_from((10, 20, 30))
cgroups = st.none() | st.sampled_from(("/", "/jobs", "/jobs/a", "/else"))
hints = st.builds(
    Hint, st.sampled_from(ChangeSource), st.just(WRITER), pid=pids, cgroup=cgroups, structural=st.booleans()
)
steps = st.one_of(
    st.tuples(st.just("pin"), tasks, masks),
    st.tuples(st.just("mems"), tasks, mems),
    st.tuples(st.just("end"), tasks, st.none()),
    st.tuples(st.just("hint"), hints, st.none()),
    st.tuples(st.just("hotplug"), st.sampled_from(((), (3,), (2, 3), (0,))), st.none()),
)


@given(st.lists(st.tuples(steps, st.booleans()), max_size=40))
def test_after_quiet_the_view_is_the_truth_and_each_change_was_told_once(
    history: list[tuple[tuple[str, object, object], bool]],
) -> None:
    """Whatever happened between sweeps, a view built from what was told equals the last sweep (liveness).

    Nothing is told that does not differ from what was told before, and versions grow (safety).
    """
    detector = Detector()
    truth: dict[TaskId, TaskFacts] = {}
    topology = host()
    told = _Told()
    now_s = 1.0
    for (what, first, second), swept in [*history, (("quiet", None, None), True)]:
        now_s += 0.01
        if isinstance(first, TaskFacts):
            if what == "end":
                truth.pop(first.id, None)
            else:
                changed = {"cpus": second} if what == "pin" else {"mems": second}
                truth[first.id] = replace(truth.get(first.id, first), **changed)  # type: ignore[arg-type]
        elif isinstance(first, Hint):
            detector.note(first, now_s)
        elif isinstance(first, tuple):
            topology = host(*first)
        if swept:
            told.take(detector.observe(Sweep(now_s, topology, tuple(truth.values()))))
    assert told.view == {task: (facts.cpus, facts.mems, topology.home_of(facts.cpus)) for task, facts in truth.items()}
    assert {known.facts.id: known.facts for known in detector.known} == truth


class _Told:
    """What somebody believes who hears only what the detector tells, and who objects to what is no news."""

    def __init__(self) -> None:
        self.view: dict[TaskId, tuple[Cpus, Nodes, Nodes]] = {}
        self.versions: dict[TaskId, int] = {}

    def take(self, seen: list[Seen]) -> None:
        """Believe it."""
        subjects = [event.facts.id if isinstance(event, TaskAppeared) else event.task for event in seen]
        assert len(set(subjects)) == len(subjects), "one sweep tells one thing of a task"
        for event in seen:
            match event:
                case TaskAppeared(facts, home):
                    assert facts.id not in self.view
                    self.view[facts.id] = (facts.cpus, facts.mems, home.nodes)
                    self.versions[facts.id] = home.version
                case TaskGone(task):
                    del self.view[task]
                case HomeChange(task=task):
                    self._change(event, task)

    def _change(self, event: HomeChange, task: TaskId) -> None:
        news = (event.cpus, event.mems, event.home.nodes)
        before = self.view[task]
        assert news != before
        if news[1:] == before[1:]:
            assert event.home.version == self.versions[task]
        else:
            assert event.home.version > self.versions[task]
        if news[2] != before[2]:
            assert event.previous_home == before[2]
        self.view[task], self.versions[task] = news, event.home.version
