"""Watchers turn what the kernel says into hints; what they cannot open they say in plain words."""

import errno
import os
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import pytest

from node_agent.core.facts import Hint
from node_agent.linux import watchers
from node_agent.linux.watchers import WatcherChoice, hotplug, lifecycle, open_watchers, pinning, see_everything
from node_agent.linux.watchers.cpuset_writes import FanotifyWatcher, InotifyWatcher
from node_agent.linux.watchers.lifecycle import LifecycleWatcher
from node_agent.linux.watchers.pinning import PinningWatcher
from numaplace.kernel.cgroups import CgroupMount, Hierarchies
from numaplace.kernel.errors import Denied, KernelFormatError, NoSuchFile
from numaplace.kernel.fanotify import FileWrites, FileWritten
from numaplace.kernel.trace_events import (
    AffinityCalled,
    AffinityReturned,
    CgroupAttached,
    Context,
    Executed,
    Exited,
    Forked,
    TraceEvent,
)
from numaplace.kernel.tracefs import AFFINITY_RETURN, CGROUP_ATTACH, TraceReading
from numaplace.kernel.uevents import Uevent, UeventReading, UeventWatch, parse
from numaplace.model.job import Actor, ChangeSource

GONE = 2**22 + 1
"""Above every pid that a kernel gives."""
ME = os.getpid()


class FakeFanotify:
    """Readings as given, then none."""

    def __init__(self, *_: object) -> None:
        self.readings: deque[FileWrites] = deque()
        self.closed = False

    def read(self) -> FileWrites:
        """The next reading."""
        return self.readings.popleft() if self.readings else FileWrites(())

    def close(self) -> None:
        """Note it."""
        self.closed = True


class FakeInstance:
    """A trace instance that reads as given and remembers what was asked of it."""

    def __init__(self, *_: object, **__: object) -> None:
        self.readings: deque[TraceReading] = deque()
        self.enabled: list[str] = []
        self.recording: list[bool] = []
        self.missing: frozenset[str] = frozenset()
        self.closed = False

    def enable(self, event: str) -> None:
        """Enable an event that is not missing."""
        if event in self.missing:
            raise NoSuchFile("enabling", errno.ENOENT)
        self.enabled.append(event)

    def record(self, *, on: bool) -> None:
        """Note it."""
        self.recording.append(on)

    def read(self) -> TraceReading:
        """The next reading."""
        return self.readings.popleft() if self.readings else TraceReading(())

    def close(self) -> None:
        """Note it."""
        self.closed = True

    def say(self, *events: TraceEvent, lost: int = 0) -> None:
        """Have events to be read."""
        self.readings.append(TraceReading(events, lost))


def by(tid: int, comm: str = "someone") -> Context:
    """The context of an event by this thread."""
    return Context(tid, comm, 0, 0)


MOUNT = CgroupMount(Path("/sys/fs/cgroup"), "/", 2, frozenset())


@pytest.fixture
def fanotify(monkeypatch: pytest.MonkeyPatch) -> FanotifyWatcher:
    """A watcher on a fake descriptor."""
    monkeypatch.setattr("numaplace.kernel.fanotify.FanotifyWatch", FakeFanotify)
    return FanotifyWatcher(MOUNT)


def told(watcher: FanotifyWatcher, *events: FileWritten, lost: bool = False) -> Sequence[Hint]:
    """What a watcher says after these writes."""
    watch = watcher._watch
    assert isinstance(watch, FakeFanotify)
    watch.readings.append(FileWrites(events, lost))
    return watcher.drain()


def test_a_write_to_a_cpuset_names_cgroup_and_writer(fanotify: FanotifyWatcher) -> None:
    """The file's directory is the cgroup, the writer's command is read while it is there."""
    (hint,) = told(fanotify, FileWritten("/sys/fs/cgroup/a/b/cpuset.cpus", ME, 2))
    command = Path("/proc/self/comm").read_text().strip()
    assert hint == Hint(ChangeSource.FANOTIFY, Actor(ME, command), cgroup="/a/b")


