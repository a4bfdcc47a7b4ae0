"""fanotify, inotify and tracefs: decoded from bytes of every kind, and on the kernel that runs this."""

import errno
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from numaplace.kernel import cgroups, fanotify, inotify, procfs, trace_events, tracefs
from numaplace.kernel.errors import KernelCallError, KernelFormatError, NoSuchFile

EVENT = struct.pack("=IBBHQii", 24, 3, 0, 24, 0x2, 7, 4242)
OVERFLOW = struct.pack("=IBBHQii", 24, 3, 0, 24, 0x4000, -1, 0)
LONGER = struct.pack("=IBBHQii", 40, 3, 0, 24, 0x8, 8, 1) + bytes(16)


WITHIN_S = 60.0


def readable(watch: fanotify.FanotifyWatch | inotify.InotifyWatch | tracefs.TraceInstance) -> bool:
    """Wait until a watcher has something to read."""
    return bool(select.select([watch], [], [], WITHIN_S)[0])


def test_fanotify_events_are_decoded_by_their_length() -> None:
    """Events follow each other by their own lengths, further records of newer kernels passed over."""
    assert fanotify.decode(EVENT + LONGER + OVERFLOW) == [
        fanotify.RawEvent(0x2, 7, 4242),
        fanotify.RawEvent(0x8, 8, 1),
        fanotify.RawEvent(0x4000, -1, 0),
    ]
    assert fanotify.decode(b"") == []


@pytest.mark.parametrize("end", [end for end in range(1, 88) if end not in {24, 64}])
def test_cut_fanotify_buffer_is_refused(end: int) -> None:
    """A buffer that ends within an event cannot be trusted."""
    with pytest.raises(KernelFormatError):
        fanotify.decode((EVENT + LONGER + OVERFLOW)[:end])


@pytest.mark.parametrize(
    "event",
    [
        struct.pack("=IBBHQii", 24, 4, 0, 24, 2, 7, 1),
        struct.pack("=IBBHQii", 0, 3, 0, 24, 2, 7, 1),
        struct.pack("=IBBHQii", 24, 3, 0, 8, 2, 7, 1),
        struct.pack("=IBBHQii", 24, 3, 0, 32, 2, 7, 1),
        struct.pack("=IBBHQii", 4096, 3, 0, 24, 2, 7, 1),
    ],
)
def test_fanotify_metadata_of_another_version_is_refused(event: bytes) -> None:
    """Another version, a length of zero (an endless loop) and lengths beyond the buffer are refused."""
    with pytest.raises(KernelFormatError):
        fanotify.decode(event)


@pytest.mark.usefixtures("privileged")
def test_fanotify_tells_each_write_and_its_writer() -> None:
    """On this kernel: one mark on the cgroup2 mount sees a write to a cgroup born later, with path and pid."""
    mount = cgroups.read_hierarchies().v2
    assert mount is not None, "this host has no cgroup2 mount"
    directory = mount.directory / f"numaplace-test-fanotify-{os.getpid()}"
    path = directory / "cgroup.max.depth"
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with fanotify.FanotifyWatch(mount.directory) as watch:
        directory.mkdir()
        try:
            with subprocess.Popen(["/bin/sh", "-c", 'echo 3 > "$0"', path]) as writer:
                writer.wait()
            events: list[fanotify.FileWritten] = []
            deadline = time.monotonic() + WITHIN_S
            while not any(event.path == str(path) and event.mask & fanotify.CLOSE_WRITE for event in events):
                assert time.monotonic() < deadline
                assert readable(watch)
                events += watch.read().events
        finally:
            directory.rmdir()
        ours = [event for event in events if event.path == str(path)]
        assert {event.pid for event in ours} == {writer.pid}
        assert any(event.mask & fanotify.MODIFY for event in ours)
    watch.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


