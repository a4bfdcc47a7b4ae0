"""Every change of the host's that an agent must notice, made for real, with each watcher taken away in turn.

Run as root by pytest on a kernel with two nodes of two CPUs each (tests/numa/test_noticing.py does so in guests):

    python -m pytest -s tests/contract/noticing.py

A stranger process makes each change, so that the agent's own doing is never mistaken for it. Times are printed.
"""

import errno
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from node_agent.core.detector import Detector, Seen, TaskAppeared
from node_agent.core.facts import ProcessRef, TaskFacts
from node_agent.core.rhythm import Rhythm, matters
from node_agent.core.rules import SelectionRules
from node_agent.linux.sweep import TaskSweep, boot_clock_s, open_tasks
from node_agent.linux.watchers import WatcherChoice, open_watchers, see_everything
from node_agent.ports import Watcher
from numaplace.kernel.cgroups import Cgroup, attach_process, read_hierarchies
from numaplace.kernel.cpusets import write_cpus, write_mems
from numaplace.kernel.procfs import read_stat
from numaplace.kernel.topology import read_topology
from numaplace.model.cpuset import format_id_list, parse_cpus, parse_nodes
from numaplace.model.ids import JobId, NodeId, TaskId
from numaplace.model.job import ChangeSource, HomeChange
from numaplace.model.session import TaskGone

PATIENCE_S = 60.0
"""Longer than the longest rest between structural sweeps on a slow guest."""
PUPPET = Path(__file__).with_name("noticing_puppet.py")
ALL = WatcherChoice()
BLIND = WatcherChoice(fanotify=False, inotify=False, tracefs=False, hotplug=False)
CHOICES = {
    "all": ALL,
    "no-fanotify": WatcherChoice(fanotify=False),
    "no-tracefs": WatcherChoice(tracefs=False),
    "no-lifecycle": WatcherChoice(lifecycle=False),
    "no-hotplug": WatcherChoice(hotplug=False),
    "no-cpuset-writes": WatcherChoice(fanotify=False, inotify=False),
    "sweep-alone": BLIND,
}


class Puppet:
    """A process that does what it is told."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", str(PUPPET)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.pid = self.process.pid
        self.done_s = 0.0
        self.tell("pin", self.pid, "0,1")
        self.hear()

    def tell(self, *words: object) -> None:
        """Give an order, without waiting for it."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Wait for the answer to one order."""
        assert self.process.stdout is not None
        done_s, _, answer = self.process.stdout.readline().strip().partition(" ")
        self.done_s = float(done_s)
        return answer

    def ask(self, *words: object) -> str:
        """Give an order and wait for its answer."""
        self.tell(*words)
        return self.hear()

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


