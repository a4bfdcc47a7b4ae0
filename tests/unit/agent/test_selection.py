"""Which processes become tasks, how they are grouped, and under which ids."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from node_agent.core.facts import ProcessRef
from node_agent.core.rules import Process, SelectionRules
from node_agent.core.selection import Adoption, Selection, process_task_id, select
from numaplace.model.ids import JobId, TaskId


def process(pid: int, parent: int = 1, command: str = "job", **more: object) -> Process:
    """A process that started at its pid, in the process group of its own."""
    start = more.pop("start", pid)
    group = more.pop("group", pid)
    assert isinstance(start, int)
    assert isinstance(group, int)
    return replace(Process(ProcessRef(pid, start), parent, group, command), **more)  # type: ignore[arg-type]


def grouped(selection: Selection) -> dict[str, list[int]]:
    """Task ids with the pids in them."""
    return {task.id: [p.ref.pid for p in task.processes] for task in selection.tasks}


def members(selection: Selection) -> dict[ProcessRef, TaskId]:
    """Which task each process is in."""
    return {p.ref: task.id for task in selection.tasks for p in task.processes}


EVERYTHING = SelectionRules(commands=("*",))


def test_nothing_is_followed_unless_asked_for() -> None:
    """An agent without rules and adoptions touches nobody."""
    assert select([process(10)], SelectionRules()) == Selection(())


def test_a_cgroup_below_a_root_is_one_task_whatever_its_processes() -> None:
    """All processes in one selected cgroup are a task that is named after it; the root's own are in none."""
    rules = SelectionRules(cgroup_roots=("/slurm",))
    there = [
        process(10, cgroup="/slurm/job_1"),
        process(11, cgroup="/slurm/job_1"),
        process(12, cgroup="/slurm/job_2/step"),
        process(13, cgroup="/slurm"),
        process(14, cgroup="/slurmy/job"),
    ]
    selection = select(there, rules)
    assert grouped(selection) == {"cgroup:/slurm/job_1": [10, 11], "cgroup:/slurm/job_2/step": [12]}
    assert [task.job for task in selection.tasks] == ["job_1", "step"]


def test_a_depth_makes_one_task_of_all_that_is_below() -> None:
    """With a depth the cgroups so far below the root are the tasks, with everything in and below them."""
    rules = SelectionRules(cgroup_roots=("/kubepods/*",), cgroup_depth=1)
    there = [
        process(10, cgroup="/kubepods/burstable/pod1/a"),
        process(11, cgroup="/kubepods/burstable/pod1/b"),
        process(12, cgroup="/kubepods/besteffort/pod2"),
        process(13, cgroup="/kubepods/besteffort"),
    ]
    assert grouped(select(there, rules)) == {
        "cgroup:/kubepods/burstable/pod1": [10, 11],
        "cgroup:/kubepods/besteffort/pod2": [12],
    }


@pytest.mark.parametrize(
    ("pattern", "candidate", "matches"),
    [
        ("python*", process(10, command="python3"), True),
        ("python*", process(10, command="sh", arguments=("/usr/bin/python3", "x")), True),
        ("python*", process(10, command="sh", arguments=("sh", "python3")), False),
        ("re:train\\.py( |$)", process(10, arguments=("python", "train.py", "-v")), True),
        ("re:^train", process(10, arguments=("python", "train.py")), False),
        ("*", process(10, kernel=True), False),
        ("*", process(1, parent=0), False),
        ("*", process(10, service="/system.slice/cron.service"), False),
        ("*", process(10, cgroup="/init.scope"), False),
        ("*", process(10, service="/user.slice/user-0.slice/user@0.service/init.scope"), False),
        ("*", process(10, service="/user.slice/user-0.slice/user@0.service/session.slice/dbus.service"), False),
        ("*", process(10, service="/user.slice/user-0.slice/session-3.scope"), True),
        ("*", process(10, service="/system.slice/docker-12ab.scope"), True),
        ("*", process(10, service="/system.slice/slurmstepd.scope/job_3/step_0"), True),
    ],
)
def test_patterns_match_commands_but_no_kernel_thread_and_no_service(
    pattern: str, candidate: Process, *, matches: bool
) -> None:
    """Patterns look at the name, the program or (re:) the command line, of what is anyone's work."""
    selection = select([candidate], SelectionRules(commands=(pattern,)))
    assert bool(selection.tasks) is matches


def test_system_services_are_followed_when_asked_for() -> None:
    """A flag, or a root that names the slice, asks for services."""
    service = process(10, cgroup="/system.slice/db.service", service="/system.slice/db.service")
    assert grouped(select([service], SelectionRules(commands=("*",), system_services=True)))
    assert grouped(select([service], SelectionRules(cgroup_roots=("/system.slice",))))
    assert not grouped(select([service], SelectionRules(cgroup_roots=("/",))))


