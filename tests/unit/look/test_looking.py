"""A look at processes of hosts as files: every kind of mapping, who shares what, and what cannot be seen."""

import ctypes
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from numaplace.kernel import maps
from numaplace.kernel.pagemap import PAGE_BYTES
from numaplace.look import LookError, NotThere, cgroup, look, process, tree
from numaplace.look import looking as looking_module
from numaplace.model.ids import CpuId, NodeId
from numaplace.model.move import LeftReason
from numaplace.model.picture import MappedPages, MappingKind, Picture
from tests.unit.look.host import HOSTS, NODE_0, NODE_1, Affinity, Area, FakeHost

N0, N1 = NodeId(0), NodeId(1)
MB = 1 << 20


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """Two nodes; CPUs 0-7,16-23 and 8-15,24-31."""
    return FakeHost(tmp_path)


def seen(
    host: FakeHost, pid: int = 10, cpus: Mapping[int, set[int]] | None = None, *, threads: bool = False
) -> Picture:
    """A look at a process whose threads may run on node 1."""
    get_affinity = Affinity(cpus if cpus is not None else {pid: {8, 9}})
    return look(process(pid, host.root), host.root, threads=threads, get_affinity=get_affinity)


def only(picture: Picture) -> MappedPages:
    """The one mapping that has pages."""
    (mapping,) = picture.mappings
    return mapping


@pytest.mark.parametrize(
    ("area", "name", "kind"),
    [
        (Area(0x10000, 9, "", "default anon=9 N0=9 kernelpagesize_kB=4"), "10000", MappingKind.ANON),
        (Area(0x10000, 9, "[heap]", "default heap anon=9 N0=9 kernelpagesize_kB=4"), "[heap]", MappingKind.HEAP),
        (Area(0x10000, 9, "[stack]", "default stack anon=9 N0=9 kernelpagesize_kB=4"), "[stack]", MappingKind.STACK),
        (Area(0x10000, 9, "[anon:arena]", "default anon=9 N0=9 kernelpagesize_kB=4"), "[anon:arena]", MappingKind.ANON),
        (
            Area(0x10000, 9, "/opt/my lib", r"default file=/opt/my\040lib mapped=9 N0=9 kernelpagesize_kB=4", inode=3),
            "/opt/my lib",
            MappingKind.FILE,
        ),
        (
            Area(0x10000, 9, "/dev/zero (deleted)", "default file=/dev/zero\\040(deleted) N0=9 kernelpagesize_kB=4"),
            "/dev/zero",
            MappingKind.SHARED,
        ),
        (
            Area(0x10000, 9, "/dev/nvidia0", "default file=/dev/nvidia0 mapped=9 N0=9 kernelpagesize_kB=4", inode=7),
            "/dev/nvidia0",
            MappingKind.DEVICE,
        ),
    ],
)
def test_what_a_mapping_is(host: FakeHost, area: Area, name: str, kind: MappingKind) -> None:
    """By the words of maps and numa_maps; an anonymous one is named by its address."""
    host.add(10, [area])
    mapping = only(seen(host))
    assert (mapping.name, mapping.kind, mapping.by_node) == (name, kind, {N0: 9 * PAGE_BYTES})
    assert mapping.deleted == ("deleted" in area.name)


def test_every_figure_of_a_line_is_kept(host: FakeHost) -> None:
    """Dirty, active, swap cache, write-back and policy, in bytes; active is all that is not said to be inactive."""
    numa = "bind:0 anon=6 dirty=5 mapped=8 swapcache=1 active=3 writeback=2 N0=7 N1=1 kernelpagesize_kB=4"
    host.add(10, [Area(0x10000, 9, "", numa), Area(0x90000, 9, "", "default anon=2 N1=2 kernelpagesize_kB=4")])
    first, second = seen(host).mappings
    assert (first.policy, first.by_node) == ("bind:0", {N0: 7 * PAGE_BYTES, N1: PAGE_BYTES})
    figures = (first.anon_bytes, first.dirty_bytes, first.active_bytes, first.swapcache_bytes, first.writeback_bytes)
    assert figures == tuple(PAGE_BYTES * pages for pages in (6, 5, 3, 1, 2))
    assert second.active_bytes == 2 * PAGE_BYTES


