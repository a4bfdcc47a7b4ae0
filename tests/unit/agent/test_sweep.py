"""The sweep on a host of files: tasks, adoptions, threads, mems and topology, without a kernel of one's own."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from node_agent.core.facts import ProcessRef, TaskFacts
from node_agent.core.rules import SelectionRules
from node_agent.core.selection import Adoption
from node_agent.linux.adoptions import AdoptionFile
from node_agent.linux.processes import KERNEL_CHECKS_MAX, Places
from node_agent.linux.sweep import TaskSweep
from node_agent.linux.tasks import Host, TaskList
from node_agent.ports import NotYoursError
from numaplace.kernel.cgroups import CgroupMount
from numaplace.kernel.errors import ProcessGone
from numaplace.model.ids import CpuId, JobId, NodeId, TaskId
from numaplace.model.topology import Node, Topology

STATUS = """Name:\tjob\nTgid:\t{tgid}\nPid:\t{pid}\nPPid:\t{ppid}\nUid:\t0\t0\t0\t0\nThreads:\t1\nNSpid:\t{pid}
Cpus_allowed_list:\t0-3\nMems_allowed_list:\t{mems}\n"""
AGENT = 9_999
PF_KTHREAD = 0x200000


class FakeHost:
    """A root with /proc, /sys and one v2 hierarchy, and the affinities of its threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.masks: dict[int, set[int]] = {}
        self.topology_reads = 0
        self.cgroups = root / "sys/fs/cgroup"
        self.on_affinity: Callable[[int], None] = lambda _: None
        self.cgroup("/", cpus="0-3", mems="0-1")
        self.online("0-3")
        (root / "proc").mkdir()

    def online(self, cpus: str) -> None:
        """Say which CPUs there are."""
        for name, text in (("cpu/online", cpus), ("node/online", "0-1"), ("node/has_memory", "0-1")):
            path = self.root / "sys/devices/system" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")

    def cgroup(self, path: str, cpus: str = "", mems: str = "") -> Path:
        """Make a cgroup, with cpuset files if it has any say."""
        directory = self.cgroups / path.lstrip("/")
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "cgroup.procs").touch()
        if mems:
            (directory / "cpuset.cpus.effective").write_text(f"{cpus}\n")
            (directory / "cpuset.mems.effective").write_text(f"{mems}\n")
        return directory

    def process(
        self,
        pid: int,
        *,
        parent: int = 1,
        cgroup: str = "/",
        start: int = 0,
        tids: tuple[int, ...] = (),
        state: str = "S",
        comm: str = "job",
        kernel: bool = False,
    ) -> ProcessRef:
        """Make a process, or change it; it is listed in its cgroup and in no other."""
        directory = self.root / f"proc/{pid}"
        start = start or pid
        for tid in (pid, *tids):
            (directory / f"task/{tid}").mkdir(parents=True, exist_ok=True)
            # The fields are those of proc_pid_stat(5): one thread, this start, ten pages resident.
            flags = PF_KTHREAD if kernel else 0
            tail = f"{parent} 0 0 0 0 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 10"
            (directory / f"task/{tid}/stat").write_text(f"{tid} ({comm}) {state} {tail}\n")
            self.masks.setdefault(tid, {0, 1})
        (directory / "stat").write_text((directory / f"task/{pid}/stat").read_text())
        (directory / "status").write_text(STATUS.format(tgid=pid, pid=pid, ppid=parent, mems="0-1"))
        (directory / "cgroup").write_text(f"0::{cgroup}\n")
        (directory / "cmdline").write_text(f"{comm}\0")
        for procs in self.cgroups.rglob("cgroup.procs"):
            others = [line for line in procs.read_text().split() if int(line) != pid]
            here = [str(pid)] if procs.parent == self.cgroups / cgroup.lstrip("/") else []
            procs.write_text("".join(f"{line}\n" for line in others + here))
        return ProcessRef(pid, start)

    def end(self, pid: int) -> None:
        """End a process."""
        for thread in (self.root / f"proc/{pid}/task").iterdir():
            self.masks.pop(int(thread.name), None)
        shutil.rmtree(self.root / f"proc/{pid}")

    def affinity(self, tid: int) -> set[int]:
        """What the kernel would say."""
        self.on_affinity(tid)
        if tid not in self.masks:
            raise ProcessLookupError
        return self.masks[tid]

    def topology(self) -> Topology:
        """Two nodes of two CPUs."""
        self.topology_reads += 1
        return Topology(
            tuple(Node(NodeId(n), frozenset({CpuId(2 * n), CpuId(2 * n + 1)}), 1 << 30, {}) for n in range(2))
        )

    def sweeper(self, rules: SelectionRules | None = None, file: Path | None = None, boot_id: str = "b") -> TaskSweep:
        """An agent's sweep of this host."""
        mount = CgroupMount(self.cgroups, "/", 2, frozenset())
        host = Host(Places(mount, mount), self.root, frozenset({AGENT}), 0, lambda pid: pid)
        tasks = TaskList(rules or SelectionRules(), host, AdoptionFile(file, boot_id))
        return TaskSweep(tasks, host, self.topology, now_s=lambda: 1_000_000.0, get_affinity=self.affinity)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """A host without processes."""
    return FakeHost(tmp_path)


