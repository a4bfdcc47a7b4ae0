"""Where pages are, and bringing them elsewhere: `move_pages` and `migrate_pages` without their traps.

`move_pages(2)` has three. It writes no status for the run of pages that failed, so whoever believes its array takes
them for moved. It gives up at the first run that fails, so whatever comes later was never tried. And a page in the
list that needs no move makes it slow, for it then moves what it has gathered page by page. Here pages in place are
left out, the rest goes target by target, what was never tried is sent again, and each page's own answer is asked for at
the end.

All of it is to cost a tenth of the call itself at most, so a step of Python for each page would be too much: arrays are
compared, counted and sifted whole.
"""

from __future__ import annotations  # array.array takes no parameters at run time before Python 3.12

import errno
import operator
import os
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from mmap import PAGESIZE as PAGE_BYTES
from types import MappingProxyType
from typing import NamedTuple

from numaplace.kernel import syscalls
from numaplace.kernel.errors import Denied, KernelCallError
from numaplace.mempolicy.ranges import Placeable, Range, pinned

ASKED_AT_ONCE = 1 << 20
"""Pages of one query: 12 MB of addresses and answers."""
_UNWRITTEN = -(1 << 30)
_ROUNDS_MAX = 8
"""A page that was never tried in so many calls is in somebody's hands."""


class Where(NamedTuple):
    """Where a buffer's pages are, in bytes of whole pages.

    ``absent_bytes``: never touched, swapped out, or only read so far (the kernel's page of zeros).
    """

    by_node: Mapping[int, int]
    absent_bytes: int = 0

    @property
    def resident_bytes(self) -> int:
        """The sum over all nodes."""
        return sum(self.by_node.values())


class Moved(NamedTuple):
    """What became of pages: ``moved`` and ``in_place`` count them, ``left`` those that stayed, by errno.

    EACCES: several processes map it (ask for ``move_all``). EBUSY: pinned, or in use at each attempt. ENOENT: there
    is no page. EFAULT: nothing is mapped there, or it is the kernel's page of zeros.
    """

    moved: int = 0
    in_place: int = 0
    left: Mapping[int, int] = MappingProxyType({})

    def __str__(self) -> str:
        reasons = "".join(f", {count} left: {os.strerror(number)}" for number, count in sorted(self.left.items()))
        return f"{self.moved} pages moved, {self.in_place} in place{reasons}"


class MoveStoppedError(Exception):
    """The kernel stopped a move to ``node`` before its end; ``moved`` is how far it came, ``__cause__`` the error."""

    def __init__(self, why: KernelCallError, node: int, moved: Moved) -> None:
        reason = _STOPPED.get(why.errno or 0, "{why.strerror}").format(node=node, why=why)
        super().__init__(f"{reason}; {moved}")
        self.node = node
        self.moved = moved


_STOPPED = {
    errno.EACCES: "node {node} is outside the cpuset of the process",
    errno.ENODEV: "there is no node {node} with memory",
    errno.ENOMEM: "node {node} has no room left",
}


def where(target: Placeable) -> Where:
    """Where the pages of a buffer are; nothing is faulted in. About 200 ns a page.

    Raises:
        TypeError, ValueError: as `ranges.pinned`.
        EventLoopBlocked: on an event loop's thread.
    """
    by_node: dict[int, int] = {}
    absent = 0
    with pinned(target) as found:
        for part in _parts(found.touched_pages()):
            for node, count in _census(_ask(0, part)).items():
                if node >= 0:
                    by_node[node] = by_node.get(node, 0) + count * PAGE_BYTES
                else:
                    absent += count * PAGE_BYTES
    return Where(dict(sorted(by_node.items())), absent)


def locate(addresses: Sequence[int], *, pid: int = 0) -> array[int]:
    """The node of the page at each address, or a negated errno: ENOENT for no page, EFAULT for nothing mapped.

    Raises:
        ProcessGone: no such process. Denied: it is not ours to look at.
        ValueError: what is given is no address, by its size.
        EventLoopBlocked: on an event loop's thread.
    """
    return _ask(pid, _addresses(addresses))


def move_pages(addresses: Sequence[int], nodes: int | Sequence[int], *, pid: int = 0, move_all: bool = False) -> Moved:
    """Bring the pages at these addresses to nodes (move_pages(2)).

    Args:
        addresses: one in each page; an ``array("Q")`` is used as it is.
        nodes: the node of all, or one for each address.
        pid: the process whose addresses these are; 0 is this one.
        move_all: also pages that other processes map; needs CAP_SYS_NICE.

    Returns:
        What became of them. Pages that stayed are no error; what stopped the move before its end is.

    Raises:
        MoveStoppedError: a target is full or outside the process's cpuset; a part may have moved.
        ProcessGone, Denied: before anything moved.
        ValueError: not one node, nor one for each address; no address or no node, by its size.
        EventLoopBlocked: on an event loop's thread.
    """
    return _move(pid, _addresses(addresses), nodes, move_all=move_all)


def move_buffer(target: Placeable, node: int, *, move_all: bool = False) -> Moved:
    """Bring all pages that any of a buffer lies in to a node.

    Raises:
        As `move_pages`, and as `ranges.pinned`.
    """
    with pinned(target) as found:
        return _move(0, _addresses_of(found.touched_pages()), node, move_all=move_all)