@pytest.mark.usefixtures("privileged")
def test_fanotify_of_a_place_that_is_not_there_leaks_nothing(tmp_path: Path) -> None:
    """A mark that fails closes its descriptor and says why; a closed watch cannot be read."""
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(KernelCallError) as caught:
        fanotify.FanotifyWatch(tmp_path / "missing")
    assert caught.value.errno == errno.ENOENT
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


@pytest.mark.usefixtures("privileged")
def test_fanotify_without_events_does_not_block(tmp_path: Path) -> None:
    """Nothing to read is an empty reading, and a closed watch an error."""
    with fanotify.FanotifyWatch(tmp_path, fanotify.CLOSE_WRITE) as watch:
        for _ in range(1000):
            if not watch.read().events:
                break
    with pytest.raises(KernelCallError):
        watch.read()


def inotify_event(watch: int, mask: int, name: bytes) -> bytes:
    """Return an event as the kernel writes it."""
    return struct.pack("=iIII", watch, mask, 0, len(name)) + name


def test_inotify_events_are_decoded_by_their_length() -> None:
    """Names are padded with nulls, of any length; an event of a file has none."""
    data = inotify_event(1, 2, b"") + inotify_event(2, 0x100, b"cpuset.cpus\0\0\0\0\0") + inotify_event(-1, 0x4000, b"")
    assert inotify.decode(data) == [
        inotify.RawEvent(1, 2, ""),
        inotify.RawEvent(2, 0x100, "cpuset.cpus"),
        inotify.RawEvent(-1, 0x4000, ""),
    ]
    whole = {0, 16, 48, 64}
    for end in set(range(len(data))) - whole:
        with pytest.raises(KernelFormatError):
            inotify.decode(data[:end])


def test_inotify_tells_writes_of_watched_files_only(tmp_path: Path) -> None:
    """On this kernel: a write to a watched file is told, to another not, and a removed file is forgotten."""
    watched, other = tmp_path / "cpuset.cpus", tmp_path / "cpuset.mems"
    watched.write_text("0\n")
    other.write_text("0\n")
    with inotify.InotifyWatch() as watch:
        watch.add(watched)
        assert watch.read() == inotify.PathEvents(())
        other.write_text("1\n")
        with watched.open("r+") as file:
            file.write("1")
        assert readable(watch)
        assert watch.read() == inotify.PathEvents((inotify.PathEvent(watched, "", inotify.MODIFY),))
        watched.unlink()
        assert readable(watch)
        assert watch.read().events == ()
        assert watch.paths == frozenset()
        watch.discard(watched)


def test_inotify_tells_what_is_born_in_a_directory(tmp_path: Path) -> None:
    """On this kernel: a new cgroup's directory is told by name, until the watch is given up."""
    with inotify.InotifyWatch() as watch:
        watch.add(tmp_path, inotify.CREATE | inotify.DELETE)
        (tmp_path / "job").mkdir()
        assert readable(watch)
        (event,) = watch.read().events
        assert (event.path, event.name) == (tmp_path, "job")
        assert event.mask == inotify.CREATE | inotify.IS_DIRECTORY
        watch.discard(tmp_path)
        (tmp_path / "job").rmdir()
        assert watch.read().events == ()


def test_inotify_of_nothing_is_no_such_file(tmp_path: Path) -> None:
    """A path that is not there cannot be watched; a closed watch cannot be read."""
    with inotify.InotifyWatch() as watch, pytest.raises(NoSuchFile):
        watch.add(tmp_path / "missing")
    watch.close()
    with pytest.raises(KernelCallError):
        watch.read()


def line(event: str, comm: str = "bash", pid: int = 6512, flags: str = "d..1.") -> bytes:
    """Return a line as trace_pipe prints it."""
    return os.fsencode(f"{comm:>16}-{pid:<7} [001] {flags}   811.692354: {event}")