def seen(sweeper: TaskSweep, *, structural: bool = True) -> dict[str, TaskFacts]:
    """A sweep's tasks by id."""
    return {facts.id: facts for facts in sweeper.sweep(structural=structural).tasks}


JOB = JobId("mine")
P10, P11, P20 = (ProcessRef(pid, pid) for pid in (10, 11, 20))
THE_AGENT = ProcessRef(AGENT, AGENT)
ALICE, BOB = 1001, 1002


def test_an_adopted_process_is_a_task_with_its_facts(host: FakeHost) -> None:
    """All that the port promises is there: processes, threads, CPUs of all threads, mems of its cpuset, its start."""
    host.cgroup("/a", "0-3", "1")
    ref = host.process(10, cgroup="/a", start=500, tids=(11,))
    host.masks[11] = {2}
    facts = host.sweeper().adopt(JOB, process=ref)
    assert facts == TaskFacts(
        TaskId("process:10@500"),
        JOB,
        "job",
        (ref,),
        2,
        frozenset({CpuId(0), CpuId(1), CpuId(2)}),
        frozenset({NodeId(1)}),
        500 / os.sysconf("SC_CLK_TCK"),
        "/a",
        host.root.stat().st_uid,
    )


def test_a_light_sweep_sees_masks_mems_and_new_threads(host: FakeHost) -> None:
    """What changes where a known task may run needs no structural sweep."""
    directory = host.cgroup("/a", "0-3", "0")
    host.process(10, cgroup="/a")
    sweeper = host.sweeper()
    task = sweeper.adopt(JOB, process=P10).id
    host.masks[10] = {3}
    (directory / "cpuset.mems.effective").write_text("0-1\n")
    facts = seen(sweeper, structural=False)[task]
    assert facts.cpus == {3}
    assert facts.mems == {0, 1}
    host.process(10, cgroup="/a", tids=(12,))
    facts = seen(sweeper, structural=False)[task]
    assert facts.threads == 2
    assert facts.cpus == {0, 1, 3}


def test_a_light_sweep_that_sees_other_cpus_looks_where_the_task_is_now(host: FakeHost) -> None:
    """Attaching to another cpuset changes the CPUs; path and mems are then read anew at once."""
    host.cgroup("/a", "0-1", "0")
    host.cgroup("/b", "2-3", "1")
    host.process(10, cgroup="/a")
    sweeper = host.sweeper()
    task = sweeper.adopt(JOB, process=P10).id
    host.process(10, cgroup="/b")
    host.masks[10] = {2, 3}
    facts = seen(sweeper, structural=False)[task]
    assert facts.cgroup == "/b"
    assert facts.mems == {1}