class Agent:
    """The agent's noticing side on one thread: watchers, rhythm, sweep and detector."""

    def __init__(self, choice: WatcherChoice, rules: SelectionRules | None = None) -> None:
        self.tasks: TaskSweep = open_tasks(rules or SelectionRules(), read_topology)
        self.watchers, self.remarks = open_watchers(choice)
        self.rhythm = Rhythm(watched=see_everything(self.watchers))
        self.detector = Detector()
        self.log: list[Seen] = []
        self._poll = select.poll()
        for watcher in self.watchers:
            self._poll.register(watcher.fileno(), select.POLLIN)

    def close(self) -> None:
        """Close every watcher."""
        for watcher in self.watchers:
            watcher.close()

    def watcher(self, name: str) -> Watcher | None:
        """A watcher by its class's name."""
        return next((watcher for watcher in self.watchers if type(watcher).__name__ == name), None)

    def adopt(self, pid: int) -> TaskFacts:
        """Adopt a process and see it appear."""
        process = ProcessRef(pid, read_stat(pid, tid=pid).start_ticks)
        facts = self.tasks.adopt(JobId("job"), process=process)
        self.settle()
        return facts

    def settle(self) -> None:
        """Run until nothing is left to be seen, so that the next change stands alone."""
        end_s = boot_clock_s() + 0.3
        while boot_clock_s() < end_s:
            self._turn(end_s)
        self._sweep(structural=True)
        self.log.clear()

    def until(self, wanted: Callable[[Seen], bool]) -> Seen:
        """Run until something is seen; what else was seen meanwhile is in the log."""
        end_s = boot_clock_s() + PATIENCE_S
        looked_at = 0
        while boot_clock_s() < end_s:
            for seen in self.log[looked_at:]:
                if wanted(seen):
                    return seen
            looked_at = len(self.log)
            self._turn(end_s)
        raise AssertionError(f"not noticed within {PATIENCE_S} s; seen: {self.log}; known: {self.detector.known}")

    def _turn(self, end_s: float) -> None:
        due = self.rhythm.due()
        wait_s = min(due.at_s, end_s) - boot_clock_s()
        if wait_s > 0 and self._poll.poll(wait_s * 1000):
            self._drain()
        elif wait_s <= 0 and due.at_s <= boot_clock_s():
            self._sweep(structural=due.structural)

    def _drain(self) -> None:
        followed = {ref.pid for known in self.detector.known for ref in known.facts.processes}
        for hint in (hint for watcher in self.watchers for hint in watcher.drain()):
            now_s = boot_clock_s()
            self.detector.note(hint, now_s)
            if matters(hint, followed):
                self.rhythm.hinted(hint, now_s)

    def _sweep(self, *, structural: bool) -> None:
        began_s = boot_clock_s()
        self._drain()
        sweep = self.tasks.sweep(structural=structural)
        self.rhythm.swept(began_s, boot_clock_s(), structural=structural)
        self.log.extend(self.detector.observe(sweep))


class Bench:
    """One test's agent, job, stranger and cpusets."""

    def __init__(self, directories: ExitStack, processes: ExitStack, name: str) -> None:
        self._directories = directories
        self._processes = processes
        self._name = name
        self.stranger = self.puppet()

    def puppet(self) -> Puppet:
        """Another process that does what it is told."""
        puppet = Puppet()
        self._processes.callback(puppet.close)
        return puppet

    def agent(self, choice: WatcherChoice = ALL, rules: SelectionRules | None = None) -> Agent:
        """An agent with these watchers."""
        agent = Agent(choice, rules)
        self._processes.callback(agent.close)
        return agent

    def cpuset(self, name: str, parent: Cgroup | None = None, cpus: str = "0-3", mems: str = "0-1") -> Cgroup:
        """A new cpuset."""
        mount = read_hierarchies().of_controller("cpuset")
        assert mount is not None
        above = parent or Cgroup(mount.directory, mount.version, "/")
        if above.version == 2:
            (above.directory / "cgroup.subtree_control").write_text("+cpuset")
        cgroup = Cgroup(above.directory / name, above.version, f"{above.path.rstrip('/')}/{name}")
        cgroup.directory.mkdir()
        self._directories.callback(_remove, cgroup.directory)
        if cpus:
            write_cpus(cgroup, parse_cpus(cpus))
        if mems:
            write_mems(cgroup, parse_nodes(mems))
        return cgroup

    def time(self, agent: Agent, change: tuple[object, ...], wanted: Callable[[Seen], bool]) -> Seen:
        """Let the stranger make a change, and print how long after it was done the agent saw it."""
        self.stranger.tell(*change)
        seen = agent.until(wanted)
        seen_s = boot_clock_s()
        assert self.stranger.hear() in {"pinned", "written"}
        self.note("", seen, seen_s - self.stranger.done_s)
        return seen

    def note(self, what: str, seen: Seen, took_s: float) -> None:
        """Print how long something took to be seen."""
        source = seen.source.value if isinstance(seen, HomeChange) else type(seen).__name__
        sys.stdout.write(f"noticed: {self._name}{what}: {took_s * 1000:.1f} ms by {source}\n")

    def wrote(self, agent: Agent, change: tuple[object, ...], wanted: Callable[[Seen], bool]) -> HomeChange:
        """The same for a change of home."""
        seen = self.time(agent, change, wanted)
        assert isinstance(seen, HomeChange)
        return seen


