"""Where a task's pages may go and how they get there: decided when a leg of an order begins.

The cpuset is never left: `migrate_pages` with CAP_SYS_NICE would take pages out of it, where the task's own next pages
could not follow. Shares of nodes that the cpuset does not allow go to the targets that it does allow, unless each
source has a target of its own; if there is none, no route leads anywhere and the account says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node_agent.core.batches import looks_interleaved
from node_agent.core.facts import Measured
from node_agent.core.strategy import Choice, KernelTraits, Situation, choose, threads_for
from node_agent.linux.memory import HostMemory
from node_agent.linux.picked import PickedQuest
from node_agent.linux.pins import StuckPages
from node_agent.linux.quest import NodesQuest, Quest
from node_agent.linux.residency import View, measured_of, read, spans
from node_agent.linux.walk import Wish
from node_agent.ports import MoveJob
from numaplace.model.hand import PickedPages
from numaplace.model.ids import NodeId, Nodes
from numaplace.model.move import Strategy
from numaplace.model.policy import Policy
from numaplace.model.residency import PageKind
from numaplace.model.route import Leg, Routes, Share, routes_of

MEASURE_FIRST_STALL_MS = 200.0
"""A policy that allows less stall never gets a whole-process call, so nothing need be known to choose."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one leg is after, by which routes and how. ``targets`` are those that the cpuset allows."""

    quest: Quest
    targets: Nodes
    routes: Routes
    choice: Choice


def allowed_targets(job: MoveJob, leg: Leg, mems: Nodes) -> Nodes:
    """The targets that have memory and that a cpuset with these mems allows; empty mems are not known."""
    return leg.targets & job.topology.with_memory & (mems or leg.targets)


def known_enough(
    host: HostMemory, job: MoveJob, views: Sequence[View], traits: KernelTraits, known: Measured | None
) -> Measured | None:
    """The last measurement of the task; a new one only if there is none and the choice of strategy hangs on it."""
    may_take_whole = traits.migrate_holds_lock and job.order.policy.budget.stall_ms_max >= MEASURE_FIRST_STALL_MS
    if known is None and may_take_whole and not isinstance(job.what, PickedPages):
        return measured_of(host, views)
    return known


def make_plan(
    host: HostMemory,
    job: MoveJob,
    leg: Leg,
    views: Sequence[View],
    *,
    traits: KernelTraits,
    known: Measured | None,
    free_bytes: Mapping[NodeId, int],
    mems: Nodes,
    owns_cpuset: bool,
    stuck: StuckPages,
) -> Plan:
    """The plan for a leg of an order; ``mems`` is what the task's cpuset allows by now, empty if that is not known."""
    targets = allowed_targets(job, leg, mems)
    policy = job.order.policy
    if isinstance(job.what, PickedPages):
        threads = threads_for(traits, policy.budget)
        reason = "each page has a node of its own, which only move_pages can give it"
        choice = Choice(Strategy.MOVE_PAGES, reason, threads)
        return Plan(PickedQuest(host, job.what, targets, policy, stuck), targets, {}, choice)
    routes = _within(routes_of(leg, job.topology, free_bytes), targets, free_bytes, exact=leg.exact)
    quest = NodesQuest(host, Wish(leg.sources, routes, policy), stuck)
    order, task = job.order, job.task
    follows = job.what is None
    situation = Situation(
        home=leg.targets,
        previous_home=order.previous_home if follows else leg.sources,
        sources=leg.sources,
        mems=task.mems,
        routes=routes,
        residency=None if known is None else known.residency,
        owns_cpuset=follows and owns_cpuset,
        kernel_moves=follows and task.mems == order.home and host.kernel_moves_on_mems_write(task),
        selective=_selective(policy, known) or stuck.knows(task.processes),
        room_bytes=min((free_bytes.get(node, 0) for node in targets), default=0),
    )
    choice = choose(traits, situation, policy.budget)
    if choice.strategy is Strategy.MIGRATE_PAGES and policy.keep_interleave and _any_spread(views):
        # Found only by looking: a part of the memory is interleaved, and a whole-process call would merge it.
        threads = traits.threads_pay
        choice = Choice(Strategy.MOVE_PAGES, "a part of the memory is interleaved and is to stay so", threads)
    return Plan(quest, targets, routes, choice)


def _within(routes: Routes, targets: Nodes, free_bytes: Mapping[NodeId, int], *, exact: bool) -> Routes:
    """The routes with shares of nodes that cannot be had given to those that can, or to none if they are ``exact``."""
    kept: dict[NodeId, tuple[Share, ...]] = {}
    for source, shares in routes.items():
        inside = tuple(share for share in shares if share.target in targets)
        if not inside and targets and not exact:
            roomiest = max(sorted(targets), key=lambda node: free_bytes.get(node, 0))
            inside = (Share(roomiest, 1.0),)
        total = sum(share.weight for share in inside)
        if inside:
            kept[source] = tuple(Share(share.target, share.weight / total) for share in inside)
    return kept


def _selective(policy: Policy, known: Measured | None) -> bool:
    """Whether some pages are to stay, as far as it is known."""
    if policy.kinds != frozenset(PageKind):
        return True
    return policy.keep_interleave and known is not None and known.memory_policy.spread_on_purpose


def _any_spread(views: Sequence[View]) -> bool:
    return any(looks_interleaved(read(span).nodes) for span in spans(views))