def test_a_structural_sweep_sees_an_attachment_that_changes_no_cpus(host: FakeHost) -> None:
    """Who is in a cgroup is compared with the cgroup's own list."""
    host.cgroup("/a", "0-3", "0")
    host.cgroup("/b", "0-3", "1")
    host.process(10, cgroup="/a")
    sweeper = host.sweeper()
    task = sweeper.adopt(JOB, process=P10).id
    host.process(10, cgroup="/b")
    assert seen(sweeper)[task].mems == {1}


def test_a_cgroup_without_cpuset_files_obeys_its_nearest_ancestor(host: FakeHost) -> None:
    """On v2 the controller may end above; without any cpuset in sight the process's own status says it."""
    host.cgroup("/a", "0-3", "1")
    host.cgroup("/a/b")
    host.process(10, cgroup="/a/b")
    host.process(20, cgroup="/../outside")
    sweeper = host.sweeper()
    assert sweeper.adopt(JOB, process=P10).mems == {1}
    assert sweeper.adopt(JOB, process=P20).mems == {0, 1}


def test_threads_and_processes_that_end_leave_and_the_task_with_the_last(host: FakeHost) -> None:
    """A light sweep is enough to see an end; a zombie is one too, unless other threads still run."""
    host.process(10, tids=(11,))
    host.process(20, parent=10)
    sweeper = host.sweeper()
    task = sweeper.adopt(JOB, process=P10).id
    assert len(seen(sweeper)[task].processes) == 2
    del host.masks[11]
    assert seen(sweeper, structural=False)[task].threads == 2
    host.end(20)
    assert [ref.pid for ref in seen(sweeper, structural=False)[task].processes] == [10]
    host.process(10, state="Z")
    assert seen(sweeper) == {}


def test_a_reused_pid_is_not_the_task(host: FakeHost) -> None:
    """Another start time is another process, and no sweep need have seen the pid free."""
    five = host.process(10, start=5)
    sweeper = host.sweeper()
    sweeper.adopt(JOB, process=five)
    host.process(10, start=6)
    assert seen(sweeper) == {}
    with pytest.raises(ProcessGone):
        sweeper.adopt(JOB, process=five)  # what was looked at is gone; whoever has its pid now is somebody else
    assert seen(sweeper) == {}


def test_what_is_found_is_a_tree_or_its_root_alone(host: FakeHost) -> None:
    """Alone: its own CPUs and nodes, and not those that only its descendants may use; nothing is followed for it."""
    host.cgroup("/narrow", cpus="0-1", mems="0")
    host.cgroup("/wide", cpus="0-3", mems="0-1")
    host.process(10, cgroup="/narrow")
    host.process(11, parent=10, cgroup="/wide", tids=(12,))
    host.masks |= {11: {2, 3}, 12: {2, 3}}
    sweeper = host.sweeper()
    tree, root = sweeper.find(pid=10), sweeper.find(pid=10, alone=True)
    assert (tree.processes, tree.threads) == ((P10, P11), 3)
    assert (set(tree.cpus), set(tree.mems)) == ({0, 1, 2, 3}, {0, 1})
    assert (root.processes, root.threads, set(root.cpus), set(root.mems)) == ((P10,), 1, {0, 1}, {0})
    assert (root.id, root.cgroup, root.command, root.uid) == (tree.id, tree.cgroup, tree.command, tree.uid)
    assert sweeper.find(pid=11, alone=True).cgroup == "/wide"
    with pytest.raises(LookupError):
        sweeper.find(pid=13, alone=True)
    assert seen(sweeper) == {}


