"""Where pages are and what a move says of them: on this kernel where one node will do, else on a scripted one."""

import errno
import mmap
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace import mempolicy
from numaplace.kernel import syscalls
from numaplace.kernel.errors import Denied, KernelCallError, ProcessGone, TargetFull
from numaplace.mempolicy import Moved, MoveStoppedError

HERE = min(mempolicy.mems_allowed())
PAGE = mmap.PAGESIZE


def test_only_touched_pages_are_somewhere() -> None:
    """Asking touches none; the pages at a buffer's edges count whole."""
    area = mempolicy.alloc_onnode(8 * PAGE, HERE)
    assert mempolicy.where(area) == mempolicy.Where({}, 8 * PAGE)
    area[3 * PAGE] = area[5 * PAGE] = 1
    assert mempolicy.where(area) == mempolicy.Where({HERE: 2 * PAGE}, 6 * PAGE)
    assert mempolicy.where(memoryview(area)[3 * PAGE + 5 : 4 * PAGE + 5]) == mempolicy.Where({HERE: PAGE}, PAGE)
    assert mempolicy.where(b"").resident_bytes <= PAGE


def test_pages_in_place_are_not_moved_and_absent_ones_are_said_to_be() -> None:
    """By buffer and by address, with a node for all or for each."""
    area = mempolicy.alloc_onnode(4 * PAGE, HERE)
    area[0] = area[PAGE] = 1
    moved = mempolicy.move_buffer(area, HERE)
    assert (moved.moved, moved.in_place) == (0, 2)
    assert sum(moved.left.values()) == 2
    assert set(moved.left) <= {errno.ENOENT, errno.EFAULT}
    with mempolicy.ranges.pinned(area) as found:
        assert list(mempolicy.locate([found.start, found.start + PAGE])) == [HERE, HERE]
        assert mempolicy.move_pages([found.start], [HERE]) == Moved(0, 1, {})


