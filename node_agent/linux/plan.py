"""Where a task's pages may go and how they get there: decided once, when the order begins.

The cpuset is never left: `migrate_pages` with CAP_SYS_NICE would take pages out of it, where the task's own next pages
could not follow. Shares of nodes that the cpuset does not allow go to the home nodes that it does allow; if there is
none, no route leads anywhere and the account says so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from node_agent.core.batches import looks_interleaved
from node_agent.core.facts import Measured
from node_agent.core.strategy import Choice, KernelTraits, Situation, choose
from node_agent.linux.memory import HostMemory
from node_agent.linux.residency import View, read, spans
from node_agent.linux.walk import Wish
from node_agent.ports import MoveJob
from numaplace.model.ids import NodeId, Nodes
from numaplace.model.move import Strategy
from numaplace.model.residency import PageKind
from numaplace.model.route import Routes, Share, plan_routes


@dataclass(frozen=True, slots=True)
class Plan:
    """Where pages may go. ``targets`` are the home nodes that the cpuset allows."""

    wish: Wish
    targets: Nodes
    choice: Choice


def make_plan(
    host: HostMemory,
    job: MoveJob,
    views: Sequence[View],
    *,
    traits: KernelTraits,
    known: Measured | None,
    free_bytes: Mapping[NodeId, int],
    mems: Nodes,
    owns_cpuset: bool,
    holds_stuck: Callable[[], bool],
) -> Plan:
    """The plan for an order; ``mems`` is what the task's cpuset allows by now, empty if that is not known."""
    order, task = job.order, job.task
    targets = order.home & job.topology.with_memory & (mems or order.home)
    holding = job.topology.with_memory - order.home
    routes = plan_routes(order.previous_home, order.home, holding, job.topology, free_bytes)
    wish = Wish(order.home, _within(routes, targets, free_bytes), order.policy)
    room = min((free_bytes.get(node, 0) for node in targets), default=0)
    situation = Situation(
        home=order.home,
        previous_home=order.previous_home,
        mems=task.mems,
        routes=wish.routes,
        residency=None if known is None else known.residency,
        owns_cpuset=owns_cpuset,
        kernel_moves=task.mems == order.home and host.kernel_moves_on_mems_write(task),
        selective=_selective(order.policy.kinds, known, keep=order.policy.keep_interleave) or holds_stuck(),
        room_bytes=room,
    )
    choice = choose(traits, situation, order.policy.budget)
    if choice.strategy is Strategy.MIGRATE_PAGES and order.policy.keep_interleave and _any_spread(views):
        # Found only by looking: a part of the memory is interleaved, and a whole-process call would merge it.
        threads = traits.threads_pay
        choice = Choice(Strategy.MOVE_PAGES, "a part of the memory is interleaved and is to stay so", threads)
    return Plan(wish, targets, choice)


def _within(routes: Routes, targets: Nodes, free_bytes: Mapping[NodeId, int]) -> Routes:
    """The routes with shares of nodes that cannot be had given to those that can."""
    kept: dict[NodeId, tuple[Share, ...]] = {}
    for source, shares in routes.items():
        inside = tuple(share for share in shares if share.target in targets)
        if not inside and targets:
            roomiest = max(sorted(targets), key=lambda node: free_bytes.get(node, 0))
            inside = (Share(roomiest, 1.0),)
        total = sum(share.weight for share in inside)
        if inside:
            kept[source] = tuple(Share(share.target, share.weight / total) for share in inside)
    return kept


def _selective(kinds: frozenset[PageKind], known: Measured | None, *, keep: bool) -> bool:
    """Whether some pages are to stay, as far as it is known."""
    if kinds != frozenset(PageKind):
        return True
    return keep and known is not None and known.memory_policy.spread_on_purpose


def _any_spread(views: Sequence[View]) -> bool:
    return any(looks_interleaved(read(span).nodes) for span in spans(views))
