"""Which pages go where, in which calls, and what a call's answer means.

Rules from the kernel (mm/migrate.c, seen on 6.1 and 6.12):

- Any entry of a call that the kernel does not queue (in place, absent, shared, busy) flushes what is queued: so only
  misplaced pages are sent, all to one node, in runs.
- A call that fails in part writes no status for the failing run. The list is filled with a sentinel before; where it
  is still there, a query afterwards says where the page is, and the position in the list whether it was tried.
- A page that was tried and stayed has been tried ten times: asking again costs the job as much again and changes
  nothing. A page that could not be taken off its list (EBUSY in the status) may be free the next moment.
"""

import errno
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from node_agent.core.pages import Addresses, Ints, Mask, Pages, Sizes
from numaplace.model.ids import NodeId, Nodes
from numaplace.model.route import Routes, Share

UNWRITTEN = -(1 << 30)
"""The sentinel: no node and no errno."""


class Verdict(IntEnum):
    """What became of one page of a call."""

    MOVED = 0
    UNTRIED = 1
    REFUSED = 2
    BUSY = 3
    SHARED = 4
    GONE = 5
    FULL = 6
    UNMOVABLE = 7


Verdicts = NDArray[np.int8]

_BY_ERRNO = {
    errno.EACCES: Verdict.SHARED,
    errno.EBUSY: Verdict.BUSY,
    errno.EAGAIN: Verdict.BUSY,
    errno.EIO: Verdict.BUSY,
    errno.ENOENT: Verdict.GONE,
    errno.EFAULT: Verdict.GONE,
    errno.ENOMEM: Verdict.FULL,
}
"""What a page's negated errno means; -EFAULT is a page that is gone on 6.1, zero pages are never sent."""


def fresh_status(count: int) -> Ints:
    """A status array that shows what the kernel did not write."""
    return np.full(count, UNWRITTEN, np.int32)


def lying_on(pages: Pages, nodes: Nodes) -> Mask:
    """Which pages lie on these nodes."""
    there = np.zeros(len(pages), np.bool_)
    for node in nodes:
        there |= pages.nodes == node
    return there


def assign_targets(nodes: Ints, sizes: Sizes, routes: Routes) -> Ints:
    """The target of each page; -1 where no route leads.

    Shares of a source become runs one after the other, by bytes, never a page here and a page there.
    """
    targets = np.full(len(nodes), -1, np.int32)
    for source, shares in routes.items():
        mine = np.flatnonzero(nodes == source)
        if not len(mine):
            continue
        if len(shares) == 1:
            targets[mine] = shares[0].target
        else:
            targets[mine] = _spread(sizes[mine], shares)
    return targets


def _spread(sizes: Sizes, shares: Sequence[Share]) -> Ints:
    ends = np.cumsum([share.weight for share in shares])
    done = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    chosen = np.minimum(np.searchsorted(ends, done), len(shares) - 1)
    targets: Ints = np.array([share.target for share in shares], np.int32)[chosen]
    return targets


def looks_interleaved(nodes: Ints) -> bool:
    """Whether neighbours lie on different nodes nearly always: the mark of interleaving, which nothing else leaves.

    Moves, first touch and AutoNUMA leave long runs. Weighted interleaving has shorter ones: a third of the
    neighbours differ at weights of 2:1 and more at closer ones.
    """
    if len(nodes) < 16:  # noqa: PLR2004 - too few to tell
        return False
    return float(np.mean(nodes[1:] != nodes[:-1])) > 0.3  # noqa: PLR2004 - see above


def judge(status: Ints, target: NodeId, now: Ints | None) -> Verdicts:
    """What became of each page of a call to ``target``.

    Args:
        status: as the call left it, from `fresh_status`.
        target: the node that all were sent to.
        now: the answer of a query after the call; needed if the call returned anything but 0, else None.
    """
    if now is None:
        if (status == target).all():
            return np.zeros(len(status), np.int8)
        return _of_status(status, target)
    verdicts = _of_status(now, target)
    stayed = (now >= 0) & (now != target)
    verdicts[stayed] = Verdict.UNTRIED
    verdicts[stayed & failing_run(status)] = Verdict.REFUSED
    # What the call itself said of a page that stayed (shared, busy) is its reason; a query would not know it. But a
    # page that a query finds is not gone, whatever the call said.
    said = stayed & (status < 0) & (status != UNWRITTEN)
    reasons = _of_status(status[said], target)
    verdicts[said] = np.where(reasons == Verdict.GONE, np.int8(Verdict.UNTRIED), reasons)
    return verdicts


def _of_status(status: Ints, target: NodeId) -> Verdicts:
    verdicts = np.full(len(status), Verdict.UNMOVABLE, np.int8)
    verdicts[status == target] = Verdict.MOVED
    # On another node although the kernel reported success: it was not moved by us.
    verdicts[(status >= 0) & (status != target)] = Verdict.REFUSED
    for number, verdict in _BY_ERRNO.items():
        verdicts[status == -number] = verdict
    verdicts[status == UNWRITTEN] = Verdict.UNTRIED
    return verdicts


def failing_run(status: Ints) -> Mask:
    """Which pages of a partly failed call the kernel tried in vain, or did not get to before it gave up on them.

    It queues pages until an entry that it cannot queue; it writes that entry's status and then moves the queue. So
    unwritten entries before the last written one are the run that failed, and those after it were never tried. With
    nothing unwritten before it the run that failed is the last one.
    """
    unwritten: Mask = status == UNWRITTEN
    written = np.flatnonzero(~unwritten)
    if not len(written):
        return unwritten
    before: Mask = unwritten.copy()
    before[written[-1] :] = False
    return before if before.any() else unwritten


def known(addresses: Addresses, remembered: Addresses) -> Mask:
    """Which addresses are among the remembered ones, which are sorted."""
    if not len(remembered):
        return np.zeros(len(addresses), np.bool_)
    at = np.minimum(np.searchsorted(remembered, addresses), len(remembered) - 1)
    found: Mask = remembered[at] == addresses
    return found
