"""Pages of one process that somebody picked, hottest first: found around their addresses and dealt out in runs.

Only what lies around the addresses is read, a huge page's reach at a time. What is not found there is not there
(vanished), the kernel's page of zeros, or a device's. Pages that others map too stay unless they were asked for: then
they go with MOVE_ALL. Runs are cut from the list slice by slice, so that the hottest pages go first and each run still
is as long as one target allows.

The list is as good as the moment it was made, so a second pass is made only for pages that were busy in the first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from node_agent.core.accounting import Ledger
from node_agent.core.pages import DEVICE_KIND, Addresses, Mask, PageFlag, Run
from node_agent.core.picked import Picks, Wanted, folded, found, regions_at, stretches
from node_agent.linux.memory import HostMemory
from node_agent.linux.pins import StuckPages
from node_agent.linux.residency import SPAN_BYTES, Span, View, read
from node_agent.linux.sieve import RUN_BYTES, Sieve
from node_agent.linux.walk import FIRST_RUN_BYTES
from numaplace.kernel.errors import ProcessGone
from numaplace.model.hand import HandMove, PickedPages
from numaplace.model.ids import Nodes
from numaplace.model.move import LeftReason
from numaplace.model.policy import Policy
from numaplace.model.residency import Backing, Residency

GAP_BYTES_MAX = 16 << 20
"""Picks no further apart are read in one go: looking at what lies between is cheaper than another system call."""
TARGETS_A_SLICE = 8
"""Among so many targets a slice of the list still makes runs of 512 base pages."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What the picks came to: pages, and bytes of base pages that are none: not there, of zeros, or no kernel's."""

    wanted: Wanted
    absent_bytes: int
    zero_bytes: int
    unmovable_bytes: int