def test_a_writer_that_is_gone_or_out_of_sight_is_no_obstacle(fanotify: FanotifyWatcher) -> None:
    """A gone writer has no command, and one of another pid namespace no pid."""
    first, second = told(
        fanotify,
        FileWritten("/sys/fs/cgroup/a/cgroup.procs", GONE, 2),
        FileWritten("/sys/fs/cgroup/cpuset.mems", 0, 2),
    )
    assert first == Hint(ChangeSource.FANOTIFY, Actor(GONE), cgroup="/a", structural=True)
    assert second == Hint(ChangeSource.FANOTIFY, None, cgroup="/")


def test_writes_to_other_files_are_nobodys(fanotify: FanotifyWatcher) -> None:
    """One mark hears every write of the hierarchy; most concern no home."""
    assert told(fanotify, FileWritten("/sys/fs/cgroup/a/memory.max", ME, 2)) == []


def test_a_path_of_another_mount_namespace_is_anyones(fanotify: FanotifyWatcher) -> None:
    """A container's path cannot be translated; the sweep looks at everybody."""
    (hint,) = told(fanotify, FileWritten("/elsewhere/cpuset.cpus", GONE, 2))
    assert hint.cgroup is None


def test_lost_writes_are_a_structural_hint_about_anyone(fanotify: FanotifyWatcher) -> None:
    """After an overflow nothing is known, so everything is looked at."""
    assert told(fanotify, lost=True) == [Hint(ChangeSource.FANOTIFY, structural=True)]


def test_inotify_hears_writes_and_new_directories_below(tmp_path: Path) -> None:
    """Directories made later are watched as well, and those made before their parent was."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "cpuset.cpus").touch()
    watcher = InotifyWatcher(CgroupMount(tmp_path, "/", 1, frozenset()))
    try:
        (tmp_path / "a" / "cpuset.cpus").write_text("1")
        assert watcher.drain() == [Hint(ChangeSource.INOTIFY, cgroup="/a")]
        (tmp_path / "a" / "b" / "c").mkdir(parents=True)
        assert Hint(ChangeSource.INOTIFY, cgroup="/a", structural=True) in watcher.drain()
        (tmp_path / "a" / "b" / "c" / "tasks").write_text("1")
        assert Hint(ChangeSource.INOTIFY, cgroup="/a/b/c", structural=True) in watcher.drain()
        assert watcher.drain() == []
    finally:
        watcher.close()


@pytest.fixture
def pinner(monkeypatch: pytest.MonkeyPatch) -> tuple[PinningWatcher, FakeInstance]:
    """A watcher on a fake instance."""
    monkeypatch.setattr(pinning, "TraceInstance", FakeInstance)
    watcher = PinningWatcher(Path("/tracing"))
    assert isinstance(watcher._instance, FakeInstance)
    return watcher, watcher._instance


def test_a_pinning_is_told_when_it_returns_and_names_both(pinner: tuple[PinningWatcher, FakeInstance]) -> None:
    """Calls of several threads interleave; each exit is joined with its own thread's entry."""
    watcher, instance = pinner
    instance.say(
        AffinityCalled(by(GONE), GONE + 10),
        AffinityCalled(by(GONE + 1), GONE + 11),
        AffinityReturned(by(GONE), 0),
        AffinityReturned(by(GONE + 1), 0),
    )
    assert watcher.drain() == [
        Hint(ChangeSource.TRACEFS, Actor(GONE, "someone"), pid=GONE + 10),
        Hint(ChangeSource.TRACEFS, Actor(GONE + 1, "someone"), pid=GONE + 11),
    ]


def test_a_refused_pinning_changed_nothing(pinner: tuple[PinningWatcher, FakeInstance]) -> None:
    """An exit with an error is forgotten together with its entry."""
    watcher, instance = pinner
    instance.say(AffinityCalled(by(GONE), GONE + 10), AffinityReturned(by(GONE), -22), AffinityReturned(by(GONE), 0))
    assert watcher.drain() == [Hint(ChangeSource.TRACEFS, Actor(GONE, "someone"))], "the second exit has no entry"