def _remove(directory: Path) -> None:
    """Remove a cgroup once its last process is gone, which takes the kernel a moment."""
    for _ in range(200):
        try:
            directory.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"{directory} stays busy")


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A test's processes and cpusets, all gone when it ends."""
    # Cgroups can be removed only after the processes in them are gone.
    with ExitStack() as directories, ExitStack() as processes:
        yield Bench(directories, processes, request.node.name)


def home(*nodes: int) -> Callable[[Seen], bool]:
    """A change to this home."""
    return lambda seen: isinstance(seen, HomeChange) and seen.home.nodes == {NodeId(n) for n in nodes}


def gone(task: TaskId) -> Callable[[Seen], bool]:
    """The end of a task."""
    return lambda seen: seen == TaskGone(task)


def sees_writers(choice: WatcherChoice) -> bool:
    """Whether the writer of a cpuset file is known."""
    return choice.fanotify


def named_by_whoever_saw(change: HomeChange, stranger: Puppet) -> None:
    """A change that blocks its writer while pages migrate may be swept before the write is told of.

    inotify names nobody either, and may come before the trace that does.
    """
    if change.source in {ChangeSource.FANOTIFY, ChangeSource.TRACEFS}:
        assert change.actor is not None
    assert change.actor is None or change.actor.pid == stranger.pid


def without(*names: str) -> pytest.MarkDecorator:
    """With all watchers, then with some that matter to a change taken away in turn."""
    chosen = ("all", *names)
    return pytest.mark.parametrize("choice", [CHOICES[name] for name in chosen], ids=chosen)


def test_all_watchers_open_without_a_remark(bench: Bench) -> None:
    """As root on an ordinary kernel nothing is missing."""
    agent = bench.agent()
    assert agent.remarks == []
    names = [type(watcher).__name__ for watcher in agent.watchers]
    assert names == ["FanotifyWatcher", "PinningWatcher", "LifecycleWatcher", "HotplugWatcher"]


@without("no-tracefs", "no-lifecycle", "no-cpuset-writes", "sweep-alone")
def test_pinning_a_process(bench: Bench, choice: WatcherChoice) -> None:
    """sched_setaffinity on a process; the caller is named where calls are traced."""
    job = bench.puppet()
    agent = bench.agent(choice)
    agent.adopt(job.pid)
    change = bench.wrote(agent, ("pin", job.pid, "2,3"), home(1))
    assert change.previous_home == {NodeId(0)}
    if choice.tracefs:
        assert change.source is ChangeSource.TRACEFS
        assert change.actor is not None
        assert change.actor.pid == bench.stranger.pid
        assert change.actor.command.startswith("python")


@without("no-tracefs", "sweep-alone")
def test_pinning_one_thread(bench: Bench, choice: WatcherChoice) -> None:
    """sched_setaffinity on one of a process's threads, even on one that is newer than the last sweep."""
    job = bench.puppet()
    job.ask("thread")
    agent = bench.agent(choice)
    agent.adopt(job.pid)
    tid = job.ask("thread")
    assert bench.wrote(agent, ("pin", tid, "3"), home(0, 1)).cpus == {0, 1, 3}


def test_pinning_a_forked_child(bench: Bench) -> None:
    """A child of an adopted process is part of its task, and its pinning of the task's home."""
    job = bench.puppet()
    agent = bench.agent()
    agent.adopt(job.pid)
    child = job.ask("fork")
    agent.settle()
    (known,) = agent.detector.known
    assert {ref.pid for ref in known.facts.processes} == {job.pid, int(child)}
    bench.wrote(agent, ("pin", child, "2"), home(0, 1))
    job.ask("reap", child)
    agent.until(home(0))


