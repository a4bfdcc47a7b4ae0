"""The calls that move a process's pages, and the one place that makes system calls by number.

What a caller must know (mm/migrate.c and mm/mempolicy.c of 6.1, 6.12 and 7.2, and seen on those kernels):

- Both moving calls block until the pages are copied and cannot be cancelled, so they refuse to run on a thread with a
  running event loop. ctypes releases the interpreter's lock around each call.
- `move_pages` that fails in part writes no status for the failing run: prefill a sentinel, and query again with
  `nodes=None` after any return but 0. A raised error leaves the status buffer as the kernel left it.
- `migrate_pages` with CAP_SYS_NICE moves shared pages too (MOVE_ALL), and takes pages out of the task's cpuset.
- Both answer EINVAL for a task that is exiting, as for bad arguments; a process without memory is told apart here.
- From Linux 6.1 to 6.4 (commits 474098edac26, d74943a2f3cd) `move_pages` takes a page that AutoNUMA has marked, by a
  table entry without rights, for absent: its status is -ENOENT (a huge page's -EFAULT), moving and asking.
  `process_vm_readv` touches the page as its process would, which takes the mark off.
"""

import ctypes
import errno
import functools
import sys
from collections.abc import Collection
from typing import Protocol

from numaplace.kernel.arch import native_numbers
from numaplace.kernel.errors import KernelCallError, ProcessGone, translate
from numaplace.kernel.policy import MoveFlag, mask_longs, max_node, node_mask

_ADDRESS_FORMATS = frozenset("QLN")
_INT_FORMATS = frozenset("i")
_BYTE_FORMATS = frozenset("Bbc")

PIECES_MAX = 1024
"""So many pieces of memory are read by one call at most (UIO_MAXIOV of linux/uio.h)."""

# These answer EINVAL for a task whose memory is gone already; see _without_memory.
_TAKES_A_PROCESS = frozenset({"migrate_pages", "move_pages"})


class WritableBuffer(Protocol):
    """Anything with a writable buffer: `array.array`, `bytearray`, `memoryview`, and a NumPy array by its `.data`.

    A NumPy array itself works too, but on Python 3.11 its type stubs do not say so.
    """

    def __buffer__(self, flags: int, /) -> memoryview:
        """Give the memory, as PEP 688 has it."""


class EventLoopBlocked(RuntimeError):  # noqa: N818 - says what happened
    """A call that blocks for as long as a move takes was made on a thread with a running event loop."""

    def __init__(self, call: str) -> None:
        super().__init__(f"{call} blocks; call it on a thread of its own, not on the event loop's")


def forbid_event_loop(call: str) -> None:
    """Refuse to go on if this thread runs an asyncio event loop.

    asyncio is looked up, not imported: where nobody imported it no loop runs, and it costs 70 ms to import.

    Raises:
        EventLoopBlocked: a loop runs on this thread.
    """
    events = sys.modules.get("asyncio.events")
    if events is not None and events._get_running_loop() is not None:  # noqa: SLF001 - get_running_loop() raises instead, at twice the cost
        raise EventLoopBlocked(call)


