"""cgroups of both versions: found by their mounts, walked, read and written, on hosts as files and on this one."""

import asyncio
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from numaplace.kernel import cgroups, cpusets
from numaplace.kernel.cgroups import Cgroup, CgroupMount
from numaplace.kernel.errors import Denied, KernelCallError, KernelFormatError, NoSuchFile, ProcessGone, Unsupported
from numaplace.kernel.psi import read_pressure_file
from numaplace.kernel.status import CgroupPath
from numaplace.kernel.syscalls import EventLoopBlocked
from numaplace.model.ids import CpuId, NodeId


def mount_of(root: Path, controller: str = "cpuset") -> CgroupMount:
    """Return the hierarchy of a controller, which the host has."""
    mount = cgroups.read_hierarchies(root).of_controller(controller)
    assert mount is not None
    return mount


def group_of(root: Path, pid: int, controller: str = "cpuset") -> Cgroup:
    """Return a process's cgroup, which is in the mounted part."""
    found = cgroups.cgroup_of(mount_of(root, controller), pid, root)
    assert found is not None
    return found


@pytest.fixture
def writable(hosts: Path, tmp_path: Path) -> Path:
    """Return a copy of the hosts, to be written."""
    return Path(shutil.copytree(hosts, tmp_path / "hosts", symlinks=True))


def test_hierarchies_are_found_by_their_mounts(hosts: Path) -> None:
    """v2 alone, v1 by controller, and both: the controller's mount decides, not the kernel's version."""
    v2 = cgroups.read_hierarchies(hosts / "two-nodes")
    assert v2.v2 is not None
    assert not v2.v1
    assert v2.of_controller("cpuset") is v2.v2
    v1 = cgroups.read_hierarchies(hosts / "eight-nodes-with-gaps")
    assert v1.v2 is None
    assert set(v1.v1) == {"cpuset", "cpu", "cpuacct", "memory", "name=systemd"}
    assert v1.v1["cpu"] is v1.v1["cpuacct"]
    assert v1.of_controller("hugetlb") is None
    hybrid = cgroups.read_hierarchies(hosts / "one-node")
    assert hybrid.v2 is not None
    assert hybrid.of_controller("cpuset") is hybrid.v1["cpuset"]
    assert hybrid.of_controller("hugetlb") is hybrid.v2
    assert hybrid.v2.directory == hosts / "one-node/sys/fs/cgroup/unified"


def test_mount_lines_are_read_whole(hosts: Path) -> None:
    """Optional fields come in any number, and names are unescaped."""
    mounts = cgroups.read_mounts(hosts / "two-nodes")
    assert {mount.mount_point for mount in mounts} >= {"/proc", "/mnt/with blank", "/sys/fs/cgroup"}
    line = "1 2 0:3 /a /b rw shared:1 master:2 unbindable - cgroup2 none rw,x\n"
    assert cgroups.parse_mounts(line) == (cgroups.Mount("/b", "/a", "cgroup2", frozenset({"rw", "x"})),)


@pytest.mark.parametrize(
    "text",
    [
        "1 2 0:3 / / rw - proc proc rw",
        "1 2 0:3 / / rw proc proc rw\n",
        "1 2 0:3 / / rw - proc proc\n",
        "1 2 0:3 / / rw - proc proc rw more\n",
        "1 2 0:3 / relative rw - proc proc rw\n",
        "- - - - - - -\n",
        "\n",
    ],
)
def test_mount_lines_of_another_form_are_refused(text: str) -> None:
    """Without its hyphen, its end or an absolute mount point a line is none."""
    with pytest.raises(KernelFormatError):
        cgroups.parse_mounts(text)