def test_users_are_matched_by_name_or_number_and_together_with_commands() -> None:
    """A user pattern alone selects all of theirs; with commands both must match."""
    there = [process(10, uid=7, user="ann"), process(11, uid=7, user="ann", command="sh"), process(12, uid=8)]
    assert len(select(there, SelectionRules(users=("an*",))).tasks) == 2
    assert len(select(there, SelectionRules(users=("8",))).tasks) == 1
    assert grouped(select(there, SelectionRules(users=("ann",), commands=("job",)))) == {"process:10@10": [10]}


def test_a_process_with_its_matching_children_is_one_task() -> None:
    """What a shell calls a job (a process group of parents and children) is one task, named after its first process."""
    there = [
        process(10, command="bash"),
        process(11, parent=10, group=11),
        process(12, parent=11, group=11),
        process(13, parent=12, group=11),
        process(20, parent=10, group=20),
    ]
    selection = select(there, SelectionRules(commands=("job",)))
    assert grouped(selection) == {"process:11@11": [11, 12, 13], "process:20@20": [20]}
    assert selection.tasks[0].job == "job-11"


def test_orphans_stay_in_the_task_that_they_were_in() -> None:
    """When the first process ends, its children go on as the same task, with the same id."""
    rules = SelectionRules(commands=("job",))
    before = select([process(11, group=11), process(12, parent=11, group=11)], rules)
    after = select([process(12, parent=1, group=11)], rules, before=members(before))
    assert grouped(before) == {"process:11@11": [11, 12]}
    assert grouped(after) == {"process:11@11": [12]}


def test_a_child_that_makes_its_own_group_is_a_task_of_its_own() -> None:
    """A child is seen between fork and setpgid; it does not stay in its shell's task for that."""
    shell = process(10, group=10)
    before = select([shell, process(11, parent=10, group=10)], EVERYTHING)
    after = select([shell, process(11, parent=10, group=11)], EVERYTHING, before=members(before))
    assert grouped(before) == {"process:10@10": [10, 11]}
    assert grouped(after) == {"process:10@10": [10], "process:11@11": [11]}


def test_a_reused_pid_is_another_task() -> None:
    """A task's id has the start time in it, so that a pid's next owner inherits nothing."""
    before = select([process(10, start=1)], EVERYTHING)
    after = select([process(10, start=99)], EVERYTHING, before=members(before))
    assert (list(grouped(before)), list(grouped(after))) == (["process:10@1"], ["process:10@99"])


def test_a_parent_that_is_younger_than_its_child_is_none() -> None:
    """A listing is not of one instant: a parent's pid may have been reused in it."""
    there = [process(10, start=50, group=5), process(11, parent=10, start=20, group=5)]
    assert grouped(select(there, EVERYTHING)) == {"process:10@50": [10], "process:11@20": [11]}


def test_processes_that_are_each_others_parents_do_not_hang() -> None:
    """Nonsense in a listing is survived."""
    there = [process(10, parent=11, start=1, group=5), process(11, parent=10, start=1, group=5)]
    adoption = Adoption(JobId("a"), TaskId("process:9@9"), roots=frozenset({ProcessRef(9, 9)}))
    assert sum(len(task.processes) for task in select(there, EVERYTHING, [adoption]).tasks) == 2


def adopted(pid: int, job: str = "mine") -> Adoption:
    """An adoption of a process that started at its pid."""
    ref = ProcessRef(pid, pid)
    return Adoption(JobId(job), process_task_id(ref), roots=frozenset({ref}))


def test_an_adopted_process_takes_its_descendants_from_wherever_they_are() -> None:
    """An adoption goes before rules, through process groups and cgroups, and is not bound by sizes or services."""
    rules = SelectionRules(cgroup_roots=("/jobs",), commands=("*",), min_resident_bytes=1 << 30)
    there = [
        process(10, cgroup="/jobs/a"),
        process(11, parent=10, group=11, cgroup="/jobs/b", service="/system.slice/x.service"),
        process(12, parent=11, group=12, command="sh"),
        process(13, cgroup="/jobs/a"),
    ]
    selection = select(there, rules, [adopted(10)])
    assert grouped(selection) == {"process:10@10": [10, 11, 12]}
    assert selection.tasks[0].job == "mine"


def test_orphans_of_an_adopted_tree_and_their_new_children_stay_in_it() -> None:
    """The tree lives on when its first process has ended."""
    adoption = adopted(10)
    before = select([process(10), process(11, parent=10)], SelectionRules(), [adoption])
    after = select([process(11, parent=1), process(12, parent=11)], SelectionRules(), [adoption], members(before))
    assert grouped(after) == {"process:10@10": [11, 12]}


def test_the_nearest_adoption_counts() -> None:
    """A tree within an adopted tree, and a cgroup within an adopted cgroup, are tasks of their own."""
    trees = select([process(10), process(11, parent=10)], SelectionRules(), [adopted(10), adopted(11, "inner")])
    assert grouped(trees) == {"process:10@10": [10], "process:11@11": [11]}
    groups = [Adoption(JobId(path), TaskId(f"cgroup:{path}"), cgroup=path) for path in ("/a", "/a/b")]
    there = [process(10, cgroup="/a/c"), process(11, cgroup="/a/b/d"), process(12, cgroup="/ab")]
    assert grouped(select(there, SelectionRules(), groups)) == {"cgroup:/a": [10], "cgroup:/a/b": [11]}