def test_a_thread_is_told_as_its_process_and_our_own_threads_not_at_all(
    pinner: tuple[PinningWatcher, FakeInstance],
) -> None:
    """Hints speak of processes; movers pin themselves, and that is nobody's home."""
    watcher, instance = pinner
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    tid = thread.native_id
    assert tid is not None
    try:
        instance.say(AffinityCalled(by(tid), tid), AffinityReturned(by(tid), 0))
        assert watcher.drain() == []
        instance.say(CgroupAttached(by(tid, "<...>"), 0, "/a", tid))
        (hint,) = watcher.drain()
    finally:
        done.set()
        thread.join()
    command = Path("/proc/self/comm").read_text().strip()
    assert hint == Hint(ChangeSource.TRACEFS, Actor(ME, command), pid=ME, structural=True)


def test_lost_trace_events_are_a_hint_about_anyone(pinner: tuple[PinningWatcher, FakeInstance]) -> None:
    """An overwritten event may have been anything."""
    watcher, instance = pinner
    instance.say(lost=7)
    assert watcher.drain() == [Hint(ChangeSource.TRACEFS)]


def test_entries_without_exits_are_bounded(pinner: tuple[PinningWatcher, FakeInstance]) -> None:
    """However many exits are lost, the awaited ones stay few."""
    watcher, instance = pinner
    instance.say(*(AffinityCalled(by(tid), tid) for tid in range(1, 3 * pinning.CALLS_MAX)))
    watcher.drain()
    assert len(watcher._targets) == pinning.CALLS_MAX


class Ticking:
    """A clock that is set by hand."""

    now_s = 100.0

    def __call__(self) -> float:
        """What it is set to."""
        return self.now_s


@pytest.fixture
def births(monkeypatch: pytest.MonkeyPatch) -> tuple[LifecycleWatcher, FakeInstance, Ticking]:
    """A watcher on a fake instance and clock."""
    monkeypatch.setattr(lifecycle, "TraceInstance", FakeInstance)
    clock = Ticking()
    watcher = LifecycleWatcher(Path("/tracing"), now_s=clock)
    assert isinstance(watcher._instance, FakeInstance)
    return watcher, watcher._instance, clock


def test_forks_and_ends_are_told_by_process_and_programs_as_anyones(
    births: tuple[LifecycleWatcher, FakeInstance, Ticking],
) -> None:
    """A thread's end is nothing; a program start may make anybody match a rule."""
    watcher, instance, _ = births
    instance.say(
        Forked(by(1), GONE, GONE + 1),
        Exited(by(1), GONE + 2, process_ended=False),
        Exited(by(1), GONE + 3, process_ended=True),
        Exited(by(1), GONE + 4, process_ended=None),
        Executed(by(1), GONE + 5, GONE + 5, "/bin/x"),
        Executed(by(1), GONE + 6, GONE + 6, "/bin/y"),
    )
    pids = [hint.pid for hint in watcher.drain()]
    assert pids == [GONE, GONE + 3, GONE + 4, None]


def test_a_storm_of_births_is_not_listened_to_for_a_while(
    births: tuple[LifecycleWatcher, FakeInstance, Ticking],
) -> None:
    """After a number of events recording stops, and begins again seconds later, at the next draining."""
    watcher, instance, clock = births
    event = Executed(by(1), GONE, GONE, "/bin/x")
    for _ in range(lifecycle.EVENTS_MAX + 1):
        instance.say(event)
        watcher.drain()
    assert instance.recording == [False]
    clock.now_s += lifecycle.MUTE_S / 2
    watcher.drain()
    assert instance.recording == [False]
    clock.now_s += lifecycle.MUTE_S
    instance.say(event)
    assert len(watcher.drain()) == 1
    assert instance.recording == [False, True]


def test_few_births_a_second_are_all_heard(births: tuple[LifecycleWatcher, FakeInstance, Ticking]) -> None:
    """The limit is one of rate, not of number."""
    watcher, instance, clock = births
    for _ in range(10 * lifecycle.EVENTS_MAX):
        clock.now_s += 0.1
        instance.say(Executed(by(1), GONE, GONE, "/bin/x"))
        assert len(watcher.drain()) == 1
    assert instance.recording == []


