"""Processes as /proc tells them: whole, cut, hostile, vanishing, and on the kernel that runs this."""

import os
import subprocess
import threading
from pathlib import Path

import pytest

from numaplace.kernel import procfs, status
from numaplace.kernel.errors import KernelFormatError, ProcessGone, Unsupported
from numaplace.kernel.files import HOST, process_error
from numaplace.kernel.status import Capability, Seccomp

STAT = (
    b"6015 (cat) R 6013 6013 5024 0 -1 4194304 98 0 0 0 7 3 0 0 20 0 2 0 54646 3133440 381 18446744073709551615 1 2 3 0"
    b" 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 4 5 6 7 8 9 10 0\n"
)


def test_stat_gives_the_documented_fields() -> None:
    """Each value comes from its field of proc_pid_stat(5)."""
    stat = procfs.parse_stat(STAT)
    assert (stat.pid, stat.comm, stat.state, stat.parent_pid, stat.flags) == (6015, "cat", "R", 6013, 4194304)
    assert (stat.user_ticks, stat.system_ticks, stat.threads, stat.start_ticks, stat.rss_pages) == (7, 3, 2, 54646, 381)
    assert stat.identity == procfs.ProcessId(6015, 54646)


@pytest.mark.parametrize("comm", ["a b", "a) S 1 (b", ") R 1", "((", "a\nb", "\udcff", "", ") "])
def test_comm_may_be_anything(comm: str) -> None:
    """A process names itself as it likes; the fields after it are found all the same."""
    stat = procfs.parse_stat(STAT.replace(b"cat", os.fsencode(comm)))
    assert (stat.comm, stat.parent_pid, stat.start_ticks) == (comm, 6013, 54646)


@pytest.mark.parametrize("end", range(len(STAT)))
def test_cut_stat_is_refused(end: int) -> None:
    """A part of a stat line is no stat line, wherever it is cut."""
    with pytest.raises(KernelFormatError):
        procfs.parse_stat(STAT[:end])


@pytest.mark.parametrize(
    "text", [STAT + b"x", STAT.replace(b" R ", b" ? "), STAT.replace(b"54646", b"5_6"), STAT.replace(b"(", b"")]
)
def test_stat_with_anything_else_is_refused(text: bytes) -> None:
    """Trailing text, an unknown state, a number that Python alone would take, and a missing comm are refused."""
    with pytest.raises(KernelFormatError):
        procfs.parse_stat(text)


def test_kernel_threads_and_the_dead_are_told(hosts: Path) -> None:
    """A kernel thread is known by its flag, a zombie by its state."""
    assert procfs.read_stat(2, hosts / "two-nodes").is_kernel_thread
    assert not procfs.read_stat(4242, hosts / "two-nodes").is_kernel_thread
    assert procfs.read_stat(77, hosts / "one-node").is_dead
    assert not procfs.is_alive(procfs.ProcessId(77, 100), hosts / "one-node")


def test_identity_is_pid_and_start(hosts: Path) -> None:
    """A pid with another start time is another process."""
    host = hosts / "two-nodes"
    assert procfs.read_identity(4242, host) == procfs.ProcessId(4242, 54646)
    assert procfs.read_identity(4242, host, tid=4243) == procfs.ProcessId(4243, 54650)
    assert procfs.is_alive(procfs.ProcessId(4242, 54646), host)
    assert not procfs.is_alive(procfs.ProcessId(4242, 54647), host)
    assert not procfs.is_alive(procfs.ProcessId(1, 1), host)


def test_host_lists_its_processes_and_threads(hosts: Path) -> None:
    """Numbers below /proc are processes, other names are not."""
    assert procfs.list_pids(hosts / "two-nodes") == [2, 4242]
    assert procfs.list_tids(4242, hosts / "two-nodes") == [4242, 4243]
    assert procfs.read_schedstat(4242, hosts / "two-nodes") == procfs.SchedStat(970705, 1234, 17)
    assert procfs.read_schedstat(4242, hosts / "two-nodes", tid=4243).run_ns == 4243


def test_missing_feature_is_not_a_missing_process(hosts: Path) -> None:
    """Without the file but with the process, the kernel lacks the feature; without both, the process is gone."""
    with pytest.raises(Unsupported):
        procfs.read_schedstat(4242, hosts / "eight-nodes-with-gaps")
    with pytest.raises(ProcessGone):
        procfs.read_schedstat(4243, hosts / "eight-nodes-with-gaps")
    with pytest.raises(ProcessGone):
        procfs.read_stat(4242, hosts / "two-nodes", tid=9)


