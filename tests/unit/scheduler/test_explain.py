"""The answer to why a job is, or is not, moved."""

from dataclasses import replace

from numaplace.model.ids import HostId, JobId, MoveId
from numaplace.model.job import Actor, MemoryPolicy
from numaplace.model.move import REMEDY, LeftReason, MoveOutcome, MoveProgress, MoveState, Strategy
from numaplace.model.policy import MIB, FollowMode, Policy
from numaplace.model.residency import Residency
from numaplace.model.worth import Action, Reason, Verdict
from scheduler.planning.explain import TASKS_MAX, Explained, explain
from scheduler.planning.records import HostRecord, Move, Stage, TaskRecord
from tests.unit.scheduler.scene import TASK, home_change, make_task, nodes, two_nodes

NOW_S = 1000.0
JOB = JobId("job")
HOST = HostRecord(HostId("h1"), NOW_S, topology=two_nodes(), connected=True, in_step=True)


def record(**changes: object) -> TaskRecord:
    """A task that was re-pinned to node 1, its 400 MiB on node 0."""
    change = replace(home_change(), actor=Actor(77, "taskset"))
    plain = TaskRecord(HOST.id, make_task(home=1, version=2), NOW_S, NOW_S - 10, measured_s=NOW_S, last_change=change)
    return replace(plain, **changes)  # type: ignore[arg-type] # fields of the record


def move(**changes: object) -> Move:
    """An order to bring it home."""
    plain = Move(MoveId("m-1"), HOST.id, JOB, TASK, None, Stage.SENT, NOW_S - 5)
    return replace(plain, **changes)  # type: ignore[arg-type] # fields of the move


def told(task: TaskRecord, *moves: Move, policy: Policy | None = None, host: HostRecord = HOST) -> str:
    """All sentences."""
    return "\n".join(explain(JOB, [Explained(task, host, moves)], policy or Policy(), NOW_S, own_policy=False))


def test_it_says_who_changed_what_and_where_the_pages_are() -> None:
    """From where to where, by whom, how it was noticed, and what is away."""
    words = told(record())
    assert "10.0 s ago taskset (pid 77) changed its CPUs" in words
    assert "from node 0 to node 1 (noticed by sweep)" in words
    assert "0% are at home; away are 400.0 MiB on node 0" in words


def test_it_gives_decision_and_reason() -> None:
    """Each action has its sentence, with the stable reason."""
    wait = Verdict(Action.WAIT, Reason.TARGET_FULL, "home is full", 1, not_before_s=NOW_S + 30)
    assert "wait (target-full), for home is full; asked again in 30.0 s" in told(record(verdict=wait))
    leave = Verdict(Action.LEAVE, Reason.TOO_SMALL, "only 1 MiB")
    assert "leave it (too-small), for only 1 MiB. The policy's min_remote_bytes is 4.0 MiB" in told(
        record(verdict=leave)
    )
    observe = Verdict(Action.LEAVE, Reason.OBSERVE, "observing", 400 * MIB)
    words = told(record(verdict=observe), policy=Policy(mode=FollowMode.OBSERVE))
    assert "it would move 400.0 MiB, but the policy is to observe (observe-only)" in words


def test_every_reason_for_what_stayed_comes_with_its_remedy() -> None:
    """What the last move left is told, largest first, and what to do about it."""
    left = {reason: (i + 1) * MIB for i, reason in enumerate(LeftReason)}
    outcome = MoveOutcome(
        MoveId("m-1"), TASK, MoveState.PARTIAL, "some stayed", Strategy.MOVE_PAGES, "hot job", 300 * MIB, left, 2.0
    )
    words = told(record(), move(stage=Stage.FINISHED, outcome=outcome, ended_s=NOW_S - 3))
    assert "Move m-1 ended 3.0 s ago as partial: 300.0 MiB moved in 2.0 s by move_pages (hot job)" in words
    assert all(REMEDY[reason] in words for reason in LeftReason)
    assert words.index("(not-reached)") < words.index("(pinned)")


def test_it_tells_how_far_an_open_move_is() -> None:
    """On its way, accepted, running, being ended."""
    assert "is on its way to the host" in told(record(), move())
    assert "accepted and about to start" in told(record(), move(stage=Stage.ACCEPTED))
    progress = MoveProgress(MoveId("m-1"), 100 * MIB, 300 * MIB, 50.0 * MIB, Residency())
    words = told(record(), move(stage=Stage.RUNNING, progress=progress))
    assert "running: 100.0 MiB moved, 300.0 MiB to do, at 50.0 MiB/s" in words
    assert "being ended: on request" in told(record(), move(cancel="on request"))


def test_it_tells_what_new_pages_will_do() -> None:
    """Home, a policy elsewhere, or a cpuset that does not allow the home; the mover's own words go first."""
    assert "New pages are allocated at home." in told(record())
    task = record().task
    bound = replace(task, memory_policy=MemoryPolicy.BIND, policy_nodes=nodes(0))
    assert "New pages land on node 0, as its bind policy says" in told(record(task=bound))
    spread = replace(task, memory_policy=MemoryPolicy.INTERLEAVE, policy_nodes=nodes(0, 1))
    assert "New pages are spread over nodes 0-1" in told(record(task=spread))
    fenced = replace(task, mems=nodes(0))
    assert "cpuset.mems allows node 0 only; write 1 to cpuset.mems" in told(record(task=fenced))
    outcome = MoveOutcome(MoveId("m-1"), TASK, MoveState.COMPLETED, "done", new_pages="they stay away")
    assert "New pages: they stay away." in told(record(), move(stage=Stage.FINISHED, outcome=outcome))


def test_it_says_when_the_agent_is_away() -> None:
    """Nothing can be done from here then, and the reader should know."""
    away = replace(HOST, connected=False, in_step=False, last_seen_s=NOW_S - 600)
    assert "The agent on h1 has been away for 10 min" in told(record(), host=away)


def test_large_jobs_are_cut() -> None:
    """The answer stays readable and small."""
    tasks = [Explained(record(), HOST, ())] * (TASKS_MAX + 5)
    words = explain(JOB, tasks, Policy(), NOW_S, own_policy=True)
    assert words[0] == "Job job follows its own policy: pages follow the CPUs at once."
    assert words[-1] == "5 more tasks are not explained here."


def test_job_without_tasks_has_an_answer() -> None:
    """A job that is gone is no error."""
    assert explain(JOB, [], Policy(), NOW_S, own_policy=False)[1].startswith("No task of it")