@pytest.mark.parametrize(
    ("devices", "lost", "hints"),
    [
        (["/devices/system/cpu/cpu3"], False, 1),
        (["/devices/system/cpu/cpu3", "/devices/system/memory/memory7"], False, 1),
        (["/devices/pci0000:00/net/eth0"], False, 0),
        ([], True, 1),
    ],
)
def test_only_cpus_and_memory_wake_the_sweep(
    monkeypatch: pytest.MonkeyPatch, devices: list[str], hints: int, *, lost: bool
) -> None:
    """Uevents of other devices are nothing; lost ones may have been anything."""
    reading = UeventReading(tuple(Uevent("offline", device) for device in devices), lost)
    monkeypatch.setattr(UeventWatch, "read", lambda _: reading)
    watcher = hotplug.HotplugWatcher()
    try:
        assert watcher.drain() == [Hint(ChangeSource.SWEEP)] * hints
    finally:
        watcher.close()


def test_a_uevent_is_read_strictly() -> None:
    """The head says what happened to which device; anything else is refused."""
    assert parse(b"offline@/devices/system/cpu/cpu3\0ACTION=offline\0") == Uevent("offline", "/devices/system/cpu/cpu3")
    for wrong in (b"", b"libudev\0", b"offline@cpu3", b"@/devices", b"off line@/devices"):
        with pytest.raises(KernelFormatError):
            parse(wrong)


def refuse(error: OSError) -> type:
    """A watcher that cannot be opened."""

    class Refused:
        def __init__(self, *_: object, **__: object) -> None:
            raise error

    return Refused


def test_every_missing_watcher_is_named_and_the_others_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without privileges inotify stands in for fanotify, and each remark says what to change."""
    mount = CgroupMount(tmp_path, "/", 2, frozenset())
    monkeypatch.setattr(watchers, "read_hierarchies", lambda: Hierarchies(mount, {}))
    monkeypatch.setattr(watchers, "find_tracefs", lambda _: tmp_path)
    monkeypatch.setattr(watchers, "remove_stale_instances", lambda _: ())
    monkeypatch.setattr(watchers, "FanotifyWatcher", refuse(Denied("fanotify_init", errno.EPERM)))
    monkeypatch.setattr(watchers, "PinningWatcher", refuse(Denied("creating", errno.EACCES)))
    opened, remarks = open_watchers(WatcherChoice(hotplug=False))
    try:
        assert [type(watcher) for watcher in opened] == [InotifyWatcher]
    finally:
        for watcher in opened:
            watcher.close()
    assert len(remarks) == 2
    assert "CAP_SYS_ADMIN" in remarks[0]
    assert "root" in remarks[1]


def test_a_host_without_cgroups_and_tracefs_is_told_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to open is no fault."""
    monkeypatch.setattr(watchers, "read_hierarchies", lambda: Hierarchies(None, {}))
    monkeypatch.setattr(watchers, "find_tracefs", lambda _: None)
    opened, remarks = open_watchers(WatcherChoice(hotplug=False))
    assert opened == []
    assert "no cgroup hierarchy" in remarks[0]
    assert "mount -t tracefs" in remarks[1]


def test_a_kernel_that_does_not_trace_calls_leaves_no_instance_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made is removed again when an event is missing; an old kernel without the attach event is fine."""
    made: list[FakeInstance] = []

    class Old(FakeInstance):
        def __init__(self, *_: object, **__: object) -> None:
            super().__init__()
            self.missing = frozenset({AFFINITY_RETURN} if not made else {CGROUP_ATTACH})
            made.append(self)

    monkeypatch.setattr(pinning, "TraceInstance", Old)
    with pytest.raises(NoSuchFile):
        PinningWatcher(Path("/tracing"))
    PinningWatcher(Path("/tracing"))
    assert [instance.closed for instance in made] == [True, False]


def test_both_ways_to_change_a_home_must_be_watched_to_rest_long(
    pinner: tuple[PinningWatcher, FakeInstance], fanotify: FanotifyWatcher
) -> None:
    """If either is missing, the sweep's period is the time to notice that kind of change."""
    assert see_everything([fanotify, pinner[0]])
    assert not see_everything([fanotify])
    assert not see_everything([pinner[0]])