def test_cpus_that_come_and_go_read_the_topology_anew_and_nothing_else_does(host: FakeHost) -> None:
    """Reading the topology costs more than a sweep, so it is read when it changed; also in mid-sweep."""
    host.process(10)
    sweeper = host.sweeper()
    sweeper.adopt(JOB, process=P10)
    reads = host.topology_reads
    seen(sweeper)
    assert host.topology_reads == reads
    host.online("0-2")
    seen(sweeper, structural=False)
    assert host.topology_reads == reads + 1
    host.on_affinity = lambda _: host.online("0-3")
    seen(sweeper, structural=False)
    assert host.topology_reads == reads + 2


def test_rules_find_cgroups_and_processes_that_come_and_change(host: FakeHost) -> None:
    """New cgroups, attachments into them and exec are found by structural sweeps."""
    host.cgroup("/slurm/job_1")
    host.process(10, cgroup="/")
    sweeper = host.sweeper(SelectionRules(cgroup_roots=("/slurm",), commands=("train",)))
    assert seen(sweeper) == {}
    host.process(10, cgroup="/slurm/job_1")
    host.process(20, comm="train")
    assert set(seen(sweeper)) == {"cgroup:/slurm/job_1", "process:20@20"}
    host.process(10, cgroup="/")
    host.process(20, comm="sh")
    assert seen(sweeper) == {}


def test_many_kernel_threads_do_not_keep_processes_waiting(host: FakeHost) -> None:
    """Big hosts have thousands: they are looked at in turns of their own, and one whose pid is a process's is found."""
    for pid in range(1000, 1200):
        host.process(pid, comm="kworker", kernel=True)
    host.process(5000, comm="sh")
    sweeper = host.sweeper(SelectionRules(commands=("train",)))
    assert seen(sweeper) == {}
    host.process(5000, comm="train")
    assert set(seen(sweeper)) == {"process:5000@5000"}
    host.end(1150)
    host.process(1150, start=6000, comm="train")
    turns = next(turn for turn in range(1, 100) if len(seen(sweeper)) == 2)
    assert turns <= 200 / KERNEL_CHECKS_MAX


def test_an_empty_cgroup_may_be_adopted_before_anybody_enters(host: FakeHost) -> None:
    """A batch system adopts a job's cgroup before it starts the job; by its path or by its directory."""
    directory = host.cgroup("/jobs/7", "0-3", "0-1")
    sweeper = host.sweeper()
    facts = sweeper.adopt(JOB, cgroup=str(directory))
    assert (facts.id, facts.processes) == ("cgroup:/jobs/7", ())
    assert seen(sweeper) == {}
    host.process(10, cgroup="/jobs/7")
    assert [task.job for task in seen(sweeper).values()] == [JOB]
    assert sweeper.release(JOB) == 1
    assert seen(sweeper) == {}
    assert sweeper.release(JOB) == 0


@pytest.mark.parametrize("path", ["/", "", "/nowhere", "/a/../..", "/a/../a"])
def test_a_cgroup_that_is_none_is_refused(host: FakeHost, path: str) -> None:
    """The whole host is no task, and a path may not climb."""
    host.cgroup("/a")
    with pytest.raises(ValueError, match="no cgroup"):
        host.sweeper().adopt(JOB, cgroup=path)


def test_what_can_never_be_followed_is_refused(host: FakeHost) -> None:
    """A process that is gone, a thread, the agent itself; and exactly one thing is adopted at a time."""
    host.process(AGENT)
    host.process(10)
    (host.root / "proc/10/status").write_text(STATUS.format(tgid=9, pid=10, ppid=1, mems="0"))
    sweeper = host.sweeper()
    with pytest.raises(ProcessGone):
        sweeper.adopt(JOB, process=P11)
    with pytest.raises(ValueError, match="is a thread"):
        sweeper.adopt(JOB, process=P10)
    with pytest.raises(ValueError, match="the agent itself"):
        sweeper.adopt(JOB, process=THE_AGENT)
    with pytest.raises(ValueError, match="either"):
        sweeper.adopt(JOB, process=P10, cgroup="/a")
    with pytest.raises(ValueError, match="either"):
        sweeper.adopt(JOB)