def test_home_is_near_the_cpus_of_all_threads(host: FakeHost) -> None:
    """What lies elsewhere is remote, and moves if nobody else maps it; threads that ended meanwhile add nothing."""
    host.add(10, [Area(0x10000, 9, "", "default anon=9 N0=6 N1=3 kernelpagesize_kB=4")], tids=(10, 11, 12))
    picture = seen(host, cpus={10: {8}, 11: {9}}, threads=True)
    assert picture.home == {N1}
    assert picture.cpus == {CpuId(8), CpuId(9)}
    assert picture.mems == {N0, N1}
    assert (picture.remote.bytes, picture.remote.movable_bytes, picture.remote.stays) == (6 * PAGE_BYTES,) * 2 + ({},)
    threads_seen = [(t.tid, t.name, set(t.cpus), set(t.nodes)) for t in picture.threads]
    assert threads_seen == [(10, "thread-10", {8}, {N1}), (11, "thread-11", {9}, {N1})]
    assert [(p.pid, p.command, p.uid, p.threads) for p in picture.processes] == [(10, "python train.py", 1000, 3)]


def test_pages_that_others_map_stay(host: FakeHost) -> None:
    """On one node it is known without a frame number which are remote."""
    pages = [(0, True)] * 4 + [(0, False)] * 5
    numa = "default file=/lib/a mapped=9 mapmax=30 N0=9 kernelpagesize_kB=4"
    host.add(10, [Area(0x10000, 20, "/lib/a", numa, pages, inode=3)])
    picture = seen(host)
    assert only(picture).shared_by_node == {N0: 5 * PAGE_BYTES}
    assert picture.remote.movable_bytes == 4 * PAGE_BYTES
    assert picture.remote.stays == {LeftReason.SHARED: 5 * PAGE_BYTES}


def test_no_page_is_looked_at_where_none_is_mapped_twice(host: FakeHost) -> None:
    """A pagemap that would say otherwise is not read."""
    host.add(10, [Area(0x10000, 9, "", "default anon=9 N0=9 kernelpagesize_kB=4", [(0, False)] * 9)])
    assert only(seen(host)).shared_bytes == 0


def test_shared_pages_on_several_nodes_are_told_apart_by_frame(host: FakeHost) -> None:
    """As far as frames are the caller's to see; the page of zeros is nobody's and never counts."""
    pages = [(NODE_0, True), (NODE_0 + 1, False), (NODE_1, False), (NODE_1 + 1, False), (0x77, False)]
    numa = "default anon=4 mapmax=2 N0=2 N1=2 kernelpagesize_kB=4"
    host.add(10, [Area(0x10000, 9, "", numa, pages)])
    host.map_counts({NODE_0: 1, NODE_0 + 1: 2, NODE_1: 2, NODE_1 + 1: 3, 0x77: 0})
    picture = seen(host)
    assert only(picture).shared_by_node == {N0: PAGE_BYTES, N1: 2 * PAGE_BYTES}
    assert (picture.remote.movable_bytes, picture.remote.unknown_bytes) == (PAGE_BYTES, 0)


def test_without_frames_what_is_shared_on_several_nodes_is_bounded(host: FakeHost) -> None:
    """Three of four are shared and two are at home: one or two of the remote ones are, and the rest is not known."""
    pages = [(0, True)] + [(0, False)] * 3
    numa = "default anon=4 mapmax=2 N0=2 N1=2 kernelpagesize_kB=4"
    host.add(10, [Area(0x10000, 9, "", numa, pages)])
    picture = seen(host)
    assert only(picture).shared_by_node is None
    assert picture.remote.stays == {LeftReason.SHARED: PAGE_BYTES}
    assert (picture.remote.movable_bytes, picture.remote.unknown_bytes) == (0, PAGE_BYTES)


def test_a_mapping_that_is_gone_when_maps_is_read_is_not_guessed_at(host: FakeHost) -> None:
    """It is named by its address, and if others map it nobody knows how much of it."""
    host.add(10, [Area(0x10000, 9, "", "default anon=9 mapmax=2 N0=9 kernelpagesize_kB=4")], maps=[])
    picture = seen(host)
    assert only(picture).unknown_bytes == picture.remote.unknown_bytes == 9 * PAGE_BYTES