def migrate_pages(pid: int, sources: Collection[int], targets: Collection[int]) -> int:
    """Move all pages of a process from nodes to nodes, by their rank (migrate_pages(2)).

    With CAP_SYS_NICE it takes pages that other processes map along, and out of the process's cpuset; before Linux 6.7
    the process cannot map memory while it runs. `numaplace move` does neither.

    Returns:
        How many could not be moved, in units of the kernel's own; shared pages that were skipped are not counted.

    Raises:
        ProcessGone, Denied, TargetFull, KernelCallError, EventLoopBlocked, ValueError: as `kernel.migrate_pages`.
    """
    return syscalls.migrate_pages(pid, sources, targets)


def _parts(pages: Range) -> Iterator[array[int]]:
    step = ASKED_AT_ONCE * PAGE_BYTES
    for start in range(pages.start, pages.end, step):
        yield _addresses_of(Range(start, min(step, pages.end - start)))


def _addresses_of(pages: Range) -> array[int]:
    return array("Q", range(pages.start, pages.end, PAGE_BYTES))


def _addresses(given: Sequence[int]) -> array[int]:
    if isinstance(given, array) and given.typecode == "Q":
        return given
    try:
        return array("Q", given)
    except OverflowError as error:
        raise ValueError("an address is a number from 0 to 2**64 - 1") from error


def _ask(pid: int, addresses: array[int]) -> array[int]:
    status = array("i", bytes(4 * len(addresses)))
    syscalls.move_pages(pid, addresses, None, status)
    return status


def _census(answers: array[int]) -> dict[int, int]:
    """How many pages have each answer. That all lie on one node is usual, and one comparison tells it."""
    if answers == answers[:1] * len(answers):
        return {answers[0]: len(answers)} if answers else {}
    return {answer: answers.count(answer) for answer in set(answers)}


def _move(pid: int, addresses: array[int], nodes: int | Sequence[int], *, move_all: bool) -> Moved:
    wanted = _wanted(nodes, len(addresses))
    targets = sorted(_census(wanted))
    before = _ask(pid, addresses)
    found = _census(before)
    left = {-answer: count for answer, count in found.items() if answer < 0}
    in_place = found.get(targets[0], 0) if len(targets) == 1 else sum(map(operator.eq, before, wanted))
    moved = 0
    for target in targets:
        elsewhere = {node for node in found if node >= 0 and node != target}
        chosen: Iterable[bool] = map(elsewhere.__contains__, before)
        if len(targets) > 1:
            chosen = map(operator.and_, chosen, map(target.__eq__, wanted))
        whole = len(targets) == 1 and len(elsewhere) == len(found)
        away = addresses if whole else array("Q", compress(addresses, chosen))
        if not away:
            continue
        came, stopped = _send(pid, away, target, left, move_all=move_all)
        moved += came
        if stopped is not None:
            raise MoveStoppedError(stopped, target, Moved(moved, in_place, left)) from stopped
    return Moved(moved, in_place, left)


def _wanted(nodes: int | Sequence[int], count: int) -> array[int]:
    try:
        wanted = array("i", (nodes,)) * count if isinstance(nodes, int) else array("i", nodes)
    except OverflowError as error:
        raise ValueError(f"no kernel has so high a node: {nodes}") from error
    if len(wanted) != count:
        raise ValueError(f"{len(wanted)} nodes for {count} addresses")
    return wanted


def _send(
    pid: int, addresses: array[int], node: int, left: dict[int, int], *, move_all: bool
) -> tuple[int, KernelCallError | None]:
    """Send pages to one node until each has its answer; how many came, and what stopped it. Adds to ``left``."""
    moved = 0
    for _ in range(_ROUNDS_MAX):
        status = array("i", (_UNWRITTEN,)) * len(addresses)
        targets = array("i", (node,)) * len(addresses)
        stopped: KernelCallError | None = None
        returned = 0
        try:
            returned = syscalls.move_pages(pid, addresses, targets, status, move_all=move_all)
        except Denied:
            raise  # it is refused before the first page
        except KernelCallError as error:
            stopped = error
        if not returned and stopped is None and status == targets:
            return moved + len(addresses), None
        now = _ask(pid, addresses)
        moved += now.count(node)
        if stopped is not None:
            return moved, stopped
        addresses = _untried(addresses, status, now, node, left)
        if not addresses:
            return moved, None
    _add(left, errno.EBUSY, len(addresses))
    return moved, None


def _untried(addresses: array[int], status: array[int], now: array[int], node: int, left: dict[int, int]) -> array[int]:
    """The pages that the call did not get to; of the others that did not come the reason is noted.

    The kernel gathers pages until one that it cannot take, writes that one's status, and moves the gathered. What it
    did not write before the last written one is the run that failed; what comes after it was never tried.
    """
    last = max((index for index, said in enumerate(status) if said != _UNWRITTEN), default=len(status))
    failed_before = _UNWRITTEN in status[:last]
    untried = array("Q")
    for index, (said, is_now) in enumerate(zip(status, now, strict=True)):
        if is_now == node:
            continue
        if is_now < 0:
            _add(left, -is_now, 1)
        elif said != _UNWRITTEN:
            _add(left, -said if said < 0 else errno.EBUSY, 1)
        elif failed_before and index > last:
            untried.append(addresses[index])
        else:
            _add(left, errno.EBUSY, 1)
    return untried


def _add(left: dict[int, int], number: int, count: int) -> None:
    left[number] = left.get(number, 0) + count
