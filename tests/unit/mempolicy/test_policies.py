"""Policies of threads, buffers and blocks, on this host's own kernel: one node is enough to set and ask them."""

import mmap
import threading

import numpy as np
import pytest

from numaplace import mempolicy
from numaplace.mempolicy import ModeFlag, Move, OutsideCpuset, PolicyMode

HERE = min(mempolicy.mems_allowed())
NOWHERE = 1 + max(mempolicy.mems_allowed())


def test_a_policy_holds_for_its_block_and_thread() -> None:
    """It is undone after an error too, and no other thread sees it."""
    before = mempolicy.get_mempolicy()
    seen: list[mempolicy.MemoryPolicy] = []
    begun, go_on = threading.Event(), threading.Event()

    def other() -> None:
        begun.set()
        go_on.wait()
        seen.append(mempolicy.get_mempolicy())

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait()
    with mempolicy.policy(PolicyMode.BIND, {HERE}):
        assert mempolicy.get_mempolicy() == mempolicy.MemoryPolicy(PolicyMode.BIND, ModeFlag.NONE, frozenset({HERE}))
        go_on.set()
        thread.join()
    assert seen == [before]
    with pytest.raises(ZeroDivisionError):
        _fail_within_a_policy()
    assert mempolicy.get_mempolicy() == before


def _fail_within_a_policy() -> None:
    with mempolicy.policy(PolicyMode.BIND, {HERE}):
        _ = 1 / 0


def test_a_thread_started_within_inherits() -> None:
    """As the kernel has it for fork and clone."""
    seen = []
    with mempolicy.policy(PolicyMode.PREFERRED, {HERE}):
        other = threading.Thread(target=lambda: seen.append(mempolicy.get_mempolicy().mode))
        other.start()
        other.join()
    assert seen == [PolicyMode.PREFERRED]


def test_a_buffer_is_bound_by_its_whole_pages() -> None:
    """Its policy can be asked for by the buffer; those around it keep theirs."""
    area = mempolicy.alloc_local(16 * 4096)
    inside = memoryview(area)[100 : 9 * 4096 + 100]
    bound = mempolicy.mbind(inside, PolicyMode.BIND, {HERE}, flags=ModeFlag.STATIC_NODES)
    assert bound.length_bytes == 8 * 4096
    assert mempolicy.get_mempolicy(bound) == mempolicy.MemoryPolicy(
        PolicyMode.BIND, ModeFlag.STATIC_NODES, frozenset({HERE})
    )
    assert mempolicy.get_mempolicy(area).mode is PolicyMode.LOCAL
    del inside


@pytest.mark.parametrize("move", Move)
def test_pages_that_are_in_place_satisfy_every_way_of_binding(move: Move) -> None:
    """On one node nothing is misplaced, so strictness has nothing to say."""
    area = mempolicy.alloc_local(1 << 16)
    area.write(b"x" * (1 << 16))
    mempolicy.mbind(area, PolicyMode.BIND, {HERE}, move=move, strict=True)
    assert mempolicy.where(area).by_node == {HERE: 1 << 16}


def test_nodes_that_cannot_be_had_are_named() -> None:
    """EINVAL says nothing of why."""
    for refused in (
        lambda: mempolicy.set_mempolicy(PolicyMode.BIND, {NOWHERE}),
        lambda: mempolicy.mbind(mempolicy.alloc_local(4096), PolicyMode.BIND, {NOWHERE}),
        lambda: mempolicy.alloc_onnode(4096, NOWHERE),
        lambda: mempolicy.alloc_interleaved(4096, {NOWHERE}),
    ):
        with pytest.raises(OutsideCpuset, match=rf"nodes \[{NOWHERE}\] are not among"):
            refused()
    assert mempolicy.get_mempolicy().mode is PolicyMode.DEFAULT


