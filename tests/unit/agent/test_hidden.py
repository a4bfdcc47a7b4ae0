"""Pages that only seem absent, in this process's own memory: what is there is revealed, what is not stays absent."""

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator

import numpy as np
import pytest

from node_agent.core.facts import ProcessRef
from node_agent.core.pages import Addresses, Ints, Mask
from node_agent.linux import hidden, process_memory
from node_agent.linux.hidden import kernel_hides
from node_agent.linux.pages import QueryReader
from node_agent.linux.process_memory import LinuxProcessMemory
from numaplace.kernel.errors import Denied, ProcessGone, Unsupported
from numaplace.kernel.mempolicy import get_mempolicy, set_mempolicy
from numaplace.kernel.pagemap import PAGE_BYTES
from numaplace.kernel.policy import PolicyMode
from numaplace.kernel.procfs import read_identity
from numaplace.kernel.syscalls import PIECES_MAX

PAGES = 2 * PIECES_MAX + 50
PROT_NONE, PROT_WRITE = 0, 3


class Hiding(LinuxProcessMemory):
    """This process's memory on a kernel that does not find the pages of ``marked`` until each has been read."""

    marked: Addresses = np.empty(0, np.uint64)

    def query(self, addresses: Addresses) -> Ints:
        """Absent if marked."""
        nodes = super().query(addresses)
        return np.where(np.isin(addresses, self.marked), np.int32(-errno.ENOENT), nodes)

    def reveal(self, addresses: Addresses) -> Mask:
        """Those that were read are marked no more."""
        revealed = super().reveal(addresses)
        self.marked = self.marked[~np.isin(self.marked, addresses[revealed])]
        return revealed


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hiding]:
    """This process, without frames, on a kernel that hides pages."""
    monkeypatch.setattr(process_memory, "kernel_hides", lambda: True)
    ref = ProcessRef(os.getpid(), read_identity(os.getpid()).start_ticks)
    opened = Hiding(ref, QueryReader(0))
    yield opened
    opened.close()


