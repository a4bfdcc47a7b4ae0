"""Finds a task's pages that are to leave their nodes and deals them out in runs, while the first already move.

Which pages are taken:

- only those on the nodes that are to be left, and of huge pages and other large folios one address: any other entry
  makes the kernel flush;
- pages that the process alone maps, with MOVE, in a first walk; then pages that several processes map, with MOVE_ALL,
  if all who map them belong to the task: the frame is mapped no more often on the host than by the task. What strangers
  map too (libc, another job's shared memory) stays, whatever the policy's kinds: it is as much theirs;
- kinds that the policy names; and memory that was interleaved on purpose only if its spread survives the move.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from node_agent.core.accounting import Ledger
from node_agent.core.batches import assign_targets, looks_interleaved, lying_on
from node_agent.core.pages import DEVICE_KIND, Mask, PageFlag, Pages, Run
from node_agent.linux.memory import HostMemory, RegionPolicy
from node_agent.linux.pins import StuckPages
from node_agent.linux.residency import SharedPart, Sharers, Span, View, read, region_policies, spans
from node_agent.linux.sieve import RUN_BYTES, Sieve
from numaplace.model.ids import NodeId, Nodes
from numaplace.model.move import LeftReason
from numaplace.model.policy import Policy
from numaplace.model.residency import PageSize
from numaplace.model.route import Routes

LARGER_PAGES_MAX = 512
"""Base pages of the largest folio that is mapped by base pages; huge pages are one entry each."""
FIRST_RUN_BYTES = 2 << 20
"""The first run is small: its pages move while the rest is still looked at."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What one leg of an order wants: all pages to leave ``sources``; ``routes`` leads to nodes that can be had."""

    sources: Nodes
    routes: Routes
    policy: Policy


class _Key(NamedTuple):
    """What the pages of a run have in common."""

    view: int
    target: NodeId
    size: PageSize
    move_all: bool


