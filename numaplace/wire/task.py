"""Tasks on the wire: who they are, where their home is, where their pages lie, and that their home changed."""

from numaplace.model.cpuset import format_id_list
from numaplace.model.ids import JobId, TaskId
from numaplace.model.job import Actor, Home, HomeChange, MemoryPolicy, Task
from numaplace.model.residency import Cell, PageSize, Residency
from numaplace.v1 import types_pb2 as pb
from numaplace.wire import checks
from numaplace.wire.checks import EnumTable, WireError
from numaplace.wire.host import CHANGE_SOURCES, node_id
from numaplace.wire.policy import PAGE_KINDS

CELLS_MAX = 16_384
"""All sizes and kinds of pages on each of 1024 nodes fit."""

PAGE_SIZES = EnumTable(PageSize, pb.PageSize, "PAGE_SIZE_")
MEMORY_POLICIES = EnumTable(MemoryPolicy, pb.MemoryPolicy, "MEMORY_POLICY_")


def residency_to_proto(residency: Residency) -> pb.Residency:
    """A residency as it is sent; empty cells are left out."""
    return pb.Residency(
        cells=[
            pb.ResidencyCell(
                node=cell.node, size=PAGE_SIZES.to_proto(cell.size), kind=PAGE_KINDS.to_proto(cell.kind), bytes=size
            )
            for cell, size in residency.cells.items()
            if size
        ]
    )


def residency_from_proto(message: pb.Residency, at: str = "residency") -> Residency:
    """A residency as it was sent; raises WireError. A cell is named once; empty cells are left out."""
    checks.entries(message.cells, f"{at}.cells", CELLS_MAX)
    cells: dict[Cell, int] = {}
    for sent in message.cells:
        cell = Cell(
            node_id(sent.node, f"{at}.cells.node"),
            PAGE_SIZES.from_proto(sent.size, f"{at}.cells.size"),
            PAGE_KINDS.from_proto(sent.kind, f"{at}.cells.kind"),
        )
        if cell in cells:
            raise WireError(f"{at}.cells", f"name node {cell.node} {cell.size.value} {cell.kind.value} twice")
        cells[cell] = checks.size_bytes(sent.bytes, f"{at}.cells.bytes")
    return Residency({cell: size for cell, size in cells.items() if size})


def home_to_proto(home: Home) -> pb.Home:
    """A home as it is sent."""
    return pb.Home(nodes=format_id_list(home.nodes), version=home.version)


def home_from_proto(message: pb.Home, at: str = "home") -> Home:
    """A home as it was sent, perhaps without a node (all CPUs offline); raises WireError."""
    return Home(checks.nodes(message.nodes, f"{at}.nodes"), checks.count(message.version, f"{at}.version"))


def task_to_proto(task: Task) -> pb.Task:
    """A task as it is sent."""
    return pb.Task(
        id=task.id,
        job=task.job,
        command=checks.clean(task.command),
        cpus=format_id_list(task.cpus),
        mems=format_id_list(task.mems),
        home=home_to_proto(task.home),
        previous_home=format_id_list(task.previous_home),
        processes=task.processes,
        threads=task.threads,
        age_s=task.age_s,
        memory_policy=MEMORY_POLICIES.to_proto(task.memory_policy),
        policy_nodes=format_id_list(task.policy_nodes),
        cgroup=checks.clean(task.cgroup),
        uid=task.uid,
        residency=residency_to_proto(task.residency),
    )


def task_from_proto(message: pb.Task, at: str = "task") -> Task:
    """A task as it was sent; raises WireError."""
    checks.present(message, "home", at)
    return Task(
        id=TaskId(checks.name(message.id, f"{at}.id")),
        job=JobId(checks.name(message.job, f"{at}.job")),
        command=checks.words(message.command, f"{at}.command"),
        cpus=checks.cpus(message.cpus, f"{at}.cpus"),
        mems=checks.nodes(message.mems, f"{at}.mems"),
        home=home_from_proto(message.home, f"{at}.home"),
        previous_home=checks.nodes(message.previous_home, f"{at}.previous_home"),
        processes=message.processes,
        threads=message.threads,
        age_s=checks.number(message.age_s, f"{at}.age_s"),
        memory_policy=MEMORY_POLICIES.from_proto(message.memory_policy, f"{at}.memory_policy"),
        policy_nodes=checks.nodes(message.policy_nodes, f"{at}.policy_nodes"),
        cgroup=checks.words(message.cgroup, f"{at}.cgroup"),
        uid=message.uid,
        residency=residency_from_proto(message.residency, f"{at}.residency"),
    )


def change_to_proto(change: HomeChange) -> pb.HomeChange:
    """A change of home as it is sent."""
    who = change.actor
    return pb.HomeChange(
        task=change.task,
        cpus=format_id_list(change.cpus),
        mems=format_id_list(change.mems),
        home=home_to_proto(change.home),
        previous_home=format_id_list(change.previous_home),
        source=CHANGE_SOURCES.to_proto(change.source),
        actor=None if who is None else pb.Actor(pid=who.pid, command=checks.clean(who.command)),
        changes=change.changes,
    )


def change_from_proto(message: pb.HomeChange, at: str = "home_changed") -> HomeChange:
    """A change of home as it was sent; raises WireError."""
    checks.present(message, "home", at)
    actor = None
    if message.HasField("actor"):
        actor = Actor(message.actor.pid, checks.words(message.actor.command, f"{at}.actor.command"))
    return HomeChange(
        task=TaskId(checks.name(message.task, f"{at}.task")),
        cpus=checks.cpus(message.cpus, f"{at}.cpus"),
        mems=checks.nodes(message.mems, f"{at}.mems"),
        home=home_from_proto(message.home, f"{at}.home"),
        previous_home=checks.nodes(message.previous_home, f"{at}.previous_home"),
        source=CHANGE_SOURCES.from_proto(message.source, f"{at}.source"),
        actor=actor,
        changes=checks.count(message.changes, f"{at}.changes", 1),
    )