def test_hugetlb_moves_into_the_pool_at_home(host: FakeHost) -> None:
    """As far as that has free pages; dirty and resident bytes are of the large page."""
    numa = "default file=/anon_hugepage\\040(deleted) huge anon=700 dirty=700 N0=700 kernelpagesize_kB=2048"
    host.add(10, [Area(0x40000000, 700 * 512, "/anon_hugepage (deleted)", numa)])
    picture = seen(host)
    mapping = only(picture)
    assert (mapping.kind, mapping.page_bytes, mapping.mapped_bytes) == (MappingKind.HUGETLB, 2 * MB, 1400 * MB)
    assert (mapping.dirty_bytes, mapping.active_bytes, mapping.thp_bytes) == (1400 * MB, 0, 0)
    free = picture.free_huge[2 * MB][N1]
    assert 0 < free < 1400 * MB
    assert picture.remote.movable_bytes == free
    assert picture.remote.stays == {LeftReason.HUGETLB_POOL: 1400 * MB - free}


def test_a_devices_pages_never_move(host: FakeHost) -> None:
    """Nor is it asked who maps them."""
    numa = "default file=/dev/nvidia0 mapped=9 mapmax=2 N0=9 kernelpagesize_kB=4"
    host.add(10, [Area(0x10000, 9, "/dev/nvidia0", numa, inode=3)])
    assert seen(host).remote.stays == {LeftReason.UNMOVABLE_MAPPING: 9 * PAGE_BYTES}


def test_huge_pages_are_counted_where_there_is_room_for_one(host: FakeHost) -> None:
    """From smaps on a kernel without PAGEMAP_SCAN, which a file is."""
    large = Area(0x40000000, 2048, "", "default anon=1024 N0=1024 kernelpagesize_kB=4", huge_kb=4096)
    small = Area(0x10000, 9, "", "default anon=9 N0=9 kernelpagesize_kB=4")
    host.add(10, [small, large])
    assert [(m.name, m.thp_bytes) for m in seen(host).mappings] == [("40000000", 4 * MB), ("10000", 0)]


def test_node_ids_with_gaps_and_nodes_of_memory_alone(tmp_path: Path) -> None:
    """Nodes are named, never counted; a node without CPUs is nobody's home if the CPUs' own nodes have memory."""
    for like, cpus, away in (("eight-nodes-with-gaps", {8}, NodeId(13)), ("memory-only-node", {0}, NodeId(2))):
        (tmp_path / like).mkdir()
        host = FakeHost(tmp_path / like, like)
        host.add(10, [Area(0x10000, 9, "", f"default anon=9 N{away}=9 kernelpagesize_kB=4")])
        picture = seen(host, cpus={10: cpus})
        assert (picture.by_node, picture.remote.bytes) == ({away: 9 * PAGE_BYTES}, 9 * PAGE_BYTES)
        assert picture.home == {NodeId(4 if like.startswith("eight") else 0)}


def test_a_host_as_files_is_read_whole(tmp_path: Path) -> None:
    """Every word of policy, deleted files, merged names, and mappings without pages, which are left out."""
    host = FakeHost(tmp_path)
    folder = host.root / "proc/4242"
    folder.mkdir()
    for name in ("maps", "numa_maps", "stat", "status", "cmdline", "comm", "task"):
        (folder / name).symlink_to(HOSTS / "two-nodes/proc/4242" / name)
    for name in ("pagemap", "smaps"):
        (folder / name).touch()
    picture = look(process(4242, host.root), host.root, get_affinity=Affinity({4242: {8}}))
    policies = {mapping.name: mapping.policy for mapping in picture.mappings}
    assert policies == {
        "7f0000000000": "bind=static:0-1", "/dev/hugepages/x\ny": "interleave=relative|balancing:0-1",
        "/opt/my solver": "default", "[stack]": "default", "[heap]": "default",
        "[anon:a name]": "weighted interleave:0-1", "/opt/old": "default",
    }  # fmt: skip
    assert picture.resident_bytes == (33 + 1 + 4 + 51200 + 2 + 15) * PAGE_BYTES + 8 * 2 * MB
    assert picture.policy == "bind=static:0-1"


