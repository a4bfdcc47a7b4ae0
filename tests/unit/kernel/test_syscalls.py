"""The calls that move memory, on the kernel that runs this: one node is enough to see every shape of their answers."""

import array
import asyncio
import ctypes
import errno
import mmap
import os
import subprocess
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from numaplace.kernel import mempolicy, policy, syscalls
from numaplace.kernel.errors import KernelCallError, ProcessGone
from numaplace.kernel.pagemap import PAGE_BYTES

PAGES = 8
SENTINEL = -12_345


@pytest.fixture
def pages() -> Iterator[list[int]]:
    """Return the addresses of pages of this process, the first half of them touched."""
    with mmap.mmap(-1, PAGES * PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[: PAGES // 2 * PAGE_BYTES] = b"x" * (PAGES // 2 * PAGE_BYTES)
        hold = ctypes.c_char.from_buffer(memory)
        start = ctypes.addressof(hold)
        yield [start + i * PAGE_BYTES for i in range(PAGES)]
        del hold


@pytest.fixture
def here() -> int:
    """Return a node that has memory and that this process may use."""
    return min(mempolicy.mems_allowed())


def ints(values: list[int]) -> "array.array[int]":
    """Return 4-byte signed integers as the kernel takes them."""
    return array.array("i", values)


def addresses(values: list[int]) -> "array.array[int]":
    """Return addresses as the kernel takes them."""
    return array.array("Q", values)


def test_query_tells_the_node_of_touched_pages_only(pages: list[int]) -> None:
    """A touched page has its node; a never-touched one a negated errno, which differs by kernel."""
    status = ints([SENTINEL] * PAGES)
    assert syscalls.move_pages(os.getpid(), addresses(pages), None, status) == 0
    assert all(node in mempolicy.mems_allowed() for node in status[: PAGES // 2])
    assert set(status[PAGES // 2 :]) <= {-errno.ENOENT, -errno.EFAULT}


def test_query_fills_numpy_arrays_in_place(pages: list[int]) -> None:
    """NumPy arrays are used where they are: without a copy and without this package knowing NumPy."""
    where = np.array(pages[: PAGES // 2], dtype=np.uint64)
    status = np.full(PAGES // 2, SENTINEL, dtype=np.int32)
    assert syscalls.move_pages(0, where.data, None, status.data) == 0
    assert (status >= 0).all()


def test_move_to_where_pages_are_moves_nothing(pages: list[int], here: int) -> None:
    """Moving pages to their own node succeeds, with each page's node as its status."""
    touched = pages[: PAGES // 2]
    status = ints([SENTINEL] * len(touched))
    assert syscalls.move_pages(os.getpid(), addresses(touched), ints([here] * len(touched)), status) == 0
    assert status.tolist() == [here] * len(touched)


def test_move_to_a_node_that_is_not_there_names_the_errno(pages: list[int]) -> None:
    """A bad node raises with the kernel's errno, and leaves the status buffer to be read."""
    status = ints([SENTINEL])
    with pytest.raises(KernelCallError) as caught:
        syscalls.move_pages(os.getpid(), addresses(pages[:1]), ints([1023]), status)
    assert caught.value.errno == errno.ENODEV
    assert status[0] in {SENTINEL, -errno.ENODEV}


def test_no_pages_is_no_call() -> None:
    """An empty list is answered without asking the kernel."""
    assert syscalls.move_pages(0, addresses([]), None, ints([])) == 0
    assert syscalls.process_vm_readv(0, addresses([]), bytearray(8)) == 0


def test_pieces_of_memory_are_read_one_behind_the_other(pages: list[int]) -> None:
    """Each piece's bytes follow those of the piece before; no further than the buffer's end."""
    ctypes.memmove(pages[0], b"ab", 2)
    ctypes.memmove(pages[1], b"cd", 2)
    pieces, found = addresses([pages[0], 1, pages[1], 2, pages[0], 2]), bytearray(b"....")
    assert syscalls.process_vm_readv(os.getpid(), pieces, found) == 4
    assert found == b"acda"


def test_reading_ends_before_the_piece_that_is_not_there(pages: list[int]) -> None:
    """A short return says which piece could not be read; if it is the first, that is the kernel's EFAULT."""
    found = bytearray(3)
    assert syscalls.process_vm_readv(os.getpid(), addresses([pages[0], 1, 0, 1, pages[1], 1]), found) == 1
    assert found == b"x\0\0"
    with pytest.raises(KernelCallError) as caught:
        syscalls.process_vm_readv(os.getpid(), addresses([0, 1, pages[0], 1]), found)
    assert caught.value.errno == errno.EFAULT


def test_as_many_pieces_as_the_kernel_takes_are_read_at_once(pages: list[int]) -> None:
    """PIECES_MAX is the kernel's limit: so many are read, and one more never reaches it."""
    found = bytearray(syscalls.PIECES_MAX + 1)
    most = addresses([pages[0], 1] * syscalls.PIECES_MAX)
    assert syscalls.process_vm_readv(os.getpid(), most, found) == syscalls.PIECES_MAX
    with pytest.raises(ValueError, match="1024"):
        syscalls.process_vm_readv(os.getpid(), most + addresses([pages[0], 1]), found)


@pytest.mark.parametrize(
    ("pieces", "into", "expected"),
    [
        (addresses([0, 1, 0]), bytearray(2), ValueError),
        (array.array("I", [0, 1]), bytearray(2), TypeError),
        (addresses([0, 1]), ints([0]), TypeError),
        (addresses([0, 1]), memoryview(bytes(2)), ValueError),
        (memoryview(addresses([0, 1, 2, 3]))[::2], bytearray(2), ValueError),
    ],
)
def test_buffers_that_a_reading_would_overrun_are_refused(
    pieces: syscalls.WritableBuffer, into: syscalls.WritableBuffer, expected: type[Exception]
) -> None:
    """Half a piece, other item types, holes between the items and memory that may not be written are refused."""
    with pytest.raises(expected):
        syscalls.process_vm_readv(os.getpid(), pieces, into)


@pytest.mark.parametrize(
    ("where", "nodes", "status", "expected"),
    [
        (array.array("I", [0]), None, ints([0]), TypeError),
        (array.array("d", [0.0]), None, ints([0]), TypeError),
        (addresses([0]), None, array.array("q", [0]), TypeError),
        (addresses([0]), None, array.array("I", [0]), TypeError),
        (addresses([0]), None, ints([0, 0]), ValueError),
        (addresses([0]), None, ints([]), ValueError),
        (addresses([0]), ints([0, 0]), ints([0]), ValueError),
        (addresses([0]), array.array("h", [0]), ints([0]), TypeError),
        (memoryview(addresses([0, 1, 2, 3]))[::2], None, ints([0, 0]), ValueError),
        (addresses([0]), None, memoryview(ints([0])).toreadonly(), ValueError),
        (np.array([0], dtype=">u8").data, None, ints([0]), TypeError),
        (np.zeros((2, 2), dtype=np.uint64).data, None, ints([0, 0]), ValueError),
    ],
)
def test_buffers_the_kernel_would_misread_are_refused(
    where: syscalls.WritableBuffer,
    nodes: syscalls.WritableBuffer | None,
    status: syscalls.WritableBuffer,
    expected: type[Exception],
) -> None:
    """Item type, order, length, shape and mutability are checked: the kernel would write past a wrong buffer."""
    with pytest.raises(expected):
        syscalls.move_pages(0, where, nodes, status)


def test_buffer_cannot_be_resized_under_the_kernel(pages: list[int]) -> None:
    """After the call the buffers are free again; during it they are exported, so none can be resized."""
    status = ints([0])
    syscalls.move_pages(0, addresses(pages[:1]), None, status)
    status.append(1)
    assert len(status) == 2


@pytest.mark.parametrize("far", [0, 63, 64, 200, 1000])
def test_migrate_takes_node_ids_of_any_size(here: int, far: int) -> None:
    """Masks are long enough for every id, and a source that has none of our pages adds nothing."""
    assert syscalls.migrate_pages(os.getpid(), {here, far}, {here}) == 0


def test_migrate_without_a_usable_target_is_the_kernels_einval() -> None:
    """EINVAL of a living process with memory stays an error about the arguments."""
    with pytest.raises(KernelCallError) as caught:
        syscalls.migrate_pages(os.getpid(), {0}, {1000})
    assert not isinstance(caught.value, ProcessGone)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(("sources", "targets"), [(set(), {0}), ({0}, set()), ({-1}, {0}), ({0}, {1 << 40})])
def test_migrate_refuses_sets_that_mean_nothing(sources: set[int], targets: set[int]) -> None:
    """An empty set, a negative id, or one that would need a mask of gigabytes never reaches the kernel."""
    with pytest.raises(ValueError, match="node"):
        syscalls.migrate_pages(0, sources, targets)


@pytest.mark.parametrize("pid", [1 << 32, (1 << 32) + os.getpid(), -(1 << 40)])
def test_a_pid_that_is_wider_than_the_kernels_is_nobodys(pid: int) -> None:
    """Cut to 32 bits it would be this process, or another."""
    with pytest.raises(ProcessGone):
        syscalls.move_pages(pid, addresses([0]), None, ints([0]))
    with pytest.raises(ProcessGone):
        syscalls.migrate_pages(pid, {0}, {0})


def test_process_that_is_gone_is_said_to_be_gone(gone: int) -> None:
    """ESRCH of each call is ProcessGone with the pid."""
    calls: tuple[Callable[[], int], ...] = (
        lambda: syscalls.migrate_pages(gone, {0}, {0}),
        lambda: syscalls.move_pages(gone, addresses([0]), None, ints([0])),
        lambda: syscalls.pidfd_open(gone),
        lambda: syscalls.process_vm_readv(gone, addresses([0, 1]), bytearray(1)),
    )
    for call in calls:
        with pytest.raises(ProcessGone) as caught:
            call()
        assert caught.value.pid == gone


def test_exiting_process_is_gone_though_the_kernel_says_einval(zombie: int) -> None:
    """A task without memory answers EINVAL as bad arguments do: it is told apart."""
    with pytest.raises(ProcessGone):
        syscalls.migrate_pages(zombie, {0}, {0})
    with pytest.raises(ProcessGone):
        syscalls.move_pages(zombie, addresses([0]), None, ints([0]))
    with pytest.raises(ProcessGone):
        syscalls.process_vm_readv(zombie, addresses([0, 1]), bytearray(1))


def test_pidfd_becomes_readable_at_exit(sleeper: subprocess.Popen[bytes]) -> None:
    """A pidfd of a living process can be waited on, and is not inherited."""
    descriptor = syscalls.pidfd_open(sleeper.pid)
    try:
        assert not os.get_inheritable(descriptor)
        sleeper.kill()
        assert os.waitid(os.P_PIDFD, descriptor, os.WEXITED) is not None
    finally:
        os.close(descriptor)


def test_blocking_calls_refuse_an_event_loop() -> None:
    """A move blocks for seconds: on the loop's thread it is refused, on another thread beside it it is not."""

    async def main() -> None:
        with pytest.raises(syscalls.EventLoopBlocked, match="migrate_pages"):
            syscalls.migrate_pages(0, {0}, {0})
        with pytest.raises(syscalls.EventLoopBlocked):
            syscalls.move_pages(0, addresses([0]), None, ints([0]))
        with pytest.raises(syscalls.EventLoopBlocked):
            syscalls.process_vm_readv(os.getpid(), addresses([0, 1]), bytearray(1))
        with pytest.raises(syscalls.EventLoopBlocked):
            mempolicy.mbind(0, PAGE_BYTES, policy.PolicyMode.DEFAULT, move=policy.MoveFlag.MOVE)
        assert await asyncio.to_thread(syscalls.migrate_pages, 0, {0}, {0}) == 0

    asyncio.run(main())
    syscalls.forbid_event_loop("nothing runs here")


def test_policy_of_a_range_is_what_was_set(pages: list[int], here: int) -> None:
    """A bound range says so, with its flags; its pages are on the node."""
    mempolicy.mbind(
        pages[0],
        PAGES * PAGE_BYTES,
        policy.PolicyMode.BIND,
        {here},
        policy.ModeFlag.STATIC_NODES,
        policy.MoveFlag.MOVE | policy.MoveFlag.STRICT,
    )
    found = mempolicy.policy_at(pages[0])
    expected = mempolicy.MemoryPolicy(policy.PolicyMode.BIND, policy.ModeFlag.STATIC_NODES, frozenset({here}))
    assert found == expected
    assert mempolicy.node_of(pages[0]) == here
    mempolicy.set_mempolicy_home_node(pages[0], PAGES * PAGE_BYTES, here)


def test_policy_of_a_thread_is_its_own(here: int) -> None:
    """A thread's policy is set and asked by itself, and is no other thread's."""
    found: list[mempolicy.MemoryPolicy] = []

    def body() -> None:
        mempolicy.set_mempolicy(policy.PolicyMode.PREFERRED, {here})
        found.append(mempolicy.get_mempolicy())

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert found == [mempolicy.MemoryPolicy(policy.PolicyMode.PREFERRED, policy.ModeFlag.NONE, frozenset({here}))]
    assert mempolicy.get_mempolicy().mode is policy.PolicyMode.DEFAULT


def test_policy_the_kernel_refuses_is_an_error() -> None:
    """BIND without nodes, and a hole in the address space, are the kernel's EINVAL and EFAULT."""
    with pytest.raises(KernelCallError) as caught:
        mempolicy.set_mempolicy(policy.PolicyMode.BIND)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(KernelCallError) as caught:
        mempolicy.node_of(PAGE_BYTES)
    assert caught.value.errno == errno.EFAULT


def test_last_bit_of_a_mask_reaches_the_kernel() -> None:
    """The kernel reads one bit less than `maxnode`: a lost bit 63 would leave an empty set, which PREFERRED takes."""
    absent = 63
    assert absent not in mempolicy.mems_allowed()
    with pytest.raises(KernelCallError) as caught:
        mempolicy.set_mempolicy(policy.PolicyMode.PREFERRED, {absent})
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("nodes", [set(), {0}, {63}, {64}, {0, 1, 64, 1023}])
def test_node_masks_keep_every_bit(nodes: set[int]) -> None:
    """A mask read back gives the same nodes."""
    mask = policy.node_mask(nodes, policy.mask_longs(nodes))
    assert policy.nodes_of_mask(mask) == nodes
    assert len(mask) == max(nodes, default=0) // 64 + 1