COUNTS = "nr_succeeded=512 nr_failed=1 nr_thp_succeeded=2 nr_thp_failed=3 nr_thp_split=4"
CONTEXT = trace_events.Context(6512, "bash", 1, 811_692_354_000)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (
            "cgroup_attach_task: dst_root=3 dst_id=22 dst_level=1 dst_path=/kx y pid=77 comm=a b",
            trace_events.CgroupAttached(CONTEXT, 3, "/kx y", 77),
        ),
        (
            "sys_sched_setaffinity(pid: 0x13a0, len: 0x20, user_mask_ptr: 0x5)",
            trace_events.AffinityCalled(CONTEXT, 5024),
        ),
        ("sys_sched_setaffinity(pid: 13a0, len: 20, user_mask_ptr: 5)", trace_events.AffinityCalled(CONTEXT, 5024)),
        ("sys_sched_setaffinity(pid: 0, len: 8, user_mask_ptr: 5)", trace_events.AffinityCalled(CONTEXT, 6512)),
        (
            "sys_sched_setaffinity(pid: 0xffffffffffffffff, len: 8, user_mask_ptr: 5)",
            trace_events.AffinityCalled(CONTEXT, -1),
        ),
        ("sys_sched_setaffinity -> 0x0", trace_events.AffinityReturned(CONTEXT, 0)),
        ("sys_sched_setaffinity -> 0xffffffffffffffea", trace_events.AffinityReturned(CONTEXT, -22)),
        (
            "sched_process_fork: comm=bash pid=6512 child_comm=a pid=1 child_pid=6516",
            trace_events.Forked(CONTEXT, 6512, 6516),
        ),
        (
            "sched_process_exec: filename=/usr/bin/a b pid=6512 old_pid=6513",
            trace_events.Executed(CONTEXT, 6512, 6513, "/usr/bin/a b"),
        ),
        ("sched_process_exit: comm=bash pid=6512 prio=120", trace_events.Exited(CONTEXT, 6512, None)),
        ("sched_process_exit: comm=b pid=1 prio=-1 group_dead=true", trace_events.Exited(CONTEXT, 1, True)),
        ("sched_process_exit: comm=b pid=1 prio=120 group_dead=false x=1", trace_events.Exited(CONTEXT, 1, False)),
        (
            f"mm_migrate_pages: {COUNTS} mode=MIGRATE_SYNC reason=syscall_or_cpuset",
            trace_events.PagesMigrated(CONTEXT, 512, 1, 2, 3, 4, "MIGRATE_SYNC", "syscall_or_cpuset"),
        ),
        (
            f"mm_migrate_pages: {COUNTS} nr_split=9 mode=MIGRATE_ASYNC reason=0x9",
            trace_events.PagesMigrated(CONTEXT, 512, 1, 2, 3, 4, "MIGRATE_ASYNC", "0x9"),
        ),
    ],
)
def test_trace_lines_of_every_version(text: str, event: trace_events.TraceEvent) -> None:
    """Each event in the words of older and newer kernels: with and without 0x, group_dead and nr_split."""
    assert trace_events.parse_line(line(text)) == event
    # Older kernels print four flags, and `record-tgid` adds a column.
    assert trace_events.parse_line(line(text, flags="d..1")) == event
    assert trace_events.parse_line(line(text).replace(b" [001]", b" (   6512) [001]")) == event


@pytest.mark.parametrize("comm", ["a-1 [000]", "x-5-", "   ", "<...>", "é" * 7, "a-99 [001] d..1"])
def test_command_cannot_pass_for_another_actor(comm: str) -> None:
    """A command is cut by columns: whatever it holds, the acting thread is the one the kernel names."""
    padded = os.fsencode(comm).rjust(16)
    text = padded + line("sys_sched_setaffinity -> 0x0")[16:]
    event = trace_events.parse_line(text)
    assert event.context.actor_tid == 6512


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"short",
        line("unknown_event: a=1"),
        line("sys_sched_setaffinity(pid: x, len: 8)"),
        line("sys_sched_setaffinity -> what"),
        line("sched_process_exit: comm=b pid=x prio=1"),
        line("cgroup_attach_task: dst_root=3 dst_path=/x pid=1 comm=a"),
        line("mm_migrate_pages: nr_succeeded=1 mode=M reason=r"),
        line("mm_migrate_pages: nr_succeeded=x nr_failed=1 nr_thp_succeeded=2 nr_thp_failed=3 nr_thp_split=4"),
        line("sched_process_exit: comm=b pid=1 prio=1")[:40],
    ],
)
def test_trace_lines_of_another_form_are_refused(text: bytes) -> None:
    """An event that is unknown, cut or without a needed field is refused."""
    with pytest.raises(KernelFormatError):
        trace_events.parse_line(text)


