"""A move that is not made: the same walk with the same reasons, and how long and how hard it would be.

Bytes are exact for a job at rest: the pages are looked at as for the move, leg by leg, and given room on their targets
as the courier would. Only the kernel's own answers are missing: what it would find busy, and pins that no move has met.
The seconds are those of the look, which the move takes too, and what the calls are known to take on this host, from
earlier moves or else from the probe (node_agent.core.forecast).
"""

import errno
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from node_agent.core.accounting import Ledger
from node_agent.core.facts import Measured, Room
from node_agent.core.forecast import Speeds, seconds_of, stall_ms_of
from node_agent.core.legs import NOTHING_TO_MOVE, legs_of, refusal
from node_agent.core.pages import Run
from node_agent.core.strategy import Choice
from node_agent.linux.memory import HostMemory
from node_agent.linux.picked import nothing_mapped
from node_agent.linux.plan import Plan, allowed_targets, known_enough, make_plan
from node_agent.linux.residency import View, open_task
from node_agent.linux.room import RoomGuard, blocks_of
from node_agent.linux.underway import Means
from node_agent.ports import MoveJob
from numaplace.kernel.errors import Denied, KernelCallError, ProcessGone
from numaplace.model.hand import Prediction
from numaplace.model.ids import NodeId
from numaplace.model.residency import PageSize
from numaplace.model.route import Leg


class Rehearsal:
    """Goes through one order without a call that moves; used once."""

    def __init__(
        self, means: Means, job: MoveJob, speeds: Speeds, known: Measured | None, *, owns_cpuset: bool
    ) -> None:
        """``known`` is the task as last measured; ``owns_cpuset``: whether a follow move hands its cpuset over."""
        self._means, self._host, self._job, self._speeds = means, means.host, job, speeds
        self._known, self._owns_cpuset = known, owns_cpuset and job.what is None
        self._mems = job.task.mems | job.order.home if self._owns_cpuset and job.task.mems else job.task.mems
        self._rooms = SupposedRooms(means.host)
        self._ledger = Ledger({})
        self._choice: Choice | None = None
        self._move_bytes, self._seconds, self._stall_ms = 0, 0.0, 0.0

    def prediction(self) -> Prediction:
        """What would become of it; of what would be refused, or moves nothing, the reason is in place of a strategy's.

        Raises:
            Denied: the pages may not be looked at.
            ProcessGone: there is nobody to move.
        """
        refused = refusal(self._job.what, self._job.task, self._job.topology)
        if refused is not None:
            return Prediction(0, 0.0, 0.0, strategy_reason=refused)
        began_s = self._host.now_s()
        with open_task(self._host, self._job.task.processes, self._job.owner) as (views, denied):
            if not views:
                raise self._nobody(denied=denied)
            refused = nothing_mapped(self._job.what, views)
            if refused is not None:
                return Prediction(0, 0.0, 0.0, strategy_reason=refused)
            self._known = known_enough(self._host, self._job, views, self._means.traits, self._known)
            for leg in legs_of(self._job.order, self._job.what, self._job.topology):
                self._leg(leg, views)
        choice = self._choice
        return Prediction(
            self._move_bytes,
            self._host.now_s() - began_s + self._seconds,
            self._stall_ms,
            dict(self._ledger.settled),
            None if choice is None else choice.strategy,
            NOTHING_TO_MOVE if choice is None else choice.reason,
        )

    def _nobody(self, *, denied: bool) -> KernelCallError:
        pid = next((process.pid for process in self._job.task.processes), None)
        if denied:
            return Denied("reading maps", errno.EACCES, pid)
        return ProcessGone("reading maps", errno.ESRCH, pid)

    def _leg(self, leg: Leg, views: Sequence[View]) -> None:
        budget, traits = self._job.order.policy.budget, self._means.traits
        nodes = sorted(allowed_targets(self._job, leg, self._mems))
        guard = RoomGuard(self._rooms, nodes, budget.headroom_bytes, exact=leg.exact)
        plan = make_plan(
            self._host,
            self._job,
            leg,
            views,
            traits=traits,
            known=self._known,
            free_bytes=guard.free_bytes(),
            mems=self._mems,
            owns_cpuset=self._owns_cpuset,
            stuck=self._means.stuck,
        )
        self._choice = self._choice or plan.choice
        by_size = self._sent(plan, guard, views)
        self._ledger.close_leg(0)
        self._move_bytes += sum(by_size.values())
        self._seconds += seconds_of(by_size, plan.choice, traits, self._speeds, budget)
        sizes = {
            PageSize.BASE: self._host.base_bytes,
            PageSize.THP: self._host.thp_bytes,
            PageSize.HUGETLB: self._host.thp_bytes,
        }
        stall_ms = stall_ms_of(by_size, plan.choice, traits, self._speeds, budget, page_bytes=sizes)
        self._stall_ms = max(self._stall_ms, stall_ms)

    def _sent(self, plan: Plan, guard: RoomGuard, views: Sequence[View]) -> Mapping[PageSize, int]:
        """Bytes that would go, by the size of their pages; what has no room is left."""
        by_size: Counter[PageSize] = Counter()
        for found in plan.quest.runs(views, self._ledger):
            run = found
            while len(run.pages):
                target, pages, reason = guard.place(run)
                if target is None:
                    self._ledger.leave(reason, run.bytes)
                    break
                part = replace(run, pages=run.pages.where(slice(pages)), target=target)
                guard.spend(part)
                self._rooms.move(part)
                by_size[run.size] += part.bytes
                run = replace(run, pages=run.pages.where(slice(pages, None)))
        return by_size


class SupposedRooms:
    """The rooms of a host's nodes as if some runs had moved."""

    def __init__(self, host: HostMemory) -> None:
        self._host = host
        self._taken_bytes: Counter[NodeId] = Counter()
        self._taken_blocks: Counter[NodeId] = Counter()

    def move(self, run: Run) -> None:
        """A run is supposed to have moved: its target has less room, and where it lay there is more."""
        if run.size is PageSize.HUGETLB:
            return
        sums = np.bincount(run.pages.nodes + 1, weights=run.pages.sizes)
        for at in np.flatnonzero(sums).tolist():
            self._taken_bytes[NodeId(at - 1)] -= int(sums[at])
        self._taken_bytes[run.target] += run.bytes
        # Base pages that are given back leave no whole block, as a rule.
        self._taken_blocks[run.target] += blocks_of(run)

    def rooms(self, nodes: Collection[NodeId]) -> Mapping[NodeId, Room]:
        """What each node could take then."""
        return {
            node: replace(
                room,
                free_bytes=max(0, room.free_bytes - self._taken_bytes[node]),
                free_thp=None if room.free_thp is None else max(0, room.free_thp - self._taken_blocks[node]),
            )
            for node, room in self._host.rooms(nodes).items()
        }

    def now_s(self) -> float:
        """The host's clock."""
        return self._host.now_s()