SHM = "default file=/dev/zero\\040(deleted) mapped=4 mapmax=2 N0=4 kernelpagesize_kB=4"


def shm(frame: int) -> Area:
    """Shared memory of four pages that two processes map."""
    pages = [(frame + page, False) for page in range(4)]
    return Area(0x10000, 9, "/dev/zero (deleted)", SHM, pages, "rw-s", inode=4)


@pytest.fixture
def group(host: FakeHost) -> FakeHost:
    """Two processes in a cgroup and one in another below it, which share memory."""
    host.mount_cgroups()
    host.cgroup("/", [])
    host.cgroup("/jobs/a", [10, 11])
    host.cgroup("/jobs/a/step", [12])
    anon = Area(0x90000, 9, "", "default anon=2 N1=2 kernelpagesize_kB=4")
    for pid in (10, 11):
        host.add(pid, [shm(NODE_0), anon])
    host.add(12, [shm(NODE_0 + 64), anon])
    return host


def looked(group: FakeHost) -> Picture:
    """A look at all three."""
    cpus = {pid: {8} for pid in (10, 11, 12)}
    return look(cgroup("/jobs/a", group.root), group.root, get_affinity=Affinity(cpus))


def test_mappings_of_several_processes_are_merged_by_name(group: FakeHost) -> None:
    """Each is counted in every process that maps it, as numa_maps does."""
    picture = looked(group)
    assert [process.pid for process in picture.processes] == [10, 11, 12]
    assert [(m.name, m.processes, m.mapped_bytes) for m in picture.mappings] == [
        ("/dev/zero", 3, 12 * PAGE_BYTES), ("[anon]", 3, 6 * PAGE_BYTES),
    ]  # fmt: skip


def test_sharers_among_those_shown_are_no_strangers(group: FakeHost) -> None:
    """Pages that 10 and 11 share move; those that 12 shares with somebody else stay."""
    group.map_counts({NODE_0 + page: 2 for page in (*range(4), *range(64, 68))})
    picture = looked(group)
    assert picture.remote.stays == {LeftReason.SHARED: 4 * PAGE_BYTES}
    assert picture.remote.movable_bytes == 8 * PAGE_BYTES


def test_without_the_right_to_see_frames_sharers_are_not_known(group: FakeHost) -> None:
    """No kpagecount: neither promised nor written off."""
    assert looked(group).remote.unknown_bytes == 12 * PAGE_BYTES