class Walk:
    """One pass over a task."""

    def __init__(self, host: HostMemory, views: Sequence[View], wish: Wish, ledger: Ledger, stuck: StuckPages) -> None:
        self._host = host
        self._views = views
        self._wish = wish
        self._ledger = ledger
        self._sieve = Sieve(host, wish.policy, ledger, stuck)
        self._policies: dict[int, Sequence[RegionPolicy]] = {}
        self._gathered: dict[_Key, list[Pages]] = {}
        self._run_bytes = FIRST_RUN_BYTES

    def runs(self) -> Iterator[Run]:
        """Runs of pages that are to go, as they are found."""
        sharers = Sharers(self._host, self._views)
        for span in spans(self._views):
            yield from self._span(span, sharers)
        yield from self._rest()
        for part in sharers.parts():
            yield from self._shared(part)
        yield from self._rest()

    def _span(self, span: Span, sharers: Sharers) -> Iterator[Run]:
        pages = read(span)
        away = lying_on(pages, self._wish.sources)
        if not away.any():
            return
        device = pages.kinds == DEVICE_KIND
        if device.any():
            self._ledger.leave(LeftReason.UNMOVABLE_MAPPING, pages.where(device & away).bytes)
            away &= ~device
        if self._kept_spread(span, pages):
            self._ledger.leave(LeftReason.KEPT_BY_POLICY, pages.where(away).bytes)
            return
        chosen = pages.where(away)
        alone = chosen.has(PageFlag.EXCLUSIVE)
        if alone.all():
            yield from self._deal(span.view, chosen, move_all=False)
            return
        yield from self._deal(span.view, chosen.where(alone), move_all=False)
        if not self._host.sees_frames:
            self._ledger.leave(LeftReason.SHARED, chosen.where(~alone).bytes)
            return
        for part in sharers.add(span, chosen.where(~alone)):
            yield from self._shared(part)

    def _shared(self, part: SharedPart) -> Iterator[Run]:
        away = lying_on(part.pages, self._wish.sources)
        self._ledger.leave(LeftReason.SHARED, part.pages.where(away & part.foreign).bytes)
        yield from self._deal(part.view, part.pages.where(away & ~part.foreign), move_all=True)

    def _deal(self, view: View, pages: Pages, *, move_all: bool) -> Iterator[Run]:
        """Sort pages into runs, piece by piece: what a run needs besides is looked up when it is its turn."""
        at = 0
        while at < len(pages):
            end = piece_end(pages, at, self._run_bytes)
            yield from self._sort(view, pages.where(slice(at, end)), move_all=move_all)
            at = end

    def _sort(self, view: View, pages: Pages, *, move_all: bool) -> Iterator[Run]:
        """Sort pages into runs by target and size, and give out those that are full."""
        tails = pages.has(PageFlag.TAIL)
        pages = self._sieve.sift(view.memory.ref, pages.where(~tails) if tails.any() else pages)
        if not len(pages):
            return
        targets = assign_targets(pages.nodes, pages.sizes, self._wish.routes)
        at = self._views.index(view)
        for size, target, mask in self._sieve.sorted_out(pages, targets):
            key = _Key(at, target, size, move_all)
            self._gathered.setdefault(key, []).append(pages if mask is None else pages.where(mask))
        yield from self._full()

    def _kept_spread(self, span: Span, pages: Pages) -> bool:
        """Whether this span was interleaved on purpose, and moving would undo it.

        The pattern of nodes is looked at first: nothing else leaves it, and the policies that would prove it cost a
        walk under the job's mmap lock. They decide where they are cheap to have.
        """
        if not self._wish.policy.keep_interleave or not looks_interleaved(pages.nodes):
            return False
        if self._spread_survives({NodeId(n) for n in np.unique(pages.nodes).tolist() if n >= 0}):
            return False
        return self._policy_spreads(span)

    def _spread_survives(self, nodes: set[NodeId]) -> bool:
        """Whether pages of different nodes still lie on different nodes afterwards."""
        routes = self._wish.routes
        if any(len(routes.get(node, ())) > 1 for node in nodes):
            return False
        targets = [routes[node][0].target if routes.get(node) else node for node in nodes]
        return len(set(targets)) == len(targets)

    def _policy_spreads(self, span: Span) -> bool:
        at = self._views.index(span.view)
        if at not in self._policies:
            self._policies[at] = region_policies(span.view)
        policies = self._policies[at]
        # Where only the first regions were read, they show the task's own policy.
        judged = [p for p in policies if span.start <= p.start < span.end] or policies[:1]
        return not judged or any(p.policy.spread_on_purpose for p in judged)

    def _full(self) -> Iterator[Run]:
        for key, gathered in self._gathered.items():
            if sum(pages.bytes for pages in gathered) >= self._run_bytes:
                self._run_bytes = RUN_BYTES
                yield self._run(key, gathered)
                gathered.clear()

    def _rest(self) -> Iterator[Run]:
        for key, gathered in self._gathered.items():
            if gathered:
                yield self._run(key, gathered)
        self._gathered.clear()

    def _run(self, key: _Key, gathered: list[Pages]) -> Run:
        pages = Pages.joined(gathered)
        if key.size is PageSize.BASE and self._host.sees_frames:
            pages = one_per_folio(pages, self._host.tails(pages.frames))
        return Run(self._views[key.view].memory.ref, pages, key.target, key.size, key.move_all)


def piece_end(pages: Pages, start: int, size_bytes: int) -> int:
    """Where a piece of about this size ends: not inside a larger page, which would leave its tails without a head.

    Such a page is one run of neighbouring frames, aligned to its size, which is `LARGER_PAGES_MAX` at most.
    """
    end = start + max(1, pages.where(slice(start, None)).fitting(size_bytes))
    near = pages.frames[end - 1 : end + LARGER_PAGES_MAX]
    inside = (near[1:] == near[:-1] + np.uint64(1)) & (near[1:] % np.uint64(LARGER_PAGES_MAX) != 0)
    edges = np.flatnonzero(~inside)
    return min(end + int(edges[0]) if len(edges) else end + len(inside), len(pages))


def one_per_folio(pages: Pages, tails: Mask) -> Pages:
    """Keep one address of every larger page that is mapped by base pages, with the size of all that is mapped of it."""
    if not tails.any():
        return pages
    sizes = np.add.reduceat(pages.sizes, np.flatnonzero(~tails))
    return replace(pages.where(~tails), sizes=sizes)
