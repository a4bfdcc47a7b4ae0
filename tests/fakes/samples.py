"""A small made-up cluster, for the tests of what people see: two hosts, three jobs, moves in several states."""

from datetime import UTC, datetime

from numaplace.model.ids import CpuId, HostId, JobId, MoveId, NodeId, Nodes, TaskId
from numaplace.model.job import Actor, ChangeSource, Home, HomeChange, Task
from numaplace.model.move import LeftReason, MoveOrder, MoveOutcome, MoveProgress, MoveState, Strategy
from numaplace.model.policy import MIB, FollowMode, Policy
from numaplace.model.residency import Cell, PageKind, PageSize, Residency
from numaplace.model.session import Abilities, HostLoad
from numaplace.model.topology import Node, Topology
from numaplace.model.views import AgentStatus, Decision, Explanation, Host, HostState, Job, Move, Shown, TaskOnHost
from numaplace.model.worth import Action
from tests.fakes.services import Cluster, Machine

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
N0, N1 = NodeId(0), NodeId(1)
HOST = Topology(
    (
        Node(N0, frozenset({CpuId(0), CpuId(1)}), 2 << 30, {N0: 10, N1: 21}),
        Node(N1, frozenset({CpuId(2), CpuId(3)}), 2 << 30, {N0: 21, N1: 10}),
    )
)
PAGES = Residency(
    {
        Cell(N0, PageSize.BASE, PageKind.ANON): 100 * MIB,
        Cell(N1, PageSize.THP, PageKind.ANON): 300 * MIB,
        Cell(N0, PageSize.BASE, PageKind.FILE): 12 * MIB,
    }
)


def nodes(*numbers: int) -> Nodes:
    """A set of nodes."""
    return frozenset(map(NodeId, numbers))


def task(job: str, pages: Residency = PAGES, home: Nodes = nodes(1)) -> Task:  # noqa: B008 - the value is frozen
    """A task of a job."""
    return Task(
        id=TaskId(f"cgroup:/slurm/{job}"),
        job=JobId(job),
        command="python train.py",
        cpus=frozenset({CpuId(2), CpuId(3)}),
        mems=nodes(0, 1),
        home=Home(home, 5),
        previous_home=nodes(0),
        processes=2,
        threads=9,
        age_s=321.0,
        cgroup=f"/slurm/{job}",
        uid=1000,
        residency=pages,
    )


def job(name: str, decision: Decision, pages: Residency = PAGES, policy: Policy | None = None) -> Job:
    """A job with one task on alpha."""
    of = task(name, pages)
    change = HomeChange(of.id, of.cpus, of.mems, of.home, nodes(0), ChangeSource.FANOTIFY, Actor(77, "taskset"), 3)
    on_host = TaskOnHost(
        HostId("alpha"), of, pages.locality(of.home.nodes), pages.remote_bytes(of.home.nodes), change, NOON, decision
    )
    return Job(JobId(name), (on_host,), policy or Policy(), policy is not None)


ORDER = MoveOrder(MoveId("m-1"), TaskId("cgroup:/slurm/train"), nodes(1), nodes(0), 5, Policy())
PROGRESS = MoveProgress(ORDER.id, 300 * MIB, 100 * MIB, 250.0 * MIB, PAGES, {LeftReason.PINNED: 4 * MIB})
OUTCOME = MoveOutcome(
    MoveId("m-0"), TaskId("cgroup:/slurm/etl"), MoveState.PARTIAL, "8.0 MiB are pinned", Strategy.MOVE_PAGES,
    "6.1 holds the lock", 92 * MIB, {LeftReason.PINNED: 8 * MIB}, 1.5, 0.06, 14.0, 21.5, 40,
)  # fmt: skip
RUNNING = Move(ORDER.id, HostId("alpha"), JobId("train"), MoveState.RUNNING, ORDER, "worth-it", NOON, progress=PROGRESS)
ENDED = Move(
    OUTCOME.move, HostId("alpha"), JobId("etl"), MoveState.PARTIAL, None, "worth-it", NOON, NOON, outcome=OUTCOME
)


def cluster() -> Cluster:
    """The cluster as its scheduler shows it."""
    train = job("train", Decision(Action.MOVE, "worth-it", "112.0 MiB lie outside home", 112 * MIB, 0.4))
    etl = job(
        "etl",
        Decision(Action.LEAVE, "stuck", "all 8.0 MiB outside home are known not to move"),
        Residency.of_nodes({N1: 92 * MIB, N0: 8 * MIB}),
        Policy(mode=FollowMode.LATER),
    )
    host = Host(
        HostId("alpha"), HostState.CONNECTED, HOST, Abilities(kernel="6.12.117"), HostLoad({N0: 1 << 30, N1: 1 << 29}),
        "0.1.0", NOON, 2, 1, 250e6,
    )  # fmt: skip
    gone = Host(HostId("beta"), HostState.UNREACHABLE, HOST, Abilities(can_move=False), HostLoad(), "0.1.0", NOON)
    why = ("train was re-pinned from node 0 to node 1.", "112.0 MiB [0, 1] lie outside home, so it is moved.")
    return Cluster(
        hosts={host.id: host, gone.id: gone},
        jobs={train.id: train, etl.id: etl},
        moves={RUNNING.id: RUNNING, ENDED.id: ENDED},
        explanations={train.id: Explanation(train, (RUNNING,), why)},
        policies={None: Policy(), JobId("etl"): Policy(mode=FollowMode.LATER)},
    )


def machine() -> Machine:
    """The agent of alpha; a task is found by pid 4711, its cgroup, its job and its id."""
    shown = Shown(task("train"), PAGES.locality(nodes(1)), {LeftReason.PINNED: 4 * MIB})
    by_name: dict[str | int, Shown] = dict.fromkeys((4711, "/slurm/train", "train", str(shown.task.id)), shown)
    status = AgentStatus(
        HostId("alpha"), "0.1.0", HOST, Abilities(kernel="6.12.117", remarks=("tracefs is missing: mount it",)),
        HostLoad({N0: 1 << 30, N1: 1 << 29}), connected=True, scheduler="sched1:7700", tasks=2, threads=18,
        moves_open=1,
    )  # fmt: skip
    return Machine(status, by_name, [ORDER, PROGRESS, OUTCOME])