def test_unreadable_line_hides_no_other() -> None:
    """Lost and unreadable lines are counted, the rest is read: the reader then sweeps."""
    reading = tracefs.parse_lines(
        [b"CPU:0 [LOST 123 EVENTS]", b"what", line("sys_sched_setaffinity -> 0x0"), b"CPU:1 [LOST EVENTS]"]
    )
    assert reading == tracefs.TraceReading((trace_events.AffinityReturned(CONTEXT, 0),), lost=124, unreadable=1)


def test_tracefs_is_found_where_it_is_mounted(hosts: Path, tmp_path: Path) -> None:
    """On its own, inside debugfs only if it is there, or nowhere."""
    v2, v1 = hosts / "two-nodes", hosts / "eight-nodes-with-gaps"
    assert tracefs.find_tracefs(cgroups.read_mounts(v2), v2) == v2 / "sys/kernel/tracing"
    mounts = cgroups.read_mounts(v1)
    assert tracefs.find_tracefs(mounts, tmp_path) is None
    (tmp_path / "sys/kernel/debug/tracing/instances").mkdir(parents=True)
    assert tracefs.find_tracefs(mounts, tmp_path) == tmp_path / "sys/kernel/debug/tracing"


@pytest.fixture
def tracing(tmp_path: Path) -> Iterator[Path]:
    """Return a tracefs of this kernel, mounted for this test."""
    subprocess.run(["mount", "-t", "tracefs", "none", tmp_path], check=True)
    yield tmp_path
    # Lazily: whoever walks through the machine's mounts just then, as find and backups do, must not fail the test.
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


@pytest.mark.usefixtures("privileged")
def test_trace_instance_tells_who_pins_whom(tracing: Path, sleeper: subprocess.Popen[bytes]) -> None:
    """On this kernel: a waiting reader wakes at once; call, result, fork and exit are told, and nothing is left."""
    instances = tracing / "instances"
    with tracefs.TraceInstance(tracing) as instance:
        assert instance.read() == tracefs.TraceReading(())
        for event in (
            tracefs.AFFINITY_CALL,
            tracefs.AFFINITY_RETURN,
            tracefs.CGROUP_ATTACH,
            tracefs.FORK,
            tracefs.EXEC,
        ):
            instance.enable(event)
        instance.enable(tracefs.MIGRATE_PAGES)
        instance.enable(tracefs.EXIT, f"pid == {sleeper.pid}")
        started_ns = time.monotonic_ns()
        os.sched_setaffinity(sleeper.pid, os.sched_getaffinity(0))
        sleeper.kill()
        sleeper.wait()
        events: list[trace_events.TraceEvent] = []
        deadline = time.monotonic() + WITHIN_S
        while not any(isinstance(event, trace_events.Exited) for event in events):
            assert time.monotonic() < deadline
            assert readable(instance)
            reading = instance.read()
            assert reading.unreadable == 0
            events += reading.events
        me = threading.get_native_id()
        called = [e for e in events if isinstance(e, trace_events.AffinityCalled) and e.context.actor_tid == me]
        assert [event.target_tid for event in called] == [sleeper.pid]
        assert started_ns <= called[0].context.time_ns + 1000 <= time.monotonic_ns()
        returned = [e for e in events if isinstance(e, trace_events.AffinityReturned) and e.context.actor_tid == me]
        assert [event.result for event in returned] == [0]
        (exited,) = [event for event in events if isinstance(event, trace_events.Exited)]
        assert exited.tid == sleeper.pid
        instance.disable(tracefs.FORK)
        with pytest.raises(NoSuchFile):
            instance.enable("sched/no_such_event")
        with pytest.raises(KernelCallError) as caught:
            instance.enable(tracefs.EXIT, "nonsense ==")
        assert caught.value.errno == errno.EINVAL
        assert instance.directory.parent == instances
    assert not instance.directory.exists()
    instance.close()