@pytest.fixture
def pages() -> Iterator[Addresses]:
    """The addresses of base pages of this process of which every second one has been touched."""
    with mmap.mmap(-1, PAGES * PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            area.madvise(mmap.MADV_NOHUGEPAGE)
        for at in range(0, PAGES, 2):
            area[at * PAGE_BYTES] = 1
        hold = ctypes.c_char.from_buffer(area)
        start = ctypes.addressof(hold)
        yield np.arange(start, start + PAGES * PAGE_BYTES, PAGE_BYTES, dtype=np.uint64)
        del hold


def test_nothing_is_read_where_nothing_is_hidden(
    memory: Hiding, pages: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On other kernels what seems absent is; who is behind the page could keep the reader waiting."""
    monkeypatch.setattr(process_memory, "kernel_hides", lambda: False)
    monkeypatch.setattr(process_memory, "read_each", lambda *_: pytest.fail("a page was read"))
    assert not memory.reveal(pages).any()


def test_whether_pages_are_hidden_is_found_out_on_a_page_of_our_own() -> None:
    """Whatever the answer here; the page has its rights back, and the question is asked once."""
    assert kernel_hides() in {True, False}
    assert kernel_hides() is kernel_hides()


def every_second() -> Mask:
    """True, False, True and so on."""
    mask: Mask = np.arange(PAGES) % 2 == 0
    return mask


def test_what_is_present_is_revealed_and_nothing_is_faulted_in(memory: Hiding, pages: Addresses) -> None:
    """Touched pages are read, in whatever order they are named; pages never touched are as absent afterwards."""
    assert memory.reveal(pages).tolist() == every_second().tolist()
    assert memory.reveal(pages[::-1]).tolist() == every_second()[::-1].tolist()
    assert hidden.present_at(memory._pagemap, pages).tolist() == every_second().tolist()


def test_measuring_without_frames_finds_hidden_pages(memory: Hiding, pages: Addresses) -> None:
    """Where pages are measured by asking for their nodes, those that only seem absent are counted too."""
    memory.marked = pages[::4]
    found = memory.pages(int(pages[0]), int(pages[-1]) + PAGE_BYTES)
    assert found.addresses.tolist() == pages[::2].tolist()
    assert not len(memory.marked)


def test_pages_that_are_never_found_are_asked_for_twice_only(memory: Hiding, pages: Addresses) -> None:
    """A zero page is present and can be read, and still is not found: what was said of it stands."""
    for at in (1, 3):
        ctypes.c_char.from_address(int(pages[at])).value  # noqa: B018 - reading maps the page of zeros
    assert memory.reveal(pages[:5]).tolist() == [True] * 5
    said = np.array([1, -errno.EFAULT, -errno.ENOENT, -errno.EFAULT, -errno.EBUSY], np.int32)
    found = hidden.found_again(memory, pages[:5], said)
    assert found.tolist() == [1, -errno.EFAULT, found[2], -errno.EFAULT, -errno.EBUSY]
    assert found[2] >= 0


def test_pages_that_may_not_be_read_are_passed_over(memory: Hiding, pages: Addresses) -> None:
    """A page without any rights is present and cannot be read: it alone is not revealed, wherever it lies."""
    libc = ctypes.CDLL(None, use_errno=True)
    locked = [0, 6, 8, 2 * PIECES_MAX, PAGES - 2]
    for at in locked:
        assert libc.mprotect(ctypes.c_void_p(int(pages[at])), ctypes.c_size_t(PAGE_BYTES), PROT_NONE) == 0
    expected = every_second()
    expected[locked] = False
    assert memory.reveal(pages).tolist() == expected.tolist()
    for at in locked:
        assert libc.mprotect(ctypes.c_void_p(int(pages[at])), ctypes.c_size_t(PAGE_BYTES), PROT_WRITE) == 0


def test_addresses_beyond_everything_are_absent(memory: Hiding, pages: Addresses) -> None:
    """Holes, and the end of the address space, are no error and no page."""
    far = np.array([PAGE_BYTES, int(pages[0]), (1 << 47) - PAGE_BYTES, 1 << 63], np.uint64)
    assert memory.reveal(far).tolist() == [False, True, False, False]


@pytest.mark.parametrize("kind", [Denied, Unsupported])
def test_where_reading_is_not_allowed_nothing_is_revealed(
    memory: Hiding, pages: Addresses, monkeypatch: pytest.MonkeyPatch, kind: type[Denied | Unsupported]
) -> None:
    """Without the right or the call pages stay hidden; that is no fault."""

    def refuse(pid: int, *_: object) -> int:
        raise kind("process_vm_readv", errno.EPERM, pid)

    monkeypatch.setattr(hidden, "process_vm_readv", refuse)
    assert not memory.reveal(pages).any()


def test_a_process_that_is_gone_is_said_to_be_gone() -> None:
    """A process without memory is not mistaken for pages that cannot be read."""
    gone = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(gone, 0)
    with pytest.raises(ProcessGone):
        hidden.read_each(gone, np.array([PAGE_BYTES], np.uint64))


def test_the_reader_has_a_policy_of_its_own_only_while_it_reads() -> None:
    """While a thread has a policy the kernel carries no page to it for reading; afterwards it is what it was."""
    before = get_mempolicy()
    with hidden.staying_put():
        assert get_mempolicy().mode is PolicyMode.LOCAL
    assert get_mempolicy() == before
    set_mempolicy(PolicyMode.PREFERRED, {0})
    try:
        with hidden.staying_put():
            assert get_mempolicy().mode is PolicyMode.LOCAL
        assert get_mempolicy().mode is PolicyMode.PREFERRED
    finally:
        set_mempolicy(before.mode, before.nodes, before.flags)