def test_the_agent_follows_neither_itself_nor_kernel_threads() -> None:
    """Not even in an adopted cgroup."""
    group = Adoption(JobId("g"), TaskId("cgroup:/g"), cgroup="/g")
    there = [process(10, cgroup="/g"), process(11, cgroup="/g"), process(12, cgroup="/g", kernel=True)]
    assert grouped(select(there, EVERYTHING, [group], own_pids=frozenset({10}))) == {"cgroup:/g": [11]}


def test_a_least_size_is_of_the_whole_task_and_lets_go_only_at_half() -> None:
    """A task at the border does not come and go with every page."""
    rules = SelectionRules(commands=("*",), min_resident_bytes=100)
    large = [process(10, group=10, resident_bytes=60), process(11, parent=10, group=10, resident_bytes=60)]
    smaller = [replace(p, resident_bytes=30) for p in large]
    first = select(large, rules)
    assert grouped(first) == {"process:10@10": [10, 11]}
    assert not select(smaller, rules).tasks
    assert select(smaller, rules, before=members(first)).tasks
    assert not select(smaller[:1], rules, before=members(first)).tasks


def test_beyond_the_limit_the_adopted_the_followed_and_the_largest_stay() -> None:
    """A limit never drops what was asked for by name, nor swaps the tasks it follows, and says what it left out."""
    rules = SelectionRules(commands=("*",), tasks_max=3)
    there = [process(pid, resident_bytes=pid) for pid in range(10, 20)]
    before = {ProcessRef(11, 11): TaskId("process:11@11")}
    selection = select(there, rules, [adopted(10)], before)
    assert list(grouped(selection)) == ["process:10@10", "process:11@11", "process:19@19"]
    assert selection.left_out == 7


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"cgroup_roots": ("slurm",)}, "path from the hierarchy's top"),
        ({"cgroup_roots": ("/a/../b",)}, "path from the hierarchy's top"),
        ({"cgroup_depth": 0}, "at least 1"),
        ({"tasks_max": 0}, "tasks_max"),
        ({"min_resident_bytes": -1}, "min_resident_bytes"),
        ({"commands": ("re:(",)}, "no regular expression"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_words(wrong: dict[str, object], words: str) -> None:
    """A mistake in the configuration is found at the start, not by following nothing."""
    with pytest.raises(ValueError, match=words):
        SelectionRules(**wrong)  # type: ignore[arg-type]


def has_circle(listed: Sequence[Process]) -> bool:
    """Whether somebody would be their own ancestor, by parents that started no later: no kernel lists that."""
    by_pid = {each.ref.pid: each for each in listed}

    def parent(of: Process) -> Process | None:
        found = by_pid.get(of.parent_pid)
        return found if found is not None and found.ref.start_ticks <= of.ref.start_ticks else None

    for each in listed:
        at, steps = parent(each), 0
        while at is not None and steps <= len(listed):
            at, steps = parent(at), steps + 1
        if at is not None:
            return True
    return False


@st.composite
def listings(draw: st.DrawFn) -> list[Process]:
    """Processes with any parents, groups and cgroups."""
    count = draw(st.integers(0, 12))
    pids = st.integers(1, 15)
    listed = [
        process(
            pid,
            parent=draw(pids),
            start=draw(st.integers(1, 9)),
            group=draw(st.integers(1, 3)),
            cgroup=draw(st.sampled_from(("", "/", "/a", "/a/b", "/a/b/c", "/d"))),
            kernel=draw(st.booleans()) and draw(st.booleans()),
            resident_bytes=draw(st.integers(0, 200)),
        )
        for pid in range(2, 2 + count)
    ]
    assume(not has_circle(listed))
    return listed


@given(
    listings(),
    listings(),
    st.builds(
        SelectionRules,
        cgroup_roots=st.sampled_from(((), ("/a",), ("/",), ("/*",))),
        cgroup_depth=st.none() | st.just(1),
        commands=st.sampled_from(((), ("*",))),
        min_resident_bytes=st.sampled_from((0, 100)),
        tasks_max=st.sampled_from((2, 100)),
    ),
    st.lists(st.integers(2, 14).map(adopted), max_size=2, unique_by=lambda a: a.task),
)
def test_a_process_is_in_one_task_at_most_and_the_same_listing_gives_the_same_tasks(
    first: Sequence[Process], second: Sequence[Process], rules: SelectionRules, adoptions: list[Adoption]
) -> None:
    """Selection is a partition within its limit, never of kernel threads; asked again it answers the same."""
    before = members(select(first, rules, adoptions))
    selection = select(second, rules, adoptions, before)
    chosen = [p for task in selection.tasks for p in task.processes]
    assert len(chosen) == len({p.ref.pid for p in chosen})
    assert len(selection.tasks) <= rules.tasks_max
    assert not any(p.kernel for p in chosen)
    again = select(second, rules, adoptions, members(selection))
    once_more = select(second, rules, adoptions, members(again))
    assert grouped(again) == grouped(once_more)