@pytest.mark.parametrize(
    ("mode", "nodes", "words"),
    [
        (PolicyMode.DEFAULT, {0}, "takes no nodes"),
        (PolicyMode.LOCAL, {0}, "takes no nodes"),
        (PolicyMode.BIND, (), "needs the nodes"),
        (PolicyMode.INTERLEAVE, (), "needs the nodes"),
        (PolicyMode.PREFERRED, {0, 1}, "PREFERRED_MANY"),
    ],
)
def test_nodes_that_do_not_fit_the_mode_are_refused_in_words(mode: PolicyMode, nodes: set[int], words: str) -> None:
    """The kernel would say EINVAL, or take the first of them in silence."""
    with pytest.raises(ValueError, match=words):
        mempolicy.set_mempolicy(mode, nodes)


def test_a_mode_that_the_kernel_does_not_know_is_named() -> None:
    """Every kernel refuses balancing for interleaved memory, with the same word as for a node that is not there."""
    for refused in (
        lambda: mempolicy.set_mempolicy(PolicyMode.INTERLEAVE, {HERE}, ModeFlag.NUMA_BALANCING),
        lambda: mempolicy.mbind(
            mempolicy.alloc_local(4096), PolicyMode.INTERLEAVE, {HERE}, flags=ModeFlag.NUMA_BALANCING
        ),
    ):
        with pytest.raises(mempolicy.Unsupported, match="does not know INTERLEAVE with NUMA_BALANCING"):
            refused()
    both = ModeFlag.STATIC_NODES | ModeFlag.RELATIVE_NODES
    with pytest.raises(ValueError, match="exclude each other"):
        mempolicy.set_mempolicy(PolicyMode.BIND, {HERE}, both)


def test_a_hole_is_named() -> None:
    """EFAULT alone would say nothing of a buffer that was unmapped since."""
    with pytest.raises(mempolicy.KernelCallError, match="hole in the range"):
        mempolicy.mbind(mempolicy.Range(1 << 45, 4096), PolicyMode.BIND, {HERE})


def test_a_home_node_is_for_bound_memory_only() -> None:
    """Under BIND it is taken; elsewhere the kernel has no use for it."""
    bound = mempolicy.alloc_onnode(1 << 16, HERE)
    assert mempolicy.set_mempolicy_home_node(bound, HERE).length_bytes == 1 << 16
    with pytest.raises(mempolicy.Unsupported, match="neither BIND nor PREFERRED_MANY"):
        mempolicy.set_mempolicy_home_node(mempolicy.alloc_interleaved(1 << 16, {HERE}), HERE)
    with pytest.raises(mempolicy.KernelCallError, match="no policy of its own"):
        mempolicy.set_mempolicy_home_node(mmap.mmap(-1, 1 << 16, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), HERE)


def test_allocations_are_zeroed_bound_and_as_long_as_asked() -> None:
    """Buffers are rounded up to pages, arrays have their shape and type."""
    buffer = mempolicy.alloc_onnode(5000, HERE)
    assert (len(buffer), buffer[4999]) == (8192, 0)
    assert mempolicy.get_mempolicy(buffer).mode is PolicyMode.BIND
    assert mempolicy.get_mempolicy(mempolicy.alloc_onnode(5000, HERE, strict=False)).mode is PolicyMode.PREFERRED
    assert mempolicy.get_mempolicy(mempolicy.alloc_interleaved(5000, {HERE})).mode is PolicyMode.INTERLEAVE
    made = mempolicy.array_onnode((3, 1000), HERE, np.int16)
    assert (made.shape, made.dtype, int(made.sum())) == ((3, 1000), np.dtype(np.int16), 0)
    made += 1
    assert mempolicy.where(made).by_node == {HERE: 8192}
    assert mempolicy.array_interleaved(0, {HERE}).shape == (0,)
    with pytest.raises(ValueError, match="at least one byte"):
        mempolicy.alloc_local(0)
    with pytest.raises(ValueError, match="references"):
        mempolicy.array_onnode(3, HERE, object)