@pytest.mark.usefixtures("privileged")
def test_instances_of_the_dead_are_removed(tracing: Path, gone: int) -> None:
    """A run that was killed leaves its instance behind: the next start removes it, and only it."""
    stale = tracing / f"instances/numaplace-{gone}-1"
    other = tracing / f"instances/other-{gone}-1"
    for directory in (stale, other):
        directory.mkdir()
    try:
        with tracefs.TraceInstance(tracing) as instance:
            assert stale.name in tracefs.remove_stale_instances(tracing)
            assert instance.directory.exists()
            assert other.exists()
            with pytest.raises(KernelCallError) as caught:
                tracefs.TraceInstance(tracing)
            assert caught.value.errno == errno.EEXIST
    finally:
        other.rmdir()
    assert not stale.exists()


@pytest.mark.usefixtures("privileged")
def test_instance_of_a_killed_process_is_found_by_its_identity(tracing: Path) -> None:
    """The name of an instance is its maker's pid and start: killed, it is stale, though the pid may be reused."""
    code = (
        "import sys, pathlib; from numaplace.kernel import tracefs;"
        " i = tracefs.TraceInstance(pathlib.Path(sys.argv[1])); print(i.directory, flush=True); input()"
    )
    arguments = [sys.executable, "-c", code, str(tracing)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        directory = Path(maker.stdout.readline().strip())
        identity = procfs.read_identity(maker.pid)
        maker.kill()
        maker.wait()
    assert directory.name == f"numaplace-{identity.pid}-{identity.start_ticks}"
    assert directory.exists()
    # Another agent that was killed on this host may have left some too.
    assert directory.name in tracefs.remove_stale_instances(tracing)


@pytest.mark.usefixtures("privileged")
def test_instances_of_one_process_record_each_for_itself(tracing: Path) -> None:
    """One process may trace for several purposes: what one has switched off, the other still tells."""
    with tracefs.TraceInstance(tracing, purpose="quiet") as quiet, tracefs.TraceInstance(tracing) as loud:
        for instance in (quiet, loud):
            instance.enable(tracefs.AFFINITY_RETURN, f"common_pid == {threading.get_native_id()}")
        quiet.record(on=False)
        os.sched_setaffinity(0, os.sched_getaffinity(0))
        assert readable(loud)
        assert len(loud.read().events) == 1
        assert quiet.read() == tracefs.TraceReading(())
        quiet.record(on=True)
        os.sched_setaffinity(0, os.sched_getaffinity(0))
        assert readable(quiet)
        assert len(quiet.read().events) == 1
    with pytest.raises(ValueError, match="purpose"):
        tracefs.TraceInstance(tracing, purpose="../x")


@pytest.mark.usefixtures("privileged")
def test_only_the_threads_that_are_named_and_their_children_are_traced(
    tracing: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    """What others do does not reach the buffer, what a named one's children do does; lines can be had as they are."""
    with tracefs.TraceInstance(tracing) as instance:
        instance.only_threads([sleeper.pid, os.getpid()])
        instance.enable(tracefs.EXIT)
        with subprocess.Popen([sys.executable, "-c", ""]) as child:
            child.wait()
        assert readable(instance)
        lines = instance.read_lines()
        assert [line for line in lines if b"pid=%d " % child.pid in line]
        # While the kernel puts one list in place of another, there is none: whoever records then hears everybody.
        instance.record(on=False)
        instance.only_threads([sleeper.pid])
        while instance.read_lines():
            pass
        instance.record(on=True)
        with subprocess.Popen([sys.executable, "-c", ""]) as other:
            other.wait()
        assert instance.read_lines() == []