def test_adoptions_survive_the_agent_and_the_first_process(host: FakeHost, tmp_path: Path) -> None:
    """A restarted agent follows the same tasks under the same ids, even when only descendants are left."""
    file = tmp_path / "adoptions.json"
    host.process(10)
    host.process(20, parent=10)
    first = host.sweeper(file=file)
    task = first.adopt(JOB, process=P10).id
    host.end(10)
    host.process(20, parent=1)
    assert set(seen(first)) == {task}
    second = host.sweeper(file=file)
    facts = seen(second)[task]
    assert (facts.job, [ref.pid for ref in facts.processes]) == (JOB, [20])
    host.end(20)
    seen(second)
    assert json.loads(file.read_text())["adoptions"] == []


@pytest.mark.parametrize("restarted", [False, True])
def test_only_root_and_who_adopted_release(host: FakeHost, tmp_path: Path, *, restarted: bool) -> None:
    """Whose processes they are, or become, does not matter; a restart of the agent changes nothing."""
    file = tmp_path / "adoptions.json"
    host.process(10)
    host.process(20)
    sweeper = host.sweeper(file=file)
    for process in (P10, P20):
        sweeper.adopt(JOB, process=process, by_uid=ALICE)
    sweeper = host.sweeper(file=file) if restarted else sweeper
    with pytest.raises(NotYoursError, match="another user"):
        sweeper.release(JOB, by_uid=BOB)
    assert len(seen(sweeper)) == 2
    assert sweeper.release(JobId("other"), by_uid=BOB) == 0
    assert sweeper.release(JOB, by_uid=ALICE) == 2
    sweeper.adopt(JOB, process=P10, by_uid=ALICE)
    assert sweeper.release(JOB, by_uid=0) == 1


def test_nobody_adopts_what_another_did_nor_joins_their_job(host: FakeHost) -> None:
    """Else an adoption of a task would be a release of it, and the policy of a job one's own."""
    host.process(10)
    host.process(20)
    sweeper = host.sweeper()
    sweeper.adopt(JOB, process=P10, by_uid=ALICE)
    for job, process in ((JobId("bobs"), P10), (JOB, P20)):
        with pytest.raises(NotYoursError, match="another user"):
            sweeper.adopt(job, process=process, by_uid=BOB)
    assert {facts.job for facts in seen(sweeper).values()} == {JOB}
    sweeper.adopt(JobId("roots"), process=P10)
    with pytest.raises(NotYoursError, match="another user"):
        sweeper.release(JobId("roots"), by_uid=ALICE)


def test_nobody_takes_a_part_out_of_what_another_adopted(host: FakeHost) -> None:
    """The nearest adoption wins: a child, or a cgroup below or around, would leave the job and its policy."""
    host.cgroup("/jobs/7/step")
    host.process(10)
    host.process(11, parent=10)
    host.process(20, cgroup="/jobs/7/step")
    sweeper = host.sweeper()
    sweeper.adopt(JOB, process=P10)
    sweeper.adopt(JOB, cgroup="/jobs/7")
    before = seen(sweeper)
    for process in (P11, P20):
        with pytest.raises(NotYoursError, match="another user"):
            sweeper.adopt(JobId("bobs"), process=process, by_uid=BOB)
    for cgroup in ("/jobs/7/step", "/jobs"):
        with pytest.raises(NotYoursError, match="another user"):
            sweeper.adopt(JobId("bobs"), cgroup=cgroup, by_uid=BOB)
    assert seen(sweeper).keys() == before.keys()
    sweeper.adopt(JobId("roots"), cgroup="/jobs/7/step")