@without("no-fanotify", "no-tracefs", "no-cpuset-writes", "sweep-alone")
def test_writing_cpuset_cpus(bench: Bench, choice: WatcherChoice) -> None:
    """A write to cpuset.cpus of the task's own cpuset; the writer is named by fanotify."""
    job = bench.puppet()
    cpuset = bench.cpuset("noticing", cpus="0-1")
    attach_process(cpuset, job.pid)
    agent = bench.agent(choice)
    agent.adopt(job.pid)
    change = bench.wrote(agent, ("write", cpuset.directory / "cpuset.cpus", "2-3"), home(1))
    if sees_writers(choice):
        assert change.source is ChangeSource.FANOTIFY
        assert change.actor is not None
        assert change.actor.pid == bench.stranger.pid
    elif choice.inotify:
        assert change.source is ChangeSource.INOTIFY


@without("no-fanotify", "sweep-alone")
def test_writing_cpuset_mems(bench: Bench, choice: WatcherChoice) -> None:
    """A write to cpuset.mems makes a new version of the same home."""
    job = bench.puppet()
    cpuset = bench.cpuset("noticing", cpus="0-1")
    attach_process(cpuset, job.pid)
    agent = bench.agent(choice)
    agent.adopt(job.pid)
    change = bench.wrote(
        agent,
        ("write", cpuset.directory / "cpuset.mems", "1"),
        lambda seen: isinstance(seen, HomeChange) and seen.mems == {NodeId(1)},
    )
    assert change.home.nodes == {NodeId(0)}
    named_by_whoever_saw(change, bench.stranger)


@without("no-fanotify", "no-tracefs", "no-cpuset-writes", "sweep-alone")
def test_attaching_to_another_cpuset(bench: Bench, choice: WatcherChoice) -> None:
    """A process that is put into another cpuset has that one's home, mems and path."""
    job = bench.puppet()
    first = bench.cpuset("noticing-a", cpus="0-1", mems="0")
    second = bench.cpuset("noticing-b", cpus="2-3", mems="1")
    attach_process(first, job.pid)
    agent = bench.agent(choice)
    agent.adopt(job.pid)
    change = bench.wrote(agent, ("write", second.directory / "cgroup.procs", job.pid), home(1))
    named_by_whoever_saw(change, bench.stranger)
    agent.settle()
    (known,) = agent.detector.known
    assert (known.facts.mems, known.facts.cgroup) == (frozenset({NodeId(1)}), second.path)


@without("no-fanotify", "no-cpuset-writes", "sweep-alone")
def test_a_change_at_an_ancestor(bench: Bench, choice: WatcherChoice) -> None:
    """A v2 ancestor's write changes what is effective below; on v1 the kernel refuses what would."""
    job = bench.puppet()
    parent = bench.cpuset("noticing")
    below = bench.cpuset(
        "below", parent, cpus="" if parent.version == 2 else "0-3", mems="" if parent.version == 2 else "0-1"
    )
    attach_process(below, job.pid)
    agent = bench.agent(choice)
    agent.adopt(job.pid)
    order = ("write", parent.directory / "cpuset.cpus", "2-3")
    if parent.version == 1:
        assert bench.stranger.ask(*order) == f"errno {errno.EBUSY}"
        return
    change = bench.wrote(agent, order, home(1))
    if sees_writers(choice):
        assert change.actor is not None
        assert change.actor.pid == bench.stranger.pid


@without("no-hotplug", "sweep-alone")
def test_a_cpu_that_goes_offline_and_comes_back(bench: Bench, choice: WatcherChoice) -> None:
    """Hotplug changes the home of a task that had CPUs on both nodes, there and back."""
    job = bench.puppet()
    bench.stranger.ask("pin", job.pid, "0,3")
    agent = bench.agent(choice)
    agent.adopt(job.pid)
    try:
        bench.wrote(agent, ("write", "/sys/devices/system/cpu/cpu3/online", "0"), home(0))
        assert agent.tasks.sweep(structural=False).topology.home_of(parse_cpus("3")) == frozenset()
        bench.wrote(agent, ("write", "/sys/devices/system/cpu/cpu3/online", "1"), home(0, 1))
    finally:
        Path("/sys/devices/system/cpu/cpu3/online").write_text("1")