class PickedQuest:
    """The picked pages, wherever they lie."""

    def __init__(self, host: HostMemory, what: PickedPages, allowed: Nodes, policy: Policy, stuck: StuckPages) -> None:
        """``allowed``: the targets that the task's cpuset allows."""
        self._host, self._policy, self._stuck = host, policy, stuck
        self._shared = what.shared
        self._due_bytes = 0
        self._picks = Picks.of(what.addresses, what.nodes)
        self._allowed = np.array(sorted(allowed), np.int32)

    def runs(self, views: Sequence[View], ledger: Ledger) -> Iterator[Run]:
        """The picked pages that are not in place, hottest first."""
        for view in views:
            look = self._look(view)
            ledger.meet_again()
            ledger.leave(LeftReason.VANISHED, look.absent_bytes)
            ledger.leave(LeftReason.ZERO_PAGE, look.zero_bytes)
            ledger.leave(LeftReason.UNMOVABLE_MAPPING, look.unmovable_bytes)
            wanted = look.wanted.where(look.wanted.misplaced)
            stay_bytes = look.zero_bytes + look.unmovable_bytes + look.absent_bytes
            self._due_bytes = ledger.moved_bytes + wanted.pages.bytes + stay_bytes
            ledger.todo_bytes = ledger.moved_bytes + wanted.pages.bytes
            sieve = Sieve(self._host, self._policy, ledger, self._stuck)
            yield from self._deal(view, wanted.hottest_first(), sieve, ledger)

    def _deal(self, view: View, wanted: Wanted, sieve: Sieve, ledger: Ledger) -> Iterator[Run]:
        wanted = self._movable(wanted, ledger)
        passing = sieve.passing(view.memory.ref, wanted.pages)
        if passing is not None:
            wanted = wanted.where(passing)
        slices = RUN_BYTES * max(1, -(-len(np.unique(wanted.targets)) // TARGETS_A_SLICE))
        done, ends = 0, np.cumsum(wanted.pages.sizes)
        size_bytes = FIRST_RUN_BYTES
        while done < len(ends):
            before = int(ends[done - 1]) if done else 0
            end = max(done + 1, int(np.searchsorted(ends, before + size_bytes, side="right")))
            yield from self._slice(view, wanted.where(slice(done, end)), sieve)
            done, size_bytes = end, slices

    def _movable(self, wanted: Wanted, ledger: Ledger) -> Wanted:
        """Without what no kernel moves, and what is not ours to move."""
        device = (wanted.pages.kinds == DEVICE_KIND) | (wanted.pages.nodes < 0)
        ledger.leave(LeftReason.UNMOVABLE_MAPPING, wanted.pages.where(device).bytes)
        strangers = ~device & ~wanted.pages.has(PageFlag.EXCLUSIVE)
        if self._shared or not strangers.any():
            return wanted.where(~device)
        ledger.leave(LeftReason.SHARED, wanted.pages.where(strangers).bytes)
        return wanted.where(~device & ~strangers)

    def _slice(self, view: View, wanted: Wanted, sieve: Sieve) -> Iterator[Run]:
        targets = np.where(np.isin(wanted.targets, self._allowed), wanted.targets, np.int32(-1))
        for size, target, mask in sieve.sorted_out(wanted.pages, targets):
            pages = wanted.pages if mask is None else wanted.pages.where(mask)
            alone = pages.has(PageFlag.EXCLUSIVE)
            for mine, move_all in ((alone, False), (~alone, True)):
                if mine.any():
                    yield Run(view.memory.ref, pages.where(mine), target, size, move_all)

    def away_bytes(self, ledger: Ledger, residency: Residency) -> int:
        """What this pass found to go and has not moved, with what it found and no kernel moves.

        Every page of the list has an answer of its own: looking for them all once more would tell nothing else.
        """
        del residency
        return max(0, self._due_bytes - ledger.moved_bytes - ledger.vanished_in_pass)

    def worth_another(self, ledger: Ledger, residency: Residency) -> bool:
        """Only what was busy may move the next time."""
        del residency
        return LeftReason.BUSY in ledger.left

    def _look(self, view: View) -> Look:
        at = regions_at(self._picks.addresses, view.regions)
        mapped = self._picks.where(at >= 0)
        block = max(self._host.thp_bytes, self._host.base_bytes)
        parts: list[Wanted] = []
        missed: list[Addresses] = [self._picks.addresses[at < 0]]
        for start, end, picks in stretches(mapped, max(SPAN_BYTES, block), block, GAP_BYTES_MAX):
            wanted, missing = self._found(view, start, end, picks)
            parts.append(wanted)
            if missing.any():
                missed.append(picks.addresses[missing])
        base = np.uint64(self._host.base_bytes)
        return self._with_missed(view, Wanted.joined(parts), np.unique(np.concatenate(missed) // base) * base)

    def _found(self, view: View, start: int, end: int, picks: Picks) -> tuple[Wanted, Mask]:
        pages = read(Span(view, start, end))
        if self._host.sees_frames and len(pages):
            pages = folded(pages, self._host.tails(pages.frames))
        return found(picks, pages)

    def _with_missed(self, view: View, wanted: Wanted, missed: Addresses) -> Look:
        """Sort out what was not found; ``missed`` are the addresses of base pages, each once."""
        if not len(missed):
            return Look(wanted, 0, 0, 0)
        odd = np.array([*(region.backing in {Backing.DEVICE, Backing.KERNEL} for region in view.regions), False])
        unmovable = odd[regions_at(missed, view.regions)]
        try:
            zero = view.memory.present(missed) & ~unmovable
        except ProcessGone:
            zero = np.zeros(len(missed), np.bool_)
        counts = (int((~zero & ~unmovable).sum()), int(zero.sum()), int(unmovable.sum()))
        return Look(wanted, *(count * self._host.base_bytes for count in counts))


def nothing_mapped(what: HandMove | None, views: Sequence[View]) -> str | None:
    """What to say of picked pages none of which lies in any mapping of the process; None if one does."""
    if not isinstance(what, PickedPages):
        return None
    addresses = np.fromiter(what.addresses, np.uint64, len(what.addresses))
    if any((regions_at(addresses, view.regions) >= 0).any() for view in views):
        return None
    pid = ", ".join(str(view.memory.ref.pid) for view in views)
    said = f"none of the {len(addresses)} addresses lies in a mapping of process {pid}"
    return f"{said}: they are another process's, or of an earlier run"