def test_v1_without_prefix_has_shorter_names(tmp_path: Path) -> None:
    """A v1 mount with `noprefix` calls its files `cpus` and `mems`."""
    (mount,) = cgroups.parse_mounts("1 2 0:3 / /dev/cpuset rw - cgroup none rw,cpuset,noprefix\n")
    found = cgroups.hierarchies_of([mount], tmp_path).v1["cpuset"]
    group = cgroups.at_path(found, "/")
    assert group is not None
    group.directory.mkdir(parents=True)
    for name, text in (("cpus", "0-3\n"), ("effective_cpus", "0-1\n"), ("mems", "0\n"), ("memory_migrate", "1\n")):
        (group.directory / name).write_text(text)
    assert cpusets.read_cpus(group) == {0, 1, 2, 3}
    assert cpusets.read_effective_cpus(group) == {0, 1}
    assert cpusets.read_mems(group) == {0}
    assert cpusets.read_memory_migrate(group)


@pytest.mark.parametrize(
    ("part", "path", "below"),
    [
        ("/", "/", "."),
        ("/", "/a/b", "a/b"),
        ("/a", "/a/b", "b"),
        ("/a", "/a", "."),
        ("/a", "/ab", None),
        ("/a", "/", None),
        ("/", "/../outside", None),
        ("/../..", "/../../kubepods/x", "kubepods/x"),
        ("/", "/a/../../x", None),
    ],
)
def test_paths_are_translated_by_the_mounted_part(part: str, path: str, below: str | None) -> None:
    """A container mounts a part of the tree: what lies outside has no directory, and none is made up."""
    found = cgroups.at_path(CgroupMount(Path("/m"), part, 2, frozenset()), path)
    assert (found.directory if found else None) == (Path("/m") / below if below is not None else None)


def test_path_of_a_process_is_that_of_the_hierarchy() -> None:
    """Of all its cgroups, the one of the mount's controllers, or the unified one."""
    paths = (
        CgroupPath(4, frozenset({"cpu", "cpuacct"}), "/one"),
        CgroupPath(3, frozenset({"cpuset"}), "/two"),
        CgroupPath(0, frozenset(), "/three"),
    )
    assert cgroups.path_in(CgroupMount(Path("/m"), "/", 1, frozenset({"cpuset"})), paths) == "/two"
    assert cgroups.path_in(CgroupMount(Path("/m"), "/", 2, frozenset()), paths) == "/three"
    assert cgroups.path_in(CgroupMount(Path("/m"), "/", 1, frozenset({"memory"})), paths) is None


def test_cpuset_of_a_v2_job(hosts: Path) -> None:
    """A job on v2: its cgroup, with a blank in the name, its CPUs, nodes, members, memory and pressure."""
    job = group_of(hosts / "two-nodes", 4242)
    assert (job.path, job.version) == ("/batch.slice/job 7", 2)
    assert cpusets.read_cpus(job) == cpusets.read_effective_cpus(job) == {*range(8, 16), *range(24, 32)}
    assert cpusets.read_mems(job) == cpusets.read_effective_mems(job) == {0, 1}
    assert cpusets.read_memory_migrate(job)
    assert cgroups.read_pids(job) == [4242]
    assert cgroups.read_numa_stat(job, 4096)["anon"] == {0: 314572800, 1: 4096}
    some = read_pressure_file(job.directory / "memory.pressure").some
    assert some is not None
    assert some.total_us == 42


def test_cpuset_of_a_v1_job(hosts: Path) -> None:
    """A job on v1: the same by other names, and memory in pages."""
    root = hosts / "eight-nodes-with-gaps"
    job = group_of(root, 4242)
    assert (job.path, job.version) == ("/slurm/uid_1000/job_7", 1)
    assert cpusets.read_effective_cpus(job) == {4, 5, 6, 7}
    assert cpusets.read_effective_mems(job) == {0, 4}
    assert cpusets.read_memory_migrate(job)
    memory = group_of(root, 4242, "memory")
    assert cgroups.read_numa_stat(memory, 4096)["hierarchical_total"] == {0: 3656 * 4096, 1: 344 * 4096}


def test_v2_cgroup_without_the_controller_has_no_cpuset(hosts: Path) -> None:
    """Not enabled is not empty: the reader says that the file is not there."""
    system = cgroups.child(Cgroup(mount_of(hosts / "two-nodes").directory, 2, "/"), "system.slice")
    assert not cpusets.has_cpuset(system)
    with pytest.raises(NoSuchFile):
        cpusets.read_effective_cpus(system)
    root = cgroups.at_path(mount_of(hosts / "two-nodes"), "/")
    assert root is not None
    assert cpusets.has_cpuset(root)
    with pytest.raises(NoSuchFile):
        cpusets.read_cpus(root)


