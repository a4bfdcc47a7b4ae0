"""What may be sent of pages that are to go, and what stays behind with its reason; the rest by target and page size.

The same for pages that a walk found on a node and for those that were picked one by one: kinds that the policy does not
name stay, pages that are remembered as held are not asked again, and where no route leads the cpuset is the reason.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from node_agent.core.accounting import Ledger
from node_agent.core.facts import ProcessRef
from node_agent.core.pages import KINDS, Ints, Mask, PageFlag, Pages
from node_agent.linux.memory import HostMemory
from node_agent.linux.pins import StuckPages
from numaplace.model.ids import NodeId
from numaplace.model.move import LeftReason
from numaplace.model.policy import Policy
from numaplace.model.residency import PageKind, PageSize

RUN_BYTES = 16 << 20
"""Found pages are gathered until a run is this large, 4096 base pages."""


class Sieve:
    """Looks at pages before they are sent, and books those that are not."""

    def __init__(self, host: HostMemory, policy: Policy, ledger: Ledger, stuck: StuckPages) -> None:
        self._host, self._ledger, self._stuck = host, ledger, stuck
        self._kinds = [KINDS.index(kind) for kind in policy.kinds] if policy.kinds != frozenset(PageKind) else None

    def sift(self, process: ProcessRef, pages: Pages) -> Pages:
        """Those of a process's pages that may be sent."""
        sent = self.passing(process, pages)
        return pages if sent is None else pages.where(sent)

    def passing(self, process: ProcessRef, pages: Pages) -> Mask | None:
        """Which of a process's pages may be sent; None for all of them."""
        wanted = None
        if self._kinds is not None:
            wanted = np.isin(pages.kinds, self._kinds)
            self._ledger.leave(LeftReason.KEPT_BY_POLICY, pages.where(~wanted).bytes)
        held = self._stuck.among(process, pages, self._host.now_s())
        if not held.any():
            return wanted
        if wanted is not None:
            held &= wanted
        self._ledger.leave(LeftReason.PINNED, pages.where(held).bytes)
        return ~held if wanted is None else wanted & ~held

    def sorted_out(self, pages: Pages, targets: Ints) -> Iterator[tuple[PageSize, NodeId, Mask | None]]:
        """Page sizes and targets that occur, and which pages are of both; None for all of them.

        Where a target is negative the task's cpuset allows none.
        """
        first = int(targets[0]) if len(targets) else -1
        if first >= 0 and (targets == first).all() and (pages.sizes == self._host.base_bytes).all():
            yield PageSize.BASE, NodeId(first), None
            return
        nowhere = targets < 0
        if nowhere.any():
            self._ledger.leave(LeftReason.OUTSIDE_CPUSET, pages.where(nowhere).bytes)
        for size, of_size in self._by_size(pages):
            for target in np.unique(targets[of_size & ~nowhere]).tolist():
                yield size, NodeId(target), of_size & (targets == target)

    def _by_size(self, pages: Pages) -> Iterable[tuple[PageSize, Mask]]:
        hugetlb = pages.has(PageFlag.HUGETLB)
        # Of larger pages that are mapped by base pages one entry may stand for all that is mapped of them.
        huge = (pages.sizes == self._host.thp_bytes) & ~hugetlb
        sizes = ((PageSize.BASE, ~hugetlb & ~huge), (PageSize.THP, huge), (PageSize.HUGETLB, hugetlb))
        return [(size, mask) for size, mask in sizes if mask.any()]
