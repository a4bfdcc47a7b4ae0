"""What must have come about once the faults have stopped and a bounded time has passed.

Every session is open, no order is open, every outcome is acknowledged and the same on both sides, the scheduler's view
is the host's truth, and every followed task is home or has a reason that the truth bears out.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from node_agent.core.followed import Surroundings
from numaplace.model.ids import ALONE_PREFIX, HostId, MoveId
from numaplace.model.policy import Policy
from numaplace.model.worth import Action, judge
from scheduler.planning.records import TaskKey, TaskRecord
from scheduler.state.machine import SchedulerState
from tests.simulation.explained import bears_out
from tests.simulation.ledger import turned_down
from tests.simulation.truth import TrueHost, TrueTask

LATE_S_MAX = 0.5
"""A turn of the scheduler may wait for a write that long."""

if TYPE_CHECKING:
    from tests.simulation.site import Site
    from tests.simulation.world import World


def unmet(world: "World") -> Iterator[str]:
    """What is still missing, in words; nothing if the goal is reached."""
    scheduler = world.scheduler
    if scheduler is None:
        yield "the scheduler is down"
        return
    yield from _orders(world)
    if scheduler.state.world.policies != world.store.policies:
        yield "the scheduler's policies are not those of its store"
    for site in world.sites:
        yield from _host(site, scheduler.state, world)
    if set(scheduler.state.world.hosts) - {site.host.id for site in world.sites}:
        yield "the scheduler knows hosts that do not exist"


def unmet_alone(world: "World") -> Iterator[str]:
    """What is missing while there is no scheduler: agents follow alone, each by the last policies that it was given."""
    for site in world.sites:
        host, agent = site.host, site.agent
        if agent is None:
            yield f"{host.id} has no agent"
            continue
        core = agent.core
        if core.orders.open_orders or agent.runs:
            yield f"{host.id} has open orders"
        if set(core.tasks) != set(host.tasks):
            yield f"{host.id} follows {sorted(core.tasks)}, there are {sorted(host.tasks)}"
            continue
        around = Surroundings(core.topology, core.load, core._costs, 0, 1)
        for task in host.tasks.values():
            known, policy = core.tasks[task.id], core.policies.of(task.job)
            verdict = judge(known.situation(agent.now_s(), policy, around))
            can_move = core.abilities.can_move
            explained = bears_out(host, task, verdict, policy, can_move=can_move)
            if not explained and (can_move or verdict.action is not Action.MOVE):
                yield f"{task.id} on {host.id}, alone: {verdict.reason.value} does not explain {verdict.words!r}"


def overdue(world: "World") -> Iterator[str]:
    """Who was to be judged again by now and was not: this holds at any time, faults or not."""
    scheduler = world.scheduler
    if scheduler is None:
        return
    state, now_s = scheduler.state, scheduler.now_s()
    for record in state.world.all_tasks():
        verdict = record.verdict
        if verdict is None or verdict.not_before_s is None or not state.world.hosts[record.host].in_step:
            continue
        if now_s > verdict.not_before_s + LATE_S_MAX:
            yield f"{record.task.id} on {record.host} is overdue since {now_s - verdict.not_before_s:.1f} s: {verdict}"


def _orders(world: "World") -> Iterator[str]:
    for move in world.store.moves.values():
        book = world.ledger.book(move.host)
        own = book.outcomes.get(move.id)
        if move.outcome is None:
            yield f"{move.id} is open in the store"
        elif move.by_scheduler and own is not None and _forgotten(world, move.host, move.id):
            continue
        elif move.by_scheduler and (own is not None or move.id in book.accepted):
            yield f"{move.id} was ended by the scheduler, and its host accepted it"
        elif not move.by_scheduler and own is None and turned_down(move.outcome):
            continue
        elif not move.by_scheduler and own != move.outcome:
            yield f"{move.id} ended otherwise on its host"
    for host, book in world.ledger.hosts.items():
        for move_id in book.accepted:
            if move_id not in book.outcomes:
                yield f"{move_id} was accepted on {host} and has not ended"
        for move_id in book.outcomes:
            if move_id not in world.store.moves and not _forgotten(world, host, move_id):
                yield f"{move_id} ended on {host}, and the scheduler never heard of it"


def _forgotten(world: "World", host: HostId, move: MoveId) -> bool:
    """Whether the agent had too many outcomes of its own orders to keep this one until somebody asks."""
    journal = next(site.journal for site in world.sites if site.host.id == host)
    return move.startswith(ALONE_PREFIX) and journal.entries[move].acknowledged


def _host(site: "Site", state: SchedulerState, world: "World") -> Iterator[str]:
    host, agent = site.host, site.agent
    record = state.world.hosts.get(host.id)
    if agent is None or not agent.session.open or record is None or not record.in_step:
        yield f"{host.id} has no session"
        return
    if agent.core.orders.open_orders or agent.runs:
        yield f"{host.id} has open orders"
    if agent.core.orders.unacknowledged:
        yield f"{host.id} has outcomes that nobody acknowledged"
    if agent.core.policies != world.store.policies:
        yield f"{host.id} follows other policies than the scheduler's"
    if record.topology != host.topology:
        yield f"the scheduler's topology of {host.id} is not its own"
    known = state.world.tasks_on(host.id)
    if set(known) != set(host.tasks):
        yield f"the scheduler follows {sorted(known)} on {host.id}, there are {sorted(host.tasks)}"
        return
    for task in host.tasks.values():
        mine = state.world.task(TaskKey(host.id, task.id))
        if mine is not None:
            yield from _task(host, task, mine, state.world.policy_of(task.job), can_move=record.abilities.can_move)


def _task(host: TrueHost, task: TrueTask, known: TaskRecord, policy: Policy, *, can_move: bool) -> Iterator[str]:
    name = f"{task.id} on {host.id}"
    home = host.topology.home_of(task.cpus)
    if known.task.home.nodes != home:
        yield f"the scheduler takes {sorted(known.task.home.nodes)} for the home of {name}, it is {sorted(home)}"
    elif (known.task.cpus, known.task.mems, known.task.job) != (task.cpus, task.mems, task.job):
        yield f"the scheduler has other CPUs, other mems or another job of {name}"
    elif known.task.residency.cells != task.residency().cells:
        yield f"the scheduler has another residency of {name}"
    elif known.verdict is None:
        yield f"{name} was never judged"
    elif not bears_out(host, task, known.verdict, policy, can_move=can_move, held=bool(known.held)):
        yield f"{name}: {known.verdict.reason.value} does not explain {known.verdict.words!r}"