def test_no_wish_on_v2_is_an_empty_set(hosts: Path) -> None:
    """An empty cpuset.cpus asks for what the parent has, which the effective one tells."""
    (batch, _system) = cgroups.children(Cgroup(mount_of(hosts / "two-nodes").directory, 2, "/"))
    assert cpusets.read_cpus(batch) == frozenset()
    assert cpusets.read_effective_cpus(batch) == set(range(32))


def test_tree_is_walked_parents_first(hosts: Path) -> None:
    """All cgroups below one, itself first, each with its path; a removed one has none."""
    root = Cgroup(mount_of(hosts / "two-nodes").directory, 2, "/")
    assert [group.path for group in cgroups.descendants(root)] == [
        "/",
        "/batch.slice",
        "/batch.slice/job 7",
        "/system.slice",
    ]
    assert cgroups.children(cgroups.child(root, "removed")) == ()


def test_process_outside_the_mounted_part_has_no_cgroup_here(hosts: Path) -> None:
    """A removed cgroup keeps its name with a mark; one above the namespace has no directory."""
    hierarchies = cgroups.read_hierarchies(hosts / "one-node")
    assert hierarchies.v2 is not None
    assert cgroups.cgroup_of(hierarchies.v2, 77, hosts / "one-node") is None
    gone = cgroups.cgroup_of(hierarchies.v1["cpuset"], 77, hosts / "one-node")
    assert gone is not None
    with pytest.raises(NoSuchFile):
        cpusets.read_cpus(gone)
    with pytest.raises(ProcessGone):
        cgroups.cgroup_of(hierarchies.v2, 78, hosts / "one-node")


def test_writes_use_the_kernels_lists(writable: Path) -> None:
    """What is written is what cpuset(7) takes, and nothing of the old text is left behind it."""
    job = group_of(writable / "two-nodes", 4242)
    cpusets.write_cpus(job, frozenset({CpuId(0), CpuId(1), CpuId(5)}))
    cpusets.write_mems(job, frozenset({NodeId(1)}))
    assert (job.directory / "cpuset.cpus").read_text() == "0-1,5\n"
    assert (job.directory / "cpuset.mems").read_text() == "1\n"
    cpusets.write_cpus(job, frozenset())
    assert cpusets.read_cpus(job) == frozenset()
    with pytest.raises(Unsupported):
        cpusets.write_memory_migrate(job, migrate=True)
    old = group_of(writable / "eight-nodes-with-gaps", 4242)
    cpusets.write_memory_migrate(old, migrate=False)
    assert not cpusets.read_memory_migrate(old)
    cgroups.attach_process(job, 4242)
    assert (job.directory / "cgroup.procs").read_text() == "4242"


def test_writer_itself_is_never_attached_by_mistake(writable: Path) -> None:
    """To the kernel pid 0 is the writer: an agent must not move itself for want of a pid."""
    job = group_of(writable / "two-nodes", 4242)
    for pid in (0, -1):
        with pytest.raises(ValueError, match="writer"):
            cgroups.attach_process(job, pid)


def test_writes_refuse_an_event_loop(writable: Path) -> None:
    """Writing cpuset.mems blocks while the kernel migrates."""
    job = group_of(writable / "two-nodes", 4242)

    async def main() -> None:
        with pytest.raises(EventLoopBlocked):
            cpusets.write_mems(job, frozenset({NodeId(0)}))
        with pytest.raises(EventLoopBlocked):
            cpusets.write_cpus(job, frozenset({CpuId(0)}))

    asyncio.run(main())


@pytest.mark.parametrize(
    "text",
    ["anon N0=1", "anon N0\n", "anon X0=1\n", "anon N0=x\n", "anon=x N0=1\n", "anon N0=1\nanon N0=1\n", "anon  N0=1\n"],
)
def test_numa_stat_of_another_form_is_refused(text: str) -> None:
    """Kinds come once, with a number for each node."""
    with pytest.raises(KernelFormatError):
        cgroups.parse_numa_stat(text, 1)