def test_a_process_that_is_gone_and_a_node_that_is_not_there_are_told() -> None:
    """Before anything moved, and with how far it came."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(ProcessGone):
        mempolicy.move_pages([PAGE], HERE, pid=child)
    area = mempolicy.alloc_onnode(PAGE, HERE)
    area[0] = 1
    nowhere = 1 + max(mempolicy.mems_allowed())
    with pytest.raises(MoveStoppedError, match=f"there is no node {nowhere} with memory; 0 pages moved") as stopped:
        mempolicy.move_buffer(area, nowhere)
    assert stopped.value.moved == Moved(0, 0, {})
    for refused in ([-1], [1 << 64]):
        with pytest.raises(ValueError, match="an address is"):
            mempolicy.move_pages(refused, HERE)
    with pytest.raises(ValueError, match="so high a node"):
        mempolicy.move_buffer(area, 1 << 40)
    with pytest.raises(ValueError, match="2 nodes for 1 addresses"):
        mempolicy.move_pages([PAGE], [0, 0])


@dataclass
class ScriptedKernel:
    """``move_pages(2)`` as the kernel has it, over pages that are shared, pinned or absent.

    It gathers what it can take, writes the status of what it cannot, then moves what was gathered; a gathered run with
    a pinned page in it fails: no status of that run is written, and it gives up.
    """

    nodes: dict[int, int]
    shared: frozenset[int] = frozenset()
    pinned: frozenset[int] = frozenset()
    room: int = 1 << 30
    calls: list[int] = field(default_factory=list)

    def move_pages(
        self,
        pid: int,
        addresses: Sequence[int],
        nodes: Sequence[int] | None,
        status: "array[int]",
        *,
        move_all: bool = False,
    ) -> int:
        """The system call."""
        del pid, move_all
        if nodes is None:
            for index, address in enumerate(addresses):
                status[index] = self.nodes.get(address, -errno.ENOENT)
            return 0
        self.calls.append(len(addresses))
        run: list[int] = []
        for index, address in enumerate(addresses):
            if address in self.nodes and address not in self.shared and self.nodes[address] != nodes[index]:
                run.append(index)
                continue
            if left := self._flush(run, addresses, nodes, status):
                status[index] = self._word(address)
                return left + len(addresses) - index - 1
            run = []
            status[index] = self._word(address)
        return self._flush(run, addresses, nodes, status)

    def _word(self, address: int) -> int:
        return -errno.EACCES if address in self.shared else self.nodes.get(address, -errno.ENOENT)

    def _flush(self, run: list[int], addresses: Sequence[int], nodes: Sequence[int], status: "array[int]") -> int:
        left = 0
        for index in run:
            if addresses[index] in self.pinned:
                left += 1
            elif self.room <= 0:
                raise TargetFull("move_pages", errno.ENOMEM)
            else:
                self.nodes[addresses[index]] = nodes[index]
                self.room -= 1
        if not left:
            for index in run:
                status[index] = nodes[index]
        return left


def played(kernel: ScriptedKernel, monkeypatch: pytest.MonkeyPatch) -> ScriptedKernel:
    """This kernel from now on."""
    monkeypatch.setattr(syscalls, "move_pages", kernel.move_pages)
    return kernel


@given(
    fates=st.lists(st.sampled_from(("away", "home", "other", "shared", "pinned", "absent")), max_size=40),
)
def test_the_account_is_true_whatever_stays(fates: list[str]) -> None:
    """What moved, what was in place, and why the rest stayed; whatever the order in which the kernel gives up."""
    start = {"away": 0, "home": 1, "other": 2, "shared": 0, "pinned": 0}
    kernel = ScriptedKernel(
        {PAGE * at: start[fate] for at, fate in enumerate(fates) if fate in start},
        frozenset(PAGE * at for at, fate in enumerate(fates) if fate == "shared"),
        frozenset(PAGE * at for at, fate in enumerate(fates) if fate == "pinned"),
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        played(kernel, monkeypatch)
        moved = mempolicy.move_pages([PAGE * at for at in range(len(fates))], 1)
    left = {
        errno.EACCES: fates.count("shared"),
        errno.EBUSY: fates.count("pinned"),
        errno.ENOENT: fates.count("absent"),
    }
    assert moved.moved == fates.count("away") + fates.count("other")
    assert moved.in_place == fates.count("home")
    assert moved.left == {number: count for number, count in left.items() if count}


def test_pages_go_sorted_by_their_node_and_none_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call for each target, with nothing in it that would stop the kernel from gathering."""
    kernel = played(ScriptedKernel({PAGE * at: 0 for at in range(10)}), monkeypatch)
    moved = mempolicy.move_pages([PAGE * at for at in range(10)], [0, 1, 2, 1, 0, 2, 1, 2, 1, 0])
    assert moved == Moved(7, 3, {})
    assert sorted(kernel.calls) == [3, 4]


def test_pages_that_are_away_without_exception_go_as_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual case is one comparison and one call: nothing is picked or copied page by page."""
    given: list[object] = []
    kernel = ScriptedKernel({PAGE * at: 0 for at in range(10)})

    def move_pages(pid: int, addresses: "array[int]", *rest: object, **more: object) -> int:
        given.append(addresses)
        return kernel.move_pages(pid, addresses, *rest, **more)  # type: ignore[arg-type]  # the rest is as the call has it

    monkeypatch.setattr(syscalls, "move_pages", move_pages)
    addresses = array("Q", range(0, 10 * PAGE, PAGE))
    assert mempolicy.move_pages(addresses, 1) == Moved(10, 0, {})
    assert len(given) == 2
    assert all(each is addresses for each in given)


def test_what_may_not_be_moved_at_all_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses MOVE_ALL without the capability before the first page, so nothing was stopped on its way."""

    def refused(
        _: int, addresses: Sequence[int], nodes: object, status: "array[int]", *, move_all: bool = False
    ) -> int:
        status[:] = array("i", (0,)) * len(addresses)
        if nodes is not None and move_all:
            raise Denied("move_pages", errno.EPERM)
        return 0

    monkeypatch.setattr(syscalls, "move_pages", refused)
    with pytest.raises(Denied):
        mempolicy.move_pages([PAGE], 1, move_all=True)


def test_a_full_target_stops_the_move_and_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel gives no count."""
    played(ScriptedKernel({PAGE * at: 0 for at in range(10)}, room=6), monkeypatch)
    with pytest.raises(MoveStoppedError, match="node 1 has no room left; 6 pages moved") as stopped:
        mempolicy.move_pages([PAGE * at for at in range(10)], 1)
    assert isinstance(stopped.value.__cause__, KernelCallError)
    assert stopped.value.moved == Moved(6, 0, {})
