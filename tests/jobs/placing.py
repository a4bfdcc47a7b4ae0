"""A program that places its own memory on a host with two nodes, and tells where it came to lie: ``python -m …``.

Each scene is a small use of `numaplace.mempolicy` with an answer that only the kernel can give; its name and its
answer go out as JSON. It runs on the CPUs of node 0, as root, and leaves the host as it found it.
"""

import errno
import json
import mmap
import os
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from numaplace import mempolicy
from numaplace.mempolicy import KernelCallError, ModeFlag, Move, MoveStoppedError, PolicyMode, Range
from tests.jobs.areas import PAGE, base_area, map_area
from tests.jobs.memory import pinned_area

PAGES = 32
SIZE = PAGES * PAGE
CGROUPS = Path("/sys/fs/cgroup")
WEIGHTS = Path("/sys/kernel/mm/mempolicy/weighted_interleave")
MODE_FLAGS = (ModeFlag.NONE, ModeFlag.STATIC_NODES, ModeFlag.RELATIVE_NODES)


def lies(where: mempolicy.Placeable) -> dict[str, int]:
    """Pages by node."""
    return {str(node): size // PAGE for node, size in mempolicy.where(where).by_node.items()}


def filled(node: int = 0) -> mmap.mmap:
    """A buffer whose pages are all on a node, under no policy of its own."""
    area = mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with mempolicy.policy(PolicyMode.BIND, {node}):
        touch(area)
    return area


def touch(area: mmap.mmap) -> None:
    """Write to each page."""
    for at in range(0, len(area), PAGE):
        area[at] = 1


def refused(call: Callable[[], object]) -> str:
    """The words of a refusal, after the name of its class."""
    try:
        call()
    except (KernelCallError, MoveStoppedError) as error:
        return f"{type(error).__name__}: {error}"
    return "done"


@contextmanager
def a_child_has_it_too() -> Iterator[None]:
    """A child, which maps all that this process does."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(theirs)
        os.read(ours, 1)
        os._exit(0)
    try:
        yield
    finally:
        os.close(ours)
        os.close(theirs)
        os.waitpid(pid, 0)


def binding() -> dict[str, object]:
    """What `mbind` does to pages that are there, by its move flag and STRICT."""
    told: dict[str, object] = {}
    area = filled()
    mempolicy.mbind(area, PolicyMode.BIND, {1})
    told["none"] = lies(area)
    told["strict"] = refused(lambda: mempolicy.mbind(area, PolicyMode.BIND, {1}, strict=True))
    mempolicy.mbind(area, PolicyMode.BIND, {1}, move=Move.OWN, strict=True)
    told["own"] = lies(area)
    shared = filled()
    with a_child_has_it_too():
        told["shared strict"] = refused(
            lambda: mempolicy.mbind(shared, PolicyMode.BIND, {1}, move=Move.OWN, strict=True)
        )
        mempolicy.mbind(shared, PolicyMode.BIND, {1}, move=Move.OWN)
        told["shared own"] = lies(shared)
        mempolicy.mbind(shared, PolicyMode.BIND, {1}, move=Move.ALL)
        told["shared all"] = lies(shared)
    return told


def modes() -> dict[str, object]:
    """Each mode with each flag, as the kernel gives it back for a thread and for a buffer; or its refusal."""
    area = mempolicy.alloc_local(SIZE)
    told: dict[str, object] = {}
    for mode in PolicyMode:
        nodes = () if mode in {PolicyMode.DEFAULT, PolicyMode.LOCAL} else (1,)
        for flag in MODE_FLAGS if nodes else MODE_FLAGS[:1]:
            wanted = mempolicy.MemoryPolicy(mode, flag, frozenset(nodes))

            def asked(wanted: mempolicy.MemoryPolicy = wanted) -> bool:
                mempolicy.mbind(area, wanted.mode, wanted.nodes, flags=wanted.flags)
                with mempolicy.policy(wanted.mode, wanted.nodes, wanted.flags):
                    found = mempolicy.get_mempolicy()
                return found == wanted == mempolicy.get_mempolicy(area)

            said = refused(lambda asked=asked: told.update({f"{wanted.mode.name} {wanted.flags.name}": asked()}))  # type: ignore[misc] # noqa: B023 - called at once
            if said != "done":
                told[f"{mode.name} {flag.name}"] = said
    with mempolicy.policy(PolicyMode.BIND, {0, 1}, ModeFlag.NUMA_BALANCING):
        told["BIND NUMA_BALANCING"] = mempolicy.get_mempolicy().flags is ModeFlag.NUMA_BALANCING
    return told


def allocating() -> dict[str, object]:
    """Where buffers and arrays lie once they are touched."""
    told: dict[str, object] = {}
    for name, area in (
        ("onnode", mempolicy.alloc_onnode(SIZE, 1)),
        ("local", mempolicy.alloc_local(SIZE)),
        ("interleaved", mempolicy.alloc_interleaved(SIZE, {0, 1})),
    ):
        touch(area)
        told[name] = lies(area)
    made = mempolicy.array_onnode(SIZE // 8, 1)
    made += 1
    told["array"] = lies(made)
    both = mempolicy.alloc_onnode(SIZE, 0)
    mempolicy.mbind(both, PolicyMode.BIND, {0, 1})
    mempolicy.set_mempolicy_home_node(both, 1)
    touch(both)
    told["home node"] = lies(both)
    told["block"] = lies(filled(1))
    return told


def weighted() -> dict[str, object]:
    """Three pages here for each one there."""
    if not WEIGHTS.is_dir():
        return {"refused": refused(lambda: mempolicy.alloc_interleaved(SIZE, {0, 1}, weighted=True))}
    before = {node: (WEIGHTS / f"node{node}").read_text() for node in (0, 1)}
    try:
        for node, weight in ((0, 3), (1, 1)):
            (WEIGHTS / f"node{node}").write_text(f"{weight}\n")
        area = mempolicy.alloc_interleaved(SIZE, {0, 1}, weighted=True)
        touch(area)
        return {"three to one": lies(area)}
    finally:
        for node, weight_before in before.items():
            (WEIGHTS / f"node{node}").write_text(weight_before)


def moving() -> dict[str, object]:
    """Pages that come and pages that stay, each for its reason, in one list."""
    told: dict[str, object] = {}
    pinned = pinned_area(SIZE)
    plain, untouched = base_area(SIZE), map_area(SIZE)
    mempolicy.move_buffer(Range(plain.address, SIZE), 1)
    starts = (plain.address, untouched, pinned.address)
    # One page of each by turns: every run that the kernel gathers has one in it that stays.
    addresses = array("Q", (start + at * PAGE for at in range(PAGES) for start in starts))
    moved = mempolicy.move_pages(addresses, [0, 1, 1] * PAGES)
    told["moved"] = moved.moved
    told["left"] = {errno.errorcode[number]: count for number, count in sorted(moved.left.items())}
    told["plain"], told["pinned"] = (lies(Range(start, SIZE)) for start in (plain.address, pinned.address))
    told["nowhere"] = refused(lambda: mempolicy.move_pages([plain.address], 7))
    pid = os.getpid()
    private = filled()
    mempolicy.migrate_pages(pid, {0}, {1})
    told["migrated"] = lies(private)
    mempolicy.migrate_pages(pid, {1}, {0})
    told["migrated back"] = lies(private)
    return told


def confined() -> dict[str, object]:
    """A cpuset of node 0 only: the other node is refused by its name, whatever is asked."""
    area = filled()
    own, inside = Path("/proc/self/cgroup").read_text().rpartition(":")[2].strip(), CGROUPS / f"placing-{os.getpid()}"
    inside.mkdir()
    try:
        (inside / "cpuset.mems").write_text("0")
        (inside / "cgroup.procs").write_text(str(os.getpid()))
        return {
            "allocate": refused(lambda: mempolicy.alloc_onnode(SIZE, 1)),
            "move": refused(lambda: mempolicy.move_buffer(area, 1)),
            "allowed": sorted(mempolicy.mems_allowed()),
        }
    finally:
        (CGROUPS / own.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))
        inside.rmdir()


SCENES: Mapping[str, Callable[[], dict[str, object]]] = {
    scene.__name__: scene for scene in (binding, modes, allocating, weighted, moving, confined)
}


def main() -> None:
    """Play all scenes."""
    os.sched_setaffinity(0, {0, 1})
    sys.stdout.write(json.dumps({name: scene() for name, scene in SCENES.items()}) + "\n")


if __name__ == "__main__":
    main()