@pytest.mark.parametrize("text", ["2\n", "yes\n", "\n"])
def test_memory_migrate_is_zero_or_one(writable: Path, text: str) -> None:
    """Anything else is refused."""
    job = group_of(writable / "eight-nodes-with-gaps", 4242)
    (job.directory / "cpuset.memory_migrate").write_text(text)
    with pytest.raises(KernelFormatError):
        cpusets.read_memory_migrate(job)


@pytest.fixture
def own_cgroup() -> Iterator[Cgroup]:
    """Return a new, empty cgroup of this host, at the top of the hierarchy that has cpusets."""
    mount = cgroups.read_hierarchies().of_controller("cpuset")
    assert mount is not None
    top = cgroups.at_path(mount, mount.part)
    assert top is not None
    group = cgroups.child(top, f"numaplace-test-{os.getpid()}")
    group.directory.mkdir()
    yield group
    group.directory.rmdir()


def cpuset_is_read_and_written(group: Cgroup) -> None:
    """Check a cpuset of this host: what is written is read; what cannot be is refused."""
    top_cpus = os.sched_getaffinity(0)
    one = frozenset({CpuId(min(top_cpus))})
    cpusets.write_mems(group, frozenset({NodeId(0)}))
    cpusets.write_cpus(group, one)
    assert cpusets.read_cpus(group) == cpusets.read_effective_cpus(group) == one
    assert cpusets.read_effective_mems(group) == {0}
    if group.version == 1:
        cpusets.write_memory_migrate(group, migrate=True)
    assert cpusets.read_memory_migrate(group)
    with pytest.raises(KernelCallError) as caught:
        cpusets.write_mems(group, frozenset({NodeId(1023)}))
    assert caught.value.errno in {errno.EINVAL, errno.ERANGE}


@pytest.mark.usefixtures("privileged")
def test_cgroup_of_this_host_takes_a_process(own_cgroup: Cgroup, sleeper: subprocess.Popen[bytes], gone: int) -> None:
    """On this kernel: a process enters a cgroup and is found there; its cpuset is read and written, if it has one."""
    mount = cgroups.read_hierarchies().of_controller("cpuset")
    assert mount is not None
    if cpusets.has_cpuset(own_cgroup):
        cpuset_is_read_and_written(own_cgroup)
    else:
        with pytest.raises(NoSuchFile):
            cpusets.read_cpus(own_cgroup)
    cgroups.attach_process(own_cgroup, sleeper.pid)
    assert cgroups.cgroup_of(mount, sleeper.pid) == own_cgroup
    assert cgroups.read_pids(own_cgroup) == [sleeper.pid]
    with pytest.raises(ProcessGone):
        cgroups.attach_process(own_cgroup, gone)
    sleeper.kill()
    sleeper.wait()
    assert cgroups.read_pids(own_cgroup) == []


@pytest.mark.usefixtures("privileged")
def test_file_of_a_removed_cgroup_is_no_such_file(own_cgroup: Cgroup) -> None:
    """A cgroup that is removed between two reads is an expected outcome, and told as such."""
    inner = cgroups.child(own_cgroup, "inner")
    inner.directory.mkdir()
    assert cgroups.read_pids(inner) == []
    inner.directory.rmdir()
    for call in (cgroups.read_pids, cpusets.read_cpus):
        with pytest.raises(NoSuchFile):
            call(inner)
    with pytest.raises(NoSuchFile):
        cgroups.attach_process(inner, os.getpid())


def test_file_that_may_not_be_read_is_denied(tmp_path: Path) -> None:
    """A write to a read-only kernel file is refused as such, root or not."""
    group = Cgroup(tmp_path, 2, "/")
    (tmp_path / "cpuset.cpus").mkdir()
    with pytest.raises(KernelCallError) as caught:
        cpusets.read_cpus(group)
    assert caught.value.errno == errno.EISDIR
    assert not isinstance(caught.value, Denied)
