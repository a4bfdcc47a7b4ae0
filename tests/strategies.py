"""Hypothesis strategies for every value of numaplace.model that goes over the wire; shared by all property tests.

Values are as the wire takes them: printable identifiers, no empty cells, bounded numbers.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from hypothesis import strategies as st

from numaplace.model.hand import HandMove, PickedPages, Prediction, Transfer
from numaplace.model.ids import CpuId, Cpus, HostId, JobId, MoveId, NodeId, Nodes, TaskId
from numaplace.model.job import Actor, ChangeSource, Home, HomeChange, MemoryPolicy, Task
from numaplace.model.move import (
    CounterAccount,
    LeftReason,
    MigrationCounters,
    MoveOrder,
    MoveOutcome,
    MoveProgress,
    MoveState,
    Strategy,
)
from numaplace.model.policy import Budget, FollowMode, Policy
from numaplace.model.residency import Cell, PageKind, PageSize, Residency
from numaplace.model.session import (
    Abilities,
    AcknowledgeOutcome,
    CancelMove,
    Hello,
    HostLoad,
    Instruction,
    Measure,
    MoveAccepted,
    PolicySet,
    Report,
    ResidencyMeasured,
    Resync,
    Snapshot,
    TaskGone,
    Welcome,
)
from numaplace.model.topology import Node, Topology
from numaplace.model.views import (
    AgentStatus,
    Decision,
    Explanation,
    Host,
    HostState,
    Job,
    LocalEvent,
    Move,
    NamedPolicy,
    Shown,
    TaskOnHost,
)
from numaplace.model.worth import Action

PRINTABLE = st.characters(codec="utf-8", exclude_categories=["C", "Z"])
names = st.text(PRINTABLE, min_size=1, max_size=20)
texts = st.text(PRINTABLE | st.just(" "), max_size=40)
sizes = st.integers(0, 1 << 50)
some_bytes = st.integers(1, 1 << 50)
counts = st.integers(0, (1 << 63) - 1)
small_counts = st.integers(0, (1 << 32) - 1)
seconds = st.floats(0, 1e9)
rates = st.floats(0, 1e12)

host_ids = names.map(HostId)
job_ids = names.map(JobId)
move_ids = names.map(MoveId)
task_ids = st.one_of(
    st.builds(lambda path: TaskId(f"cgroup:/{path}"), names),
    st.builds(lambda pid, start: TaskId(f"process:{pid}@{start}"), st.integers(1, 1 << 22), sizes),
)
node_ids = st.one_of(st.integers(0, 7), st.integers(0, 1_023)).map(NodeId)
cpu_ids = st.one_of(st.integers(0, 15), st.integers(0, 8_191)).map(CpuId)
node_sets: st.SearchStrategy[Nodes] = st.frozensets(node_ids, max_size=8)
some_nodes: st.SearchStrategy[Nodes] = st.frozensets(node_ids, min_size=1, max_size=8)
cpu_sets: st.SearchStrategy[Cpus] = st.frozensets(cpu_ids, max_size=24)


@st.composite
def topologies(draw: st.DrawFn, nodes_max: int = 6) -> Topology:
    """A host: gaps in node ids, CPU-only and memory-only nodes, asymmetric and missing distances."""
    ids = sorted(draw(st.sets(node_ids, max_size=nodes_max)))
    cpus = draw(st.lists(cpu_ids, unique=True, max_size=4 * len(ids))) if ids else []
    owner = {cpu: draw(st.sampled_from(ids)) for cpu in cpus}
    nodes = [
        Node(
            node,
            frozenset(cpu for cpu in cpus if owner[cpu] == node),
            draw(st.sampled_from([0, 1 << 30, 1 << 38])),
            draw(st.dictionaries(st.sampled_from(ids), st.integers(10, 254))),
        )
        for node in ids
    ]
    return Topology(tuple(nodes))


cells = st.builds(Cell, node_ids, st.sampled_from(PageSize), st.sampled_from(PageKind))
residencies = st.builds(Residency, st.dictionaries(cells, some_bytes, max_size=8))
lefts: st.SearchStrategy[Mapping[LeftReason, int]] = st.dictionaries(st.sampled_from(LeftReason), some_bytes)

budgets = st.builds(Budget, st.none() | some_bytes, st.floats(0.001, 600_000), sizes)
policies = st.builds(
    Policy,
    mode=st.sampled_from(FollowMode),
    kinds=st.frozensets(st.sampled_from(PageKind), min_size=1),
    budget=budgets,
    settle_s=seconds,
    later_s=seconds,
    min_remote_bytes=sizes,
    min_locality_gain=st.floats(0, 1),
    min_age_s=seconds,
    keep_interleave=st.booleans(),
)
policy_sets = st.builds(PolicySet, policies, st.dictionaries(job_ids, policies, max_size=3))

homes = st.builds(Home, node_sets, counts)
tasks = st.builds(
    Task,
    id=task_ids,
    job=job_ids,
    command=texts,
    cpus=cpu_sets,
    mems=node_sets,
    home=homes,
    previous_home=node_sets,
    processes=small_counts,
    threads=small_counts,
    age_s=seconds,
    memory_policy=st.sampled_from(MemoryPolicy),
    policy_nodes=node_sets,
    cgroup=texts,
    uid=small_counts,
    residency=residencies,
)
actors = st.builds(Actor, st.integers(0, 1 << 22), texts)
home_changes = st.builds(
    HomeChange,
    task=task_ids,
    cpus=cpu_sets,
    mems=node_sets,
    home=homes,
    previous_home=node_sets,
    source=st.sampled_from(ChangeSource),
    actor=st.none() | actors,
    changes=st.integers(1, 1 << 31),
)

orders = st.builds(
    MoveOrder,
    id=move_ids,
    task=task_ids,
    home=some_nodes,
    previous_home=node_sets,
    home_version=counts,
    policy=policies,
)
counters = st.builds(MigrationCounters, counts, counts, counts, counts, counts)
accounts = st.builds(CounterAccount, counters, st.none() | counters)
progresses = st.builds(MoveProgress, move_ids, sizes, sizes, rates, residencies, lefts)
outcomes = st.builds(
    MoveOutcome,
    move=move_ids,
    task=task_ids,
    state=st.sampled_from([state for state in MoveState if state.final]),
    words=texts,
    strategy=st.none() | st.sampled_from(Strategy),
    strategy_reason=texts,
    moved_bytes=sizes,
    left=lefts,
    seconds=seconds,
    first_page_s=st.none() | seconds,
    call_ms_max=seconds,
    stall_ms_max=seconds,
    calls=counts,
    counters=accounts,
    residency=residencies,
    new_pages=texts,
)

loads = st.builds(HostLoad, st.dictionaries(node_ids, sizes, max_size=4), rates)
abilities = st.builds(
    Abilities,
    watchers=st.frozensets(st.sampled_from(ChangeSource)),
    can_move=st.booleans(),
    sees_pagemap=st.booleans(),
    migrate_holds_lock=st.booleans(),
    kernel=texts,
    remarks=st.lists(texts, max_size=3).map(tuple),
)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """A whole host in which no task and no move is named twice."""
    open_moves = draw(st.lists(orders, unique_by=lambda order: order.id, max_size=2))
    ended = draw(st.lists(outcomes, unique_by=lambda outcome: outcome.move, max_size=2))
    opened = {order.id for order in open_moves}
    return Snapshot(
        topology=draw(topologies()),
        abilities=draw(abilities),
        tasks=tuple(draw(st.lists(tasks, unique_by=lambda task: task.id, max_size=3))),
        load=draw(loads),
        open_moves=tuple(open_moves),
        outcomes=tuple(outcome for outcome in ended if outcome.move not in opened),
    )


hellos = st.builds(
    Hello, host=host_ids, instance=names, boot_id=names, protocol=small_counts, agent_version=st.just("") | names
)
measurements = st.builds(ResidencyMeasured, task_ids, residencies, lefts)
reports: st.SearchStrategy[Report] = st.one_of(
    hellos,
    snapshots(),
    tasks,
    st.builds(TaskGone, task_ids),
    home_changes,
    measurements,
    st.builds(MoveAccepted, move_ids),
    progresses,
    outcomes,
    loads,
)
instructions: st.SearchStrategy[Instruction] = st.one_of(
    st.builds(Welcome, policy_sets, small_counts),
    st.builds(Resync, texts),
    orders,
    st.builds(CancelMove, move_ids, texts),
    policy_sets,
    st.builds(AcknowledgeOutcome, move_ids),
    st.builds(Measure, task_ids),
)

moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is the strategy's
shares = st.floats(0, 1)
hosts = st.builds(
    Host,
    id=host_ids,
    state=st.sampled_from(HostState),
    topology=topologies(),
    abilities=abilities,
    load=loads,
    agent_version=texts,
    last_seen=st.none() | moments,
    tasks=small_counts,
    moves_running=small_counts,
    move_bytes_per_s=rates,
)
decisions = st.builds(
    Decision,
    action=st.sampled_from(Action),
    reason=names,
    words=texts,
    would_move_bytes=sizes,
    predicted_s=seconds,
    not_before=st.none() | moments,
)
tasks_on_hosts = st.builds(
    TaskOnHost,
    host=host_ids,
    task=tasks,
    locality=shares,
    remote_bytes=sizes,
    last_change=st.none() | home_changes,
    last_changed=st.none() | moments,
    decision=st.none() | decisions,
)
jobs = st.builds(Job, job_ids, st.lists(tasks_on_hosts, max_size=2).map(tuple), policies, st.booleans())
moves = st.builds(
    Move,
    id=move_ids,
    host=host_ids,
    job=job_ids,
    state=st.sampled_from(MoveState),
    order=st.none() | orders,
    reason=texts,
    created=st.none() | moments,
    ended=st.none() | moments,
    progress=st.none() | progresses,
    outcome=st.none() | outcomes,
    by_agent_alone=st.booleans(),
)
explanations = st.builds(
    Explanation, jobs, st.lists(moves, max_size=2).map(tuple), st.lists(texts, max_size=3).map(tuple)
)
named_policies = st.builds(NamedPolicy, st.none() | job_ids.filter(lambda job: job != "default"), policies)
statuses = st.builds(
    AgentStatus,
    host=host_ids,
    version=texts,
    topology=topologies(),
    abilities=abilities,
    load=loads,
    connected=st.booleans(),
    scheduler=texts,
    tasks=small_counts,
    threads=small_counts,
    moves_open=small_counts,
    outcomes_unacknowledged=small_counts,
)
shown = st.builds(Shown, tasks, shares, lefts)
local_events: st.SearchStrategy[LocalEvent] = st.one_of(orders, progresses, outcomes, home_changes)
picked = st.lists(st.tuples(st.integers(0, (1 << 63) - 1), node_ids), min_size=1, max_size=5)
picked_pages = st.builds(
    lambda pages, shared: PickedPages(tuple(p for p, _ in pages), tuple(n for _, n in pages), shared=shared),
    picked,
    st.booleans(),
)
hand_moves: st.SearchStrategy[HandMove] = st.one_of(st.builds(Transfer, some_nodes, some_nodes), picked_pages)
predictions = st.builds(Prediction, sizes, seconds, seconds, lefts, st.none() | st.sampled_from(Strategy), texts)