@pytest.mark.parametrize("text", [b"", b"1 2\n", b"1 2 3", b"1 2 3 4\n", b"1 2 x\n", b"1 2 3\n\nx"])
def test_schedstat_has_three_numbers(text: bytes) -> None:
    """Anything else is refused."""
    with pytest.raises(KernelFormatError):
        procfs.parse_schedstat(text)


def test_status_gives_what_placement_needs(hosts: Path) -> None:
    """CPUs and nodes allowed, sizes in bytes, users, threads, and the pid inside its namespace."""
    found = status.read_status(4242, hosts / "two-nodes")
    assert found.cpus_allowed == set(range(8, 16)) | set(range(24, 32))
    assert found.mems_allowed == {0, 1}
    assert (found.rss_bytes, found.locked_bytes, found.hugetlb_bytes) == (307200 * 1024, 65536, 2048 * 1024)
    assert (found.pid, found.thread_group, found.parent_pid, found.uid, found.threads) == (4242, 4242, 1, 1000, 2)
    assert found.namespace_pids == (4242, 7)
    thread = status.read_status(4242, hosts / "two-nodes", tid=4243)
    assert (thread.pid, thread.thread_group) == (4243, 4242)
    assert thread.cpus_allowed == {8}


def test_status_of_a_kernel_thread_has_no_memory(hosts: Path) -> None:
    """A task without memory has no Vm lines: that is 0 bytes, not an error."""
    assert status.read_status(2, hosts / "two-nodes").rss_bytes == 0


def test_every_cut_of_a_status_is_refused(hosts: Path) -> None:
    """Up to its last needed key no part of a status passes for a whole one."""
    text = (hosts / "two-nodes/proc/4242/status").read_text()
    for end in range(text.index("voluntary")):
        with pytest.raises(KernelFormatError):
            status.parse_status(text[:end])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("VmRSS:\t 307200 kB", "VmRSS:\t 307200 MB"),
        ("Uid:\t1000\t1000", "Uid:\t1000"),
        ("Threads:\t2", "Threads:\t2\nThreads:\t3"),
        ("Threads:\t2", "Threads 2"),
        ("Cpus_allowed_list:\t8", "Cpus_allowed_list:\tx8"),
        ("Pid:\t4242\n", "Pid:\t0x10\n"),
    ],
)
def test_status_of_another_form_is_refused(hosts: Path, old: str, new: str) -> None:
    """Another unit, a missing user, a key twice or without a colon, and what is no list or number are refused."""
    text = (hosts / "two-nodes/proc/4242/status").read_text()
    assert old in text
    with pytest.raises(KernelFormatError):
        status.parse_status(text.replace(old, new, 1))


def test_status_of_a_newer_kernel_is_read(hosts: Path) -> None:
    """Keys that a newer kernel adds are passed over."""
    text = (hosts / "two-nodes/proc/4242/status").read_text()
    assert status.parse_status(text + "New_key:\twhat ever\n") == status.parse_status(text)


def test_command_lines_are_split_at_nulls(hosts: Path) -> None:
    """Arguments keep their blanks; a kernel thread has none."""
    host = hosts / "two-nodes"
    assert status.read_command_line(4242, host) == ("/opt/solver", "--input", "a file")
    assert status.read_command_line(2, host) == ()
    assert status.read_command(4242, host) == "a) S 1 (b"


def test_cgroup_paths_of_all_versions() -> None:
    """v1 lines carry controllers, v2 none, a named hierarchy its name; paths may hold colons and blanks."""
    text = "9:name=systemd:/\n3:cpu,cpuacct:/a:b c\n0::/x (deleted)\n"
    assert status.parse_cgroup_paths(text) == (
        status.CgroupPath(9, frozenset({"name=systemd"}), "/"),
        status.CgroupPath(3, frozenset({"cpu", "cpuacct"}), "/a:b c"),
        status.CgroupPath(0, frozenset(), "/x (deleted)"),
    )
    assert status.parse_cgroup_paths("") == ()


@pytest.mark.parametrize("text", ["0::/x", "x::/\n", "0:/\n", "0::relative\n", "\n", "0::/\ntrailing"])
def test_cgroup_lines_of_another_form_are_refused(text: str) -> None:
    """A line needs number, controllers and an absolute path."""
    with pytest.raises(KernelFormatError):
        status.parse_cgroup_paths(text)