def test_a_program_that_begins_to_match(bench: Bench) -> None:
    """Exec turns a process into one that a rule selects, and its end is seen."""
    job = bench.puppet()
    agent = bench.agent(rules=SelectionRules(commands=("sleep",)))
    agent.settle()
    began_s = boot_clock_s()
    job.tell("become", "sleep")
    seen = agent.until(lambda seen: isinstance(seen, TaskAppeared))
    bench.note(": begin", seen, boot_clock_s() - began_s)
    assert isinstance(seen, TaskAppeared)
    assert [ref.pid for ref in seen.facts.processes] == [job.pid]
    began_s = boot_clock_s()
    job.close()
    bench.note(": end", agent.until(gone(seen.facts.id)), boot_clock_s() - began_s)


@without("no-fanotify", "no-lifecycle", "sweep-alone")
def test_a_new_cgroup_below_a_root(bench: Bench, choice: WatcherChoice) -> None:
    """A process that enters a cgroup below a configured root is a task, named after the cgroup."""
    job = bench.puppet()
    root = bench.cpuset("noticing")
    agent = bench.agent(choice, SelectionRules(cgroup_roots=("/noticing",)))
    agent.settle()
    below = bench.cpuset("job-7", root, cpus="2-3")
    seen = bench.time(
        agent, ("write", below.directory / "cgroup.procs", job.pid), lambda seen: isinstance(seen, TaskAppeared)
    )
    assert isinstance(seen, TaskAppeared)
    assert (seen.facts.id, seen.facts.job, seen.home.nodes) == (
        TaskId("cgroup:/noticing/job-7"),
        JobId("job-7"),
        frozenset({NodeId(1)}),
    )


@without("no-lifecycle", "sweep-alone")
def test_a_reused_pid_is_not_the_task(bench: Bench, choice: WatcherChoice) -> None:
    """A process that gets the pid of an ended task's is not followed, even if no sweep saw the pid free."""
    job, heir = bench.puppet(), bench.puppet()
    child = int(job.ask("fork"))
    agent = bench.agent(choice)
    task = agent.adopt(child).id
    job.ask("reap", child)
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(child - 1))
    reused = int(heir.ask("fork"))
    assert reused == child, "the guest is quiet, so nobody else took the pid"
    agent.until(gone(task))
    agent.settle()
    assert agent.detector.known == ()
    heir.ask("reap", reused)


@without("sweep-alone")
def test_a_burst_that_bounces_back_leaves_the_view_true(bench: Bench, choice: WatcherChoice) -> None:
    """A hundred pinnings to and fro are seen as few changes, and in the end as what is."""
    job = bench.puppet()
    agent = bench.agent(choice)
    agent.adopt(job.pid)
    bench.stranger.tell("flutter", job.pid, 100)
    assert bench.stranger.hear() == "fluttered"
    bench.stranger.ask("pin", job.pid, "0,1")
    log_before = len(agent.log)
    end_s = boot_clock_s() + 2.0
    while boot_clock_s() < end_s:
        agent._turn(end_s)
    changes = agent.log[log_before:]
    assert len(changes) <= 1, changes
    (known,) = agent.detector.known
    assert (known.home.nodes, format_id_list(known.facts.cpus)) == (frozenset({NodeId(0)}), "0-1")


def test_instances_of_dead_agents_are_removed_at_the_start(bench: Bench) -> None:
    """An agent that was killed leaves its trace instance; the next one removes it, and its own at its end."""
    instances = Path("/sys/kernel/tracing/instances")
    code = "import os; from node_agent.linux.watchers import open_watchers; open_watchers(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(list(instances.glob("numaplace-*"))) == 2
    agent = bench.agent()
    own = [entry.name for entry in instances.glob("numaplace-*")]
    assert len(own) == 2
    assert all(f"-{os.getpid()}-" in name for name in own)
    agent.close()
    assert list(instances.glob("numaplace-*")) == []