@functools.cache
def _libc() -> ctypes.CDLL:
    """Return the C library; a CDLL, not a PyDLL, releases the interpreter's lock during each call."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def libc_function(name: str) -> "ctypes._NamedFuncPointer":
    """Return a C library function by name, for the few calls that have a wrapper there (inotify)."""
    function: ctypes._NamedFuncPointer = getattr(_libc(), name)
    return function


def system_call(name: str, *arguments: object, pid: int | None = None) -> int:
    """Make a system call by name and return what it returned.

    Args:
        name: a field of `SyscallNumbers`.
        *arguments: ctypes instances, each as wide as the kernel's parameter; 0 for a null pointer.
        pid: the process it is about, for the error.

    Raises:
        KernelCallError: the class that `errors.translate` has for its errno.
        UnsupportedArchitecture: the number of the call is not known on this machine.
    """
    if pid is not None and pid != ctypes.c_int(pid).value:
        # The kernel would read the lower half, and mean another process: 1 << 32 is the caller itself.
        raise translate(name, errno.ESRCH, pid)
    number = getattr(native_numbers(), name)
    result: int = _libc().syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise _refusal(name, ctypes.get_errno(), pid)
    return result


def _refusal(name: str, number: int, pid: int | None) -> KernelCallError:
    if number == errno.EINVAL and name in _TAKES_A_PROCESS and pid is not None and _without_memory(pid):
        return ProcessGone(name, number, pid)
    return translate(name, number, pid)


def _without_memory(pid: int) -> bool:
    """Whether a process has no address space (any more): exiting, a zombie, a kernel thread, or gone by now."""
    from numaplace.kernel.files import read_bytes  # noqa: PLC0415 - an error's business, and a fifth of an import's time

    try:
        return pid != 0 and read_bytes(f"/proc/{pid}/statm").startswith(b"0 ")
    except OSError:
        return True


def migrate_pages(pid: int, sources: Collection[int], targets: Collection[int]) -> int:
    """Move a whole process's pages from nodes to nodes, the n-th source to the n-th target by rank (migrate_pages(2)).

    Blocks until all is copied; before Linux 6.7 the process cannot `mmap()` meanwhile.

    Returns:
        What was not moved, in mixed units (folios); shared pages that were skipped are not in it.

    Raises:
        ProcessGone: no such process, or it has no memory (any more).
        TargetFull: a target ran dry, after a part had moved; the kernel gives no count.
        Denied: no ptrace access, or a target outside the process's cpuset without CAP_SYS_NICE.
        KernelCallError: EINVAL if no target is among the caller's own mems.
        EventLoopBlocked: called on an event loop's thread.
        ValueError: a set is empty.
    """
    forbid_event_loop("migrate_pages")
    if not sources or not targets:
        raise ValueError("migrate_pages needs at least one source and one target node")
    longs = max(mask_longs(sources), mask_longs(targets))
    return system_call(
        "migrate_pages",
        ctypes.c_int(pid),
        ctypes.c_ulong(max_node(longs)),
        node_mask(sources, longs),
        node_mask(targets, longs),
        pid=pid,
    )


def move_pages(
    pid: int,
    addresses: WritableBuffer,
    nodes: WritableBuffer | None,
    status: WritableBuffer,
    *,
    move_all: bool = False,
) -> int:
    """Move each of these pages to its node, or with `nodes=None` only ask where each is (move_pages(2)).

    The buffers are used in place, without a copy.

    Args:
        pid: the process; 0 is the caller.
        addresses: 8-byte unsigned, one per page (one per huge page).
        nodes: 4-byte signed, the target of each; None to query.
        status: 4-byte signed, one per page; written by the kernel with a node, or a negated errno.
        move_all: also pages that several processes map; needs CAP_SYS_NICE.

    Returns:
        0, or how many pages were not moved (those that were never tried included); then the statuses of the failing
        run are not written.

    Raises:
        ProcessGone: no such process, or it has no memory (any more).
        OutsideCpuset: a target is outside the process's cpuset; pages before it in the list may have moved.
        TargetFull: a target ran dry; a part may have moved.
        Denied: no ptrace access, or move_all without CAP_SYS_NICE.
        KernelCallError: ENODEV for a node that is not online or has no memory; EFAULT.
        EventLoopBlocked: called on an event loop's thread.
        TypeError, ValueError: a buffer of another item type, shape or length.
    """
    forbid_event_loop("move_pages")
    count = len(memoryview(addresses))
    holds = [_pin(addresses, _ADDRESS_FORMATS, 8, count, "addresses"), _pin(status, _INT_FORMATS, 4, count, "status")]
    if nodes is not None:
        holds.append(_pin(nodes, _INT_FORMATS, 4, count, "nodes"))
    if count == 0:
        return 0
    flags = MoveFlag.MOVE_ALL if move_all else MoveFlag.MOVE
    pages, statuses, *targets = (ctypes.c_char.from_buffer(hold) for hold in holds)
    return system_call(
        "move_pages",
        ctypes.c_int(pid),
        ctypes.c_ulong(count),
        ctypes.byref(pages),
        ctypes.byref(targets[0]) if targets else None,
        ctypes.byref(statuses),
        ctypes.c_int(flags),
        pid=pid,
    )


def process_vm_readv(pid: int, pieces: WritableBuffer, into: WritableBuffer) -> int:
    """Read pieces of a process's memory into one buffer, one piece behind the other (process_vm_readv(2)).

    A page that is absent is faulted in, in the name of the calling thread, as if its process had touched it. Blocks
    while the process holds its address space's lock.

    Args:
        pid: the process.
        pieces: 8-byte unsigned, two for each piece: its address and how many bytes of it. PIECES_MAX pieces at most.
            Written by nobody.
        into: bytes; written by the kernel, and no further than its end.

    Returns:
        How many bytes were read. Fewer than there are: the piece after them could not be, and none behind it was tried.

    Raises:
        ProcessGone: no such process, or it has no memory (any more).
        Denied: no ptrace access to attach; `move_pages` needs only that to read.
        Unsupported: a kernel without CONFIG_CROSS_MEMORY_ATTACH.
        KernelCallError: EFAULT if the first piece could not be read: nothing is mapped there, or nothing readable.
        EventLoopBlocked: called on an event loop's thread.
        TypeError, ValueError: a buffer of another item type or shape, half a piece, or too many of them.
    """
    forbid_event_loop("process_vm_readv")
    words, size_bytes = len(memoryview(pieces)), len(memoryview(into))
    wanted = _pin(pieces, _ADDRESS_FORMATS, 8, words, "pieces")
    found = _pin(into, _BYTE_FORMATS, 1, size_bytes, "into")
    if words % 2 or words > 2 * PIECES_MAX:
        raise ValueError(f"pieces: pairs of an address and a length wanted, {PIECES_MAX} at most, not {words} items")
    if not words or not size_bytes:
        return 0
    target = ctypes.c_char.from_buffer(found)
    local = (ctypes.c_size_t * 2)(ctypes.addressof(target), size_bytes)
    return system_call(
        "process_vm_readv",
        ctypes.c_int(pid),
        ctypes.byref(local),
        ctypes.c_ulong(1),
        ctypes.byref(ctypes.c_char.from_buffer(wanted)),
        ctypes.c_ulong(words // 2),
        ctypes.c_ulong(0),
        pid=pid,
    )


def _pin(buffer: WritableBuffer, formats: frozenset[str], item_bytes: int, count: int, what: str) -> memoryview:
    """Return a view of a buffer after checking that the kernel may read and write it as this array."""
    view = memoryview(buffer)
    if view.format.lstrip("@=") not in formats or view.itemsize != item_bytes:
        raise TypeError(f"{what}: items of {item_bytes} bytes in native order wanted, not format {view.format!r}")
    if view.ndim != 1 or not view.c_contiguous or view.readonly:
        raise ValueError(f"{what}: a writable, contiguous, one-dimensional buffer wanted")
    if len(view) != count:
        raise ValueError(f"{what}: {len(view)} items for {count} addresses")
    return view


def pidfd_open(pid: int, flags: int = 0) -> int:
    """Return a file descriptor of a process, close-on-exec, readable once it has exited (pidfd_open(2)).

    `os.pidfd_open` is missing from interpreters that were built on old headers.

    Raises:
        ProcessGone: no such process.
    """
    return system_call("pidfd_open", ctypes.c_int(pid), ctypes.c_uint(flags), pid=pid)
