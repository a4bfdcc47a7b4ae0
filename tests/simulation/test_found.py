"""What the simulation found, each as the shortest test that fails without its mending."""

from dataclasses import replace

from node_agent.core.agent import AgentCore
from node_agent.core.events import AbilitiesKnown, CancelMover, Do, PagesMeasured, Send, StartMover, Swept, Told
from node_agent.core.facts import Measured, ProcessRef, Sweep, TaskFacts
from node_agent.core.followed import Followed, Surroundings
from node_agent.linux.pins import FORGET_S, StuckPages
from numaplace.model.ids import CpuId, JobId, MoveId, NodeId, TaskId
from numaplace.model.job import Home, Task
from numaplace.model.move import LeftReason, MoveOrder, MoveOutcome, MoveState
from numaplace.model.policy import Policy
from numaplace.model.residency import Residency
from numaplace.model.session import Abilities, HostLoad
from numaplace.model.topology import Node, Topology
from numaplace.model.worth import Action, HostCosts, Reason, judge
from scheduler.planning.records import Stage
from tests.simulation.script import Script
from tests.simulation.world import Options, World

NODES = frozenset({NodeId(0), NodeId(1)})
TOPOLOGY = Topology(tuple(Node(n, frozenset({CpuId(int(n))}), 1 << 30, {}) for n in sorted(NODES)))
TASK = TaskFacts(
    TaskId("cgroup:/t"), JobId("one"), "job", (ProcessRef(7, 1),), 1, frozenset({CpuId(1)}), NODES, started_s=0.0
)


def _swept(core: AgentCore, at_s: float, *tasks: TaskFacts) -> list[Do]:
    return core.handle(Swept(Sweep(at_s, TOPOLOGY, tasks)), at_s)


def test_a_scheduler_restored_from_a_backup_hears_how_its_orders_ended() -> None:
    """An order sent again was met with silence if its outcome had been acknowledged in an earlier run of the agent."""
    world = World(25, Options(hostile=False))
    script, (site,) = Script(world), world.sites
    world.store.default = Policy()
    script.spawn()
    site.start()
    world.start_scheduler()
    world.timeline.run_until(20.0)
    script.repin()
    world.timeline.run_until(60.0)
    ((sent, move),) = world.store.moves.items()
    ended = site.journal.entries[sent]
    assert ended.acknowledged
    assert site.agent is not None
    assert world.scheduler is not None
    site.agent.kill()
    world.scheduler.kill()
    world.store.moves[sent] = replace(move, stage=Stage.SENT, outcome=None, ended_s=None, progress=None)
    world.timeline.run_until(120.0)
    assert world.store.moves[sent].outcome == ended.outcome
    assert "UNRESPONSIVE" not in "".join(world.trace.lines())


def _agent() -> AgentCore:
    core = AgentCore("a")
    core.handle(AbilitiesKnown(Abilities()), 0.0)
    _swept(core, 1.0, TASK)
    core.handle(PagesMeasured(TASK.id, Measured(Residency.of_nodes({NodeId(0): 1 << 30}))), 1.0)
    return core


def test_a_task_that_serves_another_job_is_told_again() -> None:
    """A policy holds for a job: the scheduler must hear that a followed task has another one. Seed 117."""
    core = _agent()
    told = [do.report for do in _swept(core, 2.0, replace(TASK, job=JobId("two"))) if isinstance(do, Send)]
    assert [report.job for report in told if isinstance(report, Task)] == ["two"]
    assert not [do for do in _swept(core, 3.0, replace(TASK, job=JobId("two"))) if isinstance(do, Send)]


def test_what_is_stuck_on_the_way_to_one_home_says_nothing_of_another() -> None:
    """An agent alone once took all that lay outside a new home for pinned, if as much had been outside the old."""
    task = Followed(TASK, Home(frozenset({NodeId(1)}), 1), NODES, 0.0)
    pinned = {LeftReason.PINNED: 1 << 30}
    task.locate(PagesMeasured(TASK.id, Measured(Residency.of_nodes({NodeId(0): 1 << 30})), pinned), 1.0, 1)
    around = Surroundings(TOPOLOGY, HostLoad(), HostCosts(), 0, 2)
    assert judge(task.situation(99.0, Policy(), around)).action is Action.MOVE
    task.end_move(MoveOutcome(MoveId("m"), TASK.id, MoveState.PARTIAL, "", left=pinned), task.home.nodes, 99.0)
    assert judge(task.situation(999.0, Policy(), around)).reason is Reason.STUCK


def test_a_task_that_is_followed_no_more_is_moved_no_more() -> None:
    """It may come back with another home while its mover is still at work. Seed 986."""
    core = _agent()
    home = core.tasks[TASK.id].home
    order = MoveOrder(MoveId("m"), TASK.id, home.nodes, NODES, home.version, Policy())
    assert any(isinstance(do, StartMover) for do in core.handle(Told(order), 2.0))
    assert [do.move for do in _swept(core, 3.0) if isinstance(do, CancelMover)] == ["m"]


def test_what_was_stuck_is_asked_again_after_a_while() -> None:
    """A registration ends without a sign; were the bytes kept for good, no move would ever find out."""
    stuck = StuckPages()
    stuck.settle(TASK.processes, {LeftReason.PINNED: 4096}, 100.0)
    assert stuck.left(TASK.processes, 100.0 + FORGET_S) == {LeftReason.PINNED: 4096}
    assert stuck.left(TASK.processes, 101.0 + FORGET_S) == {}