def test_this_process_reads_itself() -> None:
    """On this kernel the readers agree with what Python knows of the process."""
    pid = os.getpid()
    stat = procfs.read_stat(pid)
    assert (stat.pid, stat.parent_pid, stat.state) == (pid, os.getppid(), "R")
    assert procfs.read_identity(pid) == stat.identity
    assert procfs.is_alive(stat.identity)
    found = status.read_status(pid)
    assert found.cpus_allowed == os.sched_getaffinity(0)
    assert found.effective_uid == os.geteuid()
    assert found.rss_bytes > 0
    assert procfs.read_schedstat(pid).run_ns > 0
    assert status.read_cgroup_paths(pid)
    assert status.read_command_line(pid)
    assert pid in procfs.list_pids()


def test_this_process_lists_its_threads() -> None:
    """A thread is listed while it lives, and has an identity of its own."""
    started, ended = threading.Event(), threading.Event()
    tids: list[int] = []

    def body() -> None:
        tids.append(threading.get_native_id())
        started.set()
        ended.wait()

    thread = threading.Thread(target=body)
    thread.start()
    started.wait()
    assert tids[0] in procfs.list_tids(os.getpid())
    assert procfs.read_identity(os.getpid(), tid=tids[0]).pid == tids[0]
    ended.set()
    thread.join()


def test_children_of_all_threads_are_listed(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """A thread that ends meanwhile has none; a kernel without the lists says so."""
    assert sleeper.pid in procfs.read_children(os.getpid())
    assert procfs.read_children(sleeper.pid) == []
    for tid, children in ((7, "12 9 "), (8, "10 ")):
        (tmp_path / f"proc/7/task/{tid}").mkdir(parents=True)
        (tmp_path / f"proc/7/task/{tid}/children").write_text(children)
        (tmp_path / f"proc/7/task/{tid}/stat").touch()
    assert procfs.read_children(7, tmp_path) == [9, 10, 12]
    (tmp_path / "proc/7/task/8/children").unlink()
    with pytest.raises(Unsupported):
        procfs.read_children(7, tmp_path)
    (tmp_path / "proc/7/task/8/stat").unlink()
    assert procfs.read_children(7, tmp_path) == [9, 12]


def test_gone_process_is_gone_in_every_reader(gone: int) -> None:
    """Whatever is read of it, a process that is not there is ProcessGone with its pid."""
    for reader in (
        procfs.read_stat,
        procfs.read_identity,
        procfs.read_schedstat,
        procfs.list_tids,
        status.read_status,
        status.read_cgroup_paths,
        status.read_command,
        status.read_command_line,
    ):
        with pytest.raises(ProcessGone) as caught:
            reader(gone)
        assert caught.value.pid == gone


def test_zombie_is_dead_and_its_pid_still_taken(zombie: int) -> None:
    """A process that has exited is not alive, though it has a stat until it is reaped."""
    assert procfs.read_stat(zombie).is_dead
    assert not procfs.is_alive(procfs.read_identity(zombie))


def test_process_that_dies_between_open_and_read_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    """A read of a stat that was opened in time fails with ESRCH, which is ProcessGone too."""
    descriptor = os.open(f"/proc/{sleeper.pid}/stat", os.O_RDONLY)
    try:
        sleeper.kill()
        sleeper.wait()
        with pytest.raises(ProcessLookupError) as caught:
            os.read(descriptor, 100)
    finally:
        os.close(descriptor)
    assert isinstance(process_error(HOST, sleeper.pid, "stat", caught.value), ProcessGone)


def test_privileges_are_capabilities_and_a_filter() -> None:
    """The bits of capability(7); a kernel without seccomp filters nothing."""
    found = status.parse_privileges("CapInh:\t0\nCapEff:\t0000000000880000\nSeccomp:\t2\n")
    assert [found.has(each) for each in (Capability.SYS_PTRACE, Capability.SYS_NICE)] == [True, True]
    assert [found.has(each) for each in (Capability.SYS_ADMIN, Capability.DAC_READ_SEARCH)] == [False, False]
    assert found.seccomp is Seccomp.FILTER
    assert status.parse_privileges("CapEff:\t000001ffffffffff\n").seccomp is Seccomp.OFF


@pytest.mark.parametrize("text", ["", "Seccomp:\t0\n", "CapEff:\tx\n", "CapEff:\t-1\n", "CapEff:\t0\nSeccomp:\t7\n"])
def test_privileges_of_another_form_are_refused(text: str) -> None:
    """A right is never assumed."""
    with pytest.raises(KernelFormatError):
        status.parse_privileges(text)


def test_our_own_privileges_are_read() -> None:
    """As the kernel tells them of this process."""
    effective = status.read_privileges(os.getpid()).effective
    assert f"CapEff:\t{effective:016x}\n" in Path("/proc/self/status").read_text()
