"""Sessions in the pure state: who is believed, and when."""

import pytest

from numaplace.model.ids import HostId, TaskId
from numaplace.model.move import MoveOrder
from numaplace.model.session import Hello, HostLoad, Resync, TaskGone, Welcome
from scheduler.state.bounds import Bounds
from scheduler.state.events import AgentReported, SessionId
from scheduler.state.instructions import CloseCause, CloseSession, Fault, FaultKind
from tests.unit.scheduler.scene import (
    HOST,
    TASK,
    Stage,
    home_change,
    make_snapshot,
    make_task,
    of_kind,
    only,
    sent,
)


def test_hello_is_welcomed_with_the_policies() -> None:
    """An agent gets the policies at once, for it may soon be alone."""
    stage = Stage()
    stage.dial()
    assert only(sent(stage.log, Welcome)).policies == stage.state.world.policies


def test_wrong_protocol_is_turned_away() -> None:
    """An agent of another protocol is told so and is no host."""
    stage = Stage()
    stage.dial(protocol=2)
    closing = only(of_kind(stage.log, CloseSession))
    assert closing.cause is CloseCause.PROTOCOL
    assert not stage.state.world.hosts


def test_nothing_is_decided_before_the_snapshot() -> None:
    """Hello alone says nothing about tasks."""
    stage = Stage()
    session = stage.dial()
    stage.report(session, make_task(home=1, version=2))
    assert not stage.state.world.tasks_on(HOST)
    assert not stage.state.world.hosts[HOST].in_step


def test_gap_asks_for_a_snapshot_and_believes_nothing_until_then() -> None:
    """After a lost message no report counts, and a new snapshot puts everything right."""
    stage = Stage()
    session = stage.join(make_task())
    stage.skip(session)
    assert only(sent(stage.report(session, home_change()), Resync))
    assert not sent(stage.pass_time(1), MoveOrder)
    assert not sent(stage.report(session, HostLoad()), Resync)
    stage.report(session, make_snapshot([make_task(home=1, version=2)]))
    assert sent(stage.pass_time(1), MoveOrder)


def test_snapshot_that_does_not_come_is_asked_for_again() -> None:
    """One Resync may be lost; the next words of the agent bring another, but not at once."""
    stage = Stage()
    session = stage.join(make_task())
    stage.skip(session)
    stage.report(session, HostLoad())
    stage.pass_time(6)
    assert sent(stage.report(session, HostLoad()), Resync)


def test_stale_number_is_ignored() -> None:
    """A number that was there before changes nothing."""
    stage = Stage()
    session = stage.join(make_task())
    done = stage.tell(AgentReported(session, 2, TaskGone(TASK)))
    assert only(of_kind(done, Fault)).kind is FaultKind.OUT_OF_SEQUENCE
    assert stage.state.world.task(stage.key()) is not None


def test_newer_session_takes_over_and_the_older_is_not_heard() -> None:
    """Of two agents of one name the newer is believed."""
    stage = Stage()
    old = stage.join(make_task())
    new = stage.dial(instance="i2")
    closing = [c for c in of_kind(stage.log, CloseSession) if c.session == old]
    assert only(closing).cause is CloseCause.TAKEN_OVER
    stage.report(new, make_snapshot([make_task()]))
    stage.report(old, TaskGone(TASK))
    stage.lose(old)
    assert stage.state.world.task(stage.key()) is not None
    assert stage.state.world.hosts[HOST].connected


def test_second_hello_ends_the_session() -> None:
    """Hello opens a session and nothing else."""
    stage = Stage()
    session = stage.join()
    done = stage.report(session, Hello(HOST, "i1", "b1"))
    assert only(of_kind(done, CloseSession)).cause is CloseCause.BAD_REPORT


def test_reports_of_an_unknown_session_change_nothing() -> None:
    """What comes after the end is not heard."""
    stage = Stage()
    assert stage.tell(AgentReported(SessionId(99), 2, make_snapshot([make_task()]))) == []


def test_change_of_an_unknown_task_asks_for_a_snapshot() -> None:
    """The views have come apart: the whole truth is needed."""
    stage = Stage()
    session = stage.join()
    done = stage.report(session, home_change("nobody"))
    assert only(of_kind(done, Fault)[:1]).kind is FaultKind.UNKNOWN_TASK
    assert sent(done, Resync)


def test_home_on_an_unknown_node_asks_for_a_snapshot() -> None:
    """A node that the topology lacks was plugged in, or the report is wrong."""
    stage = Stage()
    session = stage.join(make_task())
    done = stage.report(session, home_change(home=7))
    assert of_kind(done, Fault)[0].kind is FaultKind.UNKNOWN_NODE
    assert sent(done, Resync)


def test_older_home_is_ignored() -> None:
    """Versions only grow."""
    stage = Stage()
    session = stage.join(make_task(version=5))
    done = stage.report(session, home_change(version=4))
    assert only(of_kind(done, Fault)).kind is FaultKind.STALE_CHANGE
    assert not sent(stage.pass_time(10), MoveOrder)


@pytest.mark.parametrize("at_once", [True, False])
def test_tasks_beyond_the_bound_are_not_followed(at_once: bool) -> None:  # noqa: FBT001 - a parameter
    """One host cannot fill the memory, in a snapshot or one by one."""
    stage = Stage(bounds=Bounds(tasks_per_host_max=2))
    tasks = [make_task(f"t{i}") for i in range(4)]
    session = stage.join(*(tasks if at_once else ()))
    for task in () if at_once else tasks:
        stage.report(session, task)
    assert len(stage.state.world.tasks_on(HOST)) == 2
    assert {fault.kind for fault in of_kind(stage.log, Fault)} == {FaultKind.TOO_MUCH}


def test_hosts_beyond_the_bound_are_turned_away() -> None:
    """So many hosts and no more, known ones may come back."""
    stage = Stage(bounds=Bounds(hosts_max=1))
    stage.lose(stage.join())
    stage.dial(HostId("h2"))
    assert only(of_kind(stage.log, CloseSession)).cause is CloseCause.TOO_MANY
    stage.join(make_task())
    assert stage.state.world.hosts[HOST].in_step


def test_snapshot_replaces_what_was_believed() -> None:
    """Tasks that it does not name are gone."""
    stage = Stage()
    session = stage.join(make_task("a"), make_task("b"))
    stage.report(session, make_snapshot([make_task("b")]))
    assert list(stage.state.world.tasks_on(HOST)) == [TaskId("b")]