def test_adoptions_of_another_boot_are_void(host: FakeHost, tmp_path: Path) -> None:
    """After a boot the pid belongs to somebody else."""
    file = tmp_path / "adoptions.json"
    host.process(10)
    host.sweeper(file=file).adopt(JOB, process=P10)
    assert seen(host.sweeper(file=file, boot_id="later")) == {}


def test_an_adopted_cgroup_that_is_removed_is_forgotten(host: FakeHost, tmp_path: Path) -> None:
    """A cgroup of the same name later is another one."""
    file = tmp_path / "adoptions.json"
    directory = host.cgroup("/jobs/7")
    host.process(10, cgroup="/jobs/7")
    sweeper = host.sweeper(file=file)
    sweeper.adopt(JOB, cgroup="/jobs/7")
    host.end(10)
    shutil.rmtree(directory)
    seen(sweeper)
    assert AdoptionFile(file, "b").load().adoptions == ()


SAVED = '{"version": 1, "boot_id": "b", "adoptions": [{"job": "x"%s}]}'


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"version": 2}',
        '{"version": 1, "boot_id": 3, "adoptions": []}',
        SAVED % "",
        SAVED % ', "task": "t", "cgroup": "", "roots": [[1, "2"]], "by_uid": 0',
        SAVED % ', "task": "t", "cgroup": "", "roots": [], "by_uid": "0"',
        "\x00\xff",
    ],
)
def test_a_damaged_file_is_put_aside_and_said(host: FakeHost, tmp_path: Path, content: str) -> None:
    """An agent that cannot read its adoptions starts all the same, and says what to do."""
    file = tmp_path / "adoptions.json"
    file.write_text(content)
    (remark,) = host.sweeper(file=file).remarks
    assert "adopt its tasks again" in remark
    assert (tmp_path / "adoptions.json.unreadable").read_text() == content
    assert host.sweeper(file=file).remarks == ()


def test_a_file_that_does_not_say_whose_adoptions_they_are_is_roots(tmp_path: Path) -> None:
    """As an earlier version wrote it: an upgrade loses no adoption, and nobody but root may release it."""
    file = tmp_path / "adoptions.json"
    row = '"job": "x", "task": "process:10@10", "cgroup": "", "roots": [[10, 10]]'
    file.write_text(f'{{"version": 1, "boot_id": "b", "adoptions": [{{{row}}}]}}')
    (adoption,) = AdoptionFile(file, "b").load().adoptions
    assert (adoption.job, adoption.roots, adoption.by_uid) == ("x", frozenset({P10}), 0)


def test_what_cannot_be_written_down_is_not_adopted(host: FakeHost, tmp_path: Path) -> None:
    """An adoption is on disk before it counts; a refusal leaves everything as it was."""
    host.process(10)
    sweeper = host.sweeper(file=tmp_path / "missing" / "adoptions.json")
    with pytest.raises(FileNotFoundError):
        sweeper.adopt(JOB, process=P10)
    assert seen(sweeper) == {}


def test_adoptions_come_back_from_the_file_as_they_were(tmp_path: Path) -> None:
    """What is saved is loaded, to the last field."""
    file = AdoptionFile(tmp_path / "a.json", "boot")
    adoptions = (
        Adoption(JOB, TaskId("process:1@2"), roots=frozenset({ProcessRef(1, 2), ProcessRef(3, 4)})),
        Adoption(JOB, TaskId("cgroup:/ä b"), cgroup="/ä b", by_uid=ALICE),
    )
    file.save(adoptions)
    assert file.load().adoptions == adoptions


def test_more_tasks_than_the_limit_are_said(host: FakeHost) -> None:
    """A limit that bites is a remark with what to change."""
    for pid in (10, 20, 30):
        host.process(pid)
    sweeper = host.sweeper(SelectionRules(commands=("job",), tasks_max=2))
    assert len(seen(sweeper)) == 2
    (remark,) = sweeper.remarks
    assert "1 more tasks" in remark
    assert "tasks_max" in remark