def test_shared_pages_beyond_the_bound_are_not_known(group: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look stays quick, whatever is shown."""
    group.map_counts({NODE_0 + page: 2 for page in (*range(4), *range(64, 68))})
    monkeypatch.setattr(looking_module, "FRAMES_MAX", 8)
    picture = looked(group)
    assert picture.remote.unknown_bytes == 4 * PAGE_BYTES
    assert picture.remote.movable_bytes == 8 * PAGE_BYTES


def test_processes_that_end_or_are_not_ours_are_left_out(group: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are shown, and how many there were besides."""
    (group.root / "proc/11/numa_maps").unlink()
    (group.root / "proc/11/stat").unlink()
    deny(monkeypatch, group.root / "proc/12/numa_maps")
    picture = looked(group)
    assert ([process.pid for process in picture.processes], picture.denied) == ([10], 1)


def deny(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let the kernel refuse to open a file; root would be let in anyway."""
    real = os.open

    def refusing(name: str | Path, flags: int) -> int:
        if str(name) == str(path):
            raise PermissionError(13, "denied")
        return real(name, flags)

    monkeypatch.setattr("os.open", refusing)


def test_what_is_not_ours_to_see_is_one_clear_line(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no empty picture."""
    host.add(10, [])
    deny(monkeypatch, host.root / "proc/10/numa_maps")
    with pytest.raises(LookError, match="process 10 may not be looked at: it is another user's, or protected; try as"):
        seen(host)


def test_a_pid_that_is_another_process_by_now_is_not_mixed_up(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is read before and after."""
    folder = host.add(10, [Area(0x10000, 9, "", "default anon=9 N0=9 kernelpagesize_kB=4")])
    target = process(10, host.root)

    def reused(pid: int, root: Path) -> list[maps.Mapping]:
        (folder / "stat").write_text((folder / "stat").read_text().replace(" 100 0 0", " 101 0 0"))
        return maps.read_maps(pid, root)

    monkeypatch.setattr("numaplace.look.one_process.read_maps", reused)
    with pytest.raises(NotThere, match="process 10 has ended"):
        look(target, host.root)


def test_kernel_threads_and_the_dead_have_nothing_to_show(hosts_one_and_two: tuple[Path, Path]) -> None:
    """Each in its own words."""
    one, two = hosts_one_and_two
    with pytest.raises(LookError, match="a thread of the kernel: it has no memory of its own"):
        process(2, two)
    with pytest.raises(NotThere, match="has ended, and only waits"):
        process(77, one)
    for pid in (1, 0, 1 << 40):
        with pytest.raises(NotThere, match=f"no process has the pid {pid}"):
            process(pid, two)


@pytest.fixture
def hosts_one_and_two() -> tuple[Path, Path]:
    """The first has a zombie, the second a kernel thread."""
    return HOSTS / "one-node", HOSTS / "two-nodes"


def test_a_threads_id_means_its_process(host: FakeHost) -> None:
    """As the kernel has it: the memory is the process's."""
    host.add(10, [], tids=(10, 11))
    (host.root / "proc/11").symlink_to(host.root / "proc/10/task/11")
    assert process(11, host.root).pids == (10,)


def test_a_tree_is_a_process_and_its_descendants(host: FakeHost) -> None:
    """Of the start that was meant; without lists of children it is the process alone."""
    host.add(10, [], children=(11, 12))
    host.add(11, [], children=(13,))
    host.add(13, [])
    assert sorted(tree(10, host.root, 100).pids) == [10, 11, 12, 13]
    with pytest.raises(NotThere, match="another one has its pid"):
        tree(10, host.root, 99)
    (host.root / "proc/10/task/10/children").unlink()
    assert tree(10, host.root).pids == (10,)


@pytest.mark.parametrize("name", ["/jobs/a", "/jobs/a/", "/sys-fs-cgroup/jobs/a"])
def test_a_cgroup_by_its_path_or_its_directory(group: FakeHost, name: str) -> None:
    """All processes in it and below."""
    assert cgroup(name, group.root).pids == (10, 11, 12)
    assert cgroup(name, group.root).title == "cgroup /jobs/a"


@pytest.mark.parametrize("name", ["/nowhere", "/../etc", "/jobs/../jobs/a", "/"])
def test_a_cgroup_that_is_none_or_empty(host: FakeHost, name: str) -> None:
    """One clear line."""
    host.mount_cgroups()
    host.cgroup("/", [])
    host.cgroup("/jobs/a", [])
    with pytest.raises(NotThere, match="cgroup"):
        cgroup(name, host.root)


def test_a_kernel_without_numa_says_so(host: FakeHost) -> None:
    """There is no numa_maps to read."""
    (host.add(10, []) / "numa_maps").unlink()
    with pytest.raises(LookError, match="this kernel does not tell where pages are"):
        seen(host)


def test_a_kernel_that_speaks_otherwise_is_no_traceback(host: FakeHost) -> None:
    """The line that was not understood is named."""
    (host.add(10, []) / "numa_maps").write_text("gibberish\n")
    with pytest.raises(LookError, match="gibberish"):
        seen(host)


PR_SET_DUMPABLE = 4
NOBODY = 65_534


def as_nobody(ask: Callable[[], str]) -> str:
    """What a child without any rights answers; the kernel hides a process that gave up root, unless it says so."""
    told = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
        try:
            answer = ask()
        except LookError as error:
            answer = error.words
        os.write(told[1], answer.encode())
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(told[0], 4096).decode()


@pytest.mark.usefixtures("privileged")
def test_users_see_their_own_processes_and_no_others() -> None:
    """Without any capability a process's pages are read, and what it shares is known; root's are one clear line."""
    assert "may not be looked at: it is another user's" in as_nobody(lambda: str(look(process(os.getppid()))))

    def own() -> str:
        picture = look(process(os.getpid()))
        shared = sum(mapping.shared_bytes for mapping in picture.mappings)
        return f"{picture.resident_bytes > shared > 0} {picture.remote.bytes}"

    assert as_nobody(own) == "True 0"
