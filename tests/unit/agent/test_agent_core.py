"""The agent's brain: facts and words in, instructions out. Rules, resumption, and following alone."""

import sys
from collections import Counter
from dataclasses import replace
from types import FrameType

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from node_agent.core.agent import ALONE_GRACE_S, AgentCore
from node_agent.core.desk import Limits
from node_agent.core.events import (
    AbilitiesKnown,
    Do,
    JournalFinish,
    JournalPolicies,
    LoadMeasured,
    MeasuringFailed,
    MoverEnded,
    MoverProgressed,
    PagesMeasured,
    Publish,
    Send,
    SessionClosed,
    SessionOpened,
    StartMover,
    Swept,
    WakeAt,
    Woke,
)
from node_agent.core.facts import Measured, Remembered, Sweep
from numaplace.model.ids import ALONE_PREFIX, JobId, MoveId, NodeId, TaskId
from numaplace.model.job import HomeChange, MemoryPolicy, Task
from numaplace.model.move import LeftReason, MoveOutcome, MoveProgress, MoveState
from numaplace.model.policy import FollowMode, Policy
from numaplace.model.residency import Residency
from numaplace.model.session import (
    Abilities,
    AcknowledgeOutcome,
    CancelMove,
    HostLoad,
    Measure,
    MoveAccepted,
    PolicySet,
    ResidencyMeasured,
    Resync,
    Snapshot,
    TaskGone,
    Welcome,
)
from numaplace.model.worth import RETRY_S
from tests.fakes.agent import GIB, HOST, Driven, T, U, facts, nodes, order, outcome, topology

ONE = Limits(measurements_max=1)


def started(done: list[Do]) -> list[MoveId]:
    """The moves that these instructions start."""
    return [do.order.id for do in done if isinstance(do, StartMover)]


def sent(done: list[Do], kind: type) -> list[object]:
    """The reports of one kind among these instructions."""
    return [do.report for do in done if isinstance(do, Send) and isinstance(do.report, kind)]


def in_session(**homes: int) -> Driven:
    """An agent in a session, with these tasks, their pages located on node 0."""
    agent = Driven()
    agent.sweep(**homes)
    agent.tell(SessionOpened())
    for _ in homes:
        agent.located(agent.take_measured(), n0=GIB)
    return agent


def alone(policy: Policy | None = None, /, **homes: int) -> Driven:
    """An agent that never had a session, past its grace, its pages located on node 0."""
    agent = Driven(Remembered(policies=PolicySet(policy or Policy())))
    agent.sweep(**homes)
    for _ in homes:
        agent.located(agent.take_measured(), n0=GIB)
    agent.wait(ALONE_GRACE_S + 1)
    return agent


# What the scheduler is told


def test_a_session_opens_with_the_whole_truth() -> None:
    """A snapshot replaces what the scheduler believed, and comes at once."""
    agent = in_session(a=0, b=1)
    agent.tell(SessionClosed())
    done = agent.tell(SessionOpened())
    assert isinstance(done[0], Send)
    assert isinstance(done[0].report, Snapshot)
    assert {task.id for task in done[0].report.tasks} == {T, U}
    assert done[0].report.topology == HOST


def test_what_a_snapshot_has_no_room_for_follows_it() -> None:
    """What is stuck is learned once; a new session must not make the scheduler forget it."""
    agent = Driven()
    agent.sweep(a=1)
    agent.tell(PagesMeasured(agent.take_measured(), Measured(Residency()), {LeftReason.PINNED: 5}))
    done = agent.tell(SessionOpened())
    assert [type(do.report) for do in done if isinstance(do, Send)] == [Snapshot, ResidencyMeasured]
    assert [type(do.report) for do in agent.told(Resync("lost one")) if isinstance(do, Send)] == [
        Snapshot,
        ResidencyMeasured,
    ]


def test_changes_are_told_one_by_one() -> None:
    """Tasks that come, change and go are deltas to the snapshot."""
    agent = in_session(a=0)
    assert [task.id for task in sent(agent.sweep(b=0), Task) if isinstance(task, Task)] == [U]
    agent.now_s += 1
    change = sent(agent.sweep(a=1), HomeChange)[0]
    assert isinstance(change, HomeChange)
    assert (change.home.nodes, change.previous_home) == (nodes(1), nodes(0))
    assert sent(agent.gone(U), TaskGone) == [TaskGone(U)]


def test_an_unchanged_sweep_says_nothing() -> None:
    """At rest there is nothing to report and nothing to do."""
    agent = in_session(a=0, b=1)
    assert agent.sweep() == []


def test_a_task_that_serves_another_job_is_told_anew() -> None:
    """Adopted under another name it has another policy; told once, and the task stays the same."""
    agent = in_session(a=0)
    renamed = Swept(Sweep(agent.now_s, HOST, (facts(T, 0, job="other"),)))
    (task,) = sent(agent.tell(renamed), Task)
    assert isinstance(task, Task)
    assert (task.id, task.job) == (T, "other")
    assert agent.tell(renamed) == []


def test_another_topology_is_a_new_snapshot() -> None:
    """A CPU or node that came or went changes what every report means."""
    agent = in_session(a=0)
    agent.host = topology(3)
    assert len(sent(agent.sweep(), Snapshot)) == 1


def test_load_and_progress_are_passed_on() -> None:
    """They are the scheduler's to judge, and progress the local watchers' to see."""
    agent = in_session(a=1)
    assert agent.tell(LoadMeasured(HostLoad({NodeId(0): 5}))) == [Send(HostLoad({NodeId(0): 5}))]
    agent.told(order("m"))
    progress = MoveProgress(MoveId("m"), 1, 2, 3.0, Residency())
    assert agent.tell(MoverProgressed(progress)) == [Send(progress), Publish(progress, 0)]


# Where pages are


def test_pages_are_located_one_task_at_a_time() -> None:
    """Locating pages takes CPU from the jobs; each task has its turn, and nobody two."""
    agent = Driven(limits=ONE)
    agent.sweep(**{f"t{n}": 0 for n in range(5)})
    seen = []
    for _ in range(5):
        assert len(agent.measuring) == 1
        seen.append(agent.take_measured())
        agent.located(seen[-1], n0=GIB)
    assert len(set(seen)) == 5
    assert agent.measuring == []


def test_whoever_is_asked_about_comes_first() -> None:
    """A task that was re-pinned does not wait behind all that are only due."""
    agent = Driven(limits=ONE)
    agent.sweep(**{f"t{n}": 0 for n in range(9)})
    agent.sweep(t7=1)
    agent.located(agent.take_measured(), n0=GIB)
    assert agent.take_measured() == "cgroup:/t7"


def test_a_task_in_motion_is_not_measured() -> None:
    """Its pages are the mover's to count; afterwards they are located anew."""
    agent = in_session(a=1)
    agent.told(order("m"))
    agent.told(Measure(T))
    agent.wait(100)
    assert agent.measuring == []
    agent.end("m")
    assert agent.measuring == [T]


def test_pages_are_located_now_and_then() -> None:
    """Without any change a task's pages are located again after the period, and not sooner."""
    agent = in_session(a=0)
    agent.wait(29.9)
    assert agent.measuring == []
    agent.wait(0.2)
    assert agent.measuring == [T]


def test_the_scheduler_may_ask() -> None:
    """A measurement on demand; of a task that is gone there is none."""
    agent = in_session(a=0)
    agent.wait(5)
    agent.told(Measure(T))
    assert agent.measuring == [T]
    assert agent.told(Measure(TaskId("cgroup:/nobody"))) == []


def test_a_task_that_ended_while_measured_keeps_its_place_until_the_measurement_ends() -> None:
    """One at a time counts threads at work, not tasks; and a new task of that id does not get the old one's pages."""
    agent = Driven(limits=ONE)
    agent.sweep(a=0)
    agent.homes.clear()
    agent.sweep()
    agent.sweep(a=0, b=0)
    assert agent.measuring == [T]
    agent.located(agent.take_measured(), n0=GIB)
    assert agent.core.tasks[T].measured is None
    assert len(agent.measuring) == 1


def test_a_failed_measurement_makes_room_and_is_tried_again_later() -> None:
    """One strange process keeps nobody else from being located."""
    agent = Driven(limits=ONE)
    agent.sweep(a=0, b=0)
    first = agent.take_measured()
    agent.tell(MeasuringFailed(first))
    assert agent.measuring == [U if first == T else T]
    agent.located(agent.take_measured(), n0=GIB)
    agent.wait(29)
    assert agent.measuring == []
    agent.wait(2)
    assert agent.measuring == [first]


def test_a_memory_policy_is_told_when_it_is_news() -> None:
    """A task is reported anew when its memory turns out to be bound, and not with each measurement."""
    agent = Driven()
    agent.sweep(a=0)
    bound = Measured(Residency(), MemoryPolicy.BIND, nodes(0))
    assert len(sent(agent.tell(PagesMeasured(agent.take_measured(), bound)), Task)) == 1
    agent.wait(31)
    assert sent(agent.tell(PagesMeasured(agent.take_measured(), bound)), Task) == []


# Orders of an earlier run


def test_an_open_order_is_resumed_in_the_same_boot() -> None:
    """SIGKILL loses no order: the next run goes on where the first sweep shows that it still makes sense."""
    agent = Driven(Remembered(open_moves=(order("m"),)))
    assert started(agent.sweep(a=1)) == ["m"]
    agent.end("m")
    assert agent.state_of("m") is MoveState.COMPLETED


@pytest.mark.parametrize(
    ("homes", "same_boot", "state", "words"),
    [
        ({"a": 1}, False, MoveState.FAILED, "rebooted"),
        ({"b": 1}, True, MoveState.FAILED, "ended while the agent was away"),
        ({"a": 0}, True, MoveState.SUPERSEDED, "its home is now"),
    ],
)
def test_an_open_order_that_makes_no_sense_any_more_ends_with_the_reason(
    homes: dict[str, int], *, same_boot: bool, state: MoveState, words: str
) -> None:
    """Another boot, no such task, another home: each ends the order once, truthfully."""
    agent = Driven(Remembered(open_moves=(order("m"),), same_boot=same_boot))
    done = agent.sweep(**homes)
    assert started(done) == []
    assert agent.state_of("m") is state
    assert words in agent.finished[MoveId("m")].words


def test_of_a_tasks_open_orders_only_the_newest_is_resumed() -> None:
    """The older was being superseded when the agent died."""
    agent = Driven(Remembered(open_moves=(order("m"), order("n"))))
    assert started(agent.sweep(a=1)) == ["n"]
    assert agent.finished[MoveId("m")].words == "superseded: by n"


def test_resumed_outcomes_are_repeated_and_finished_ids_stay_finished() -> None:
    """What the scheduler has not acknowledged is told again; what it has, if it asks; neither is ever run again."""
    agent = Driven(Remembered(outcomes=(outcome(order("m")),), finished=(outcome(order("old")),)))
    agent.sweep(a=1)
    agent.tell(SessionOpened())
    assert [each.move for each in agent.core.snapshot(1.0).outcomes] == ["m"]
    assert agent.told(order("old")) == [Send(outcome(order("old")))]
    assert agent.told(CancelMove(MoveId("old"), "not wanted")) == [Send(outcome(order("old")))]
    assert agent.running == {}


# Policies


def test_policies_are_kept_when_they_are_news() -> None:
    """Each welcome brings them; the journal is written when they changed."""
    agent = in_session(a=0)
    policies = PolicySet(Policy(mode=FollowMode.NEVER))
    assert JournalPolicies(policies) in agent.told(Welcome(policies))
    assert agent.told(Welcome(policies)) == []
    assert agent.told(policies) == []
    assert agent.core.policies == policies


# Alone


def test_alone_it_follows_after_the_grace_and_only_then() -> None:
    """A scheduler that is away for a moment is not missed; one that stays away is."""
    agent = in_session(a=0)
    agent.tell(SessionClosed())
    agent.sweep(a=1)
    agent.wait(ALONE_GRACE_S - 0.01)
    assert agent.running == {}
    agent.wait(0.02)
    assert [each.home for each in agent.running.values()] == [nodes(1)]
    assert all(move.startswith(ALONE_PREFIX) for move in agent.running)


def test_a_session_in_time_ends_the_grace() -> None:
    """The scheduler is back, and decides."""
    agent = in_session(a=0)
    agent.tell(SessionClosed())
    agent.wait(ALONE_GRACE_S / 2)
    agent.sweep(a=1)
    agent.tell(SessionOpened())
    agent.wait(100)
    assert agent.running == {}


def test_the_grace_runs_from_the_first_close() -> None:
    """Dials that fail do not put it off."""
    agent = in_session(a=0)
    agent.tell(SessionClosed())
    agent.sweep(a=1)
    for _ in range(8):
        agent.wait(ALONE_GRACE_S / 8)
        agent.tell(SessionClosed())
    assert len(agent.running) == 1


def test_alone_it_moves_what_a_scheduler_never_saw() -> None:
    """An agent without any scheduler follows too."""
    agent = alone(a=0)
    agent.sweep(a=1)
    agent.wait(1)
    assert len(agent.running) == 1


def test_alone_it_keeps_the_policies() -> None:
    """The last policies hold: never is never, also for one job alone."""
    agent = Driven(Remembered(policies=PolicySet(Policy(), {JobId("a"): Policy(mode=FollowMode.NEVER)})))
    agent.sweep(a=1, b=1)
    for _ in range(2):
        agent.located(agent.take_measured(), n0=GIB)
    agent.wait(100)
    assert [each.task for each in agent.running.values()] == [U]


def test_alone_it_waits_until_the_home_has_settled() -> None:
    """The policy's quiet time holds, and the move comes right after it."""
    agent = alone(Policy(settle_s=2.0), a=0)
    agent.sweep(a=1)
    agent.wait(1.9)
    assert agent.running == {}
    agent.wait(0.2)
    assert len(agent.running) == 1


def test_alone_a_task_re_pinned_in_mid_move_is_followed_at_once() -> None:
    """A move that was superseded says nothing about the new home: no retry time has to pass."""
    agent = alone(a=0)
    agent.sweep(a=1)
    agent.wait(1)
    (first,) = agent.running
    agent.sweep(a=0)
    assert agent.cancels[first].startswith("superseded")
    agent.end(first, MoveState.SUPERSEDED)
    agent.wait(1)
    if agent.measuring:
        agent.located(agent.take_measured(), n0=GIB // 2, n1=GIB // 2)
    agent.wait(1)
    assert [each.home for each in agent.running.values()] == [nodes(0)]


def test_alone_a_partial_move_is_tried_again_later_not_at_once() -> None:
    """What a move left behind is not fought for without end."""
    agent = alone(a=0)
    agent.sweep(a=1)
    agent.wait(1)
    (first,) = agent.running
    agent.end(first, MoveState.PARTIAL)
    for _ in range(int(RETRY_S) - 2):
        agent.wait(1)
        if agent.measuring:
            agent.located(agent.take_measured(), n0=GIB)
        assert agent.running == {}
    agent.wait(5)
    assert len(agent.running) == 1


def test_alone_a_target_that_was_full_is_tried_again_when_there_is_room() -> None:
    """A report of the load that shows all that lacked ends the wait; one that shows less does not."""
    agent = alone(a=0)
    agent.sweep(a=1)
    agent.wait(1)
    (first,) = agent.running.values()
    left = {LeftReason.TARGET_FULL: GIB}
    agent.tell(MoverEnded(replace(outcome(first, MoveState.PARTIAL), left=left)))
    agent.wait(2)
    agent.located(agent.take_measured(), n0=GIB)
    for free in (GIB, 0, GIB - 1):
        agent.tell(LoadMeasured(HostLoad({NodeId(1): free})))
        agent.wait(1)
        assert agent.running == {}
    agent.tell(LoadMeasured(HostLoad({NodeId(1): GIB + GIB // 2})))
    assert len(agent.running) == 1


def test_alone_who_waits_for_room_begins_with_the_report_of_it() -> None:
    """A home without room is no target; nobody waits longer than until there is some."""
    agent = alone(a=0)
    agent.tell(LoadMeasured(HostLoad({NodeId(1): 0})))
    agent.sweep(a=1)
    agent.wait(1)
    assert agent.running == {}
    agent.tell(LoadMeasured(HostLoad({NodeId(1): 4 * GIB})))
    assert len(agent.running) == 1


def test_alone_more_tasks_than_movers_have_their_turn_without_waiting() -> None:
    """The end of one move makes room for the next at once."""
    agent = alone(None, **{f"t{n}": 0 for n in range(6)})
    agent.sweep(**{f"t{n}": 1 for n in range(6)})
    agent.wait(1)
    moved = set()
    while agent.running:
        first = next(iter(agent.running))
        moved.add(agent.running[first].task)
        agent.end(first, home_bytes=GIB)
    assert len(moved) == 6


def test_alone_without_the_right_to_move_it_orders_nothing() -> None:
    """No orders are made that could only be refused; once it may, it does."""
    agent = Driven(Remembered(policies=PolicySet(Policy())))
    agent.tell(AbilitiesKnown(Abilities(can_move=False)))
    agent.sweep(a=1)
    agent.located(agent.take_measured(), n0=GIB)
    agent.wait(100)
    assert agent.core.orders.unacknowledged == ()
    agent.tell(AbilitiesKnown(Abilities()))
    assert len(agent.running) == 1


def test_a_scheduler_that_comes_back_learns_what_was_done_alone() -> None:
    """Own orders are in the snapshot, and a new order of the scheduler supersedes them."""
    agent = alone(a=0)
    agent.sweep(a=1)
    agent.wait(1)
    (own,) = agent.running
    agent.tell(SessionOpened())
    assert [each.id for each in agent.core.snapshot(1.0).open_moves] == [own]
    agent.told(order("m"))
    assert agent.cancels[own] == "superseded: by m"


def test_alone_for_years_its_own_outcomes_stay_bounded() -> None:
    """Nobody may ever ask for them; the oldest are forgotten, also by the journal."""
    agent = Driven(limits=Limits(own_outcomes_max=5))
    agent.sweep(a=1)
    agent.located(agent.take_measured(), n0=GIB)
    moves = 0
    while moves < 12:
        agent.wait(RETRY_S + 5)
        if agent.measuring:
            agent.located(agent.take_measured(), n0=GIB)
        if agent.running:
            agent.end(next(iter(agent.running)), MoveState.PARTIAL)
            moves += 1
    assert len(agent.finished) == 5
    assert agent.core.orders.unacknowledged_count == 5


# Cost


def test_waking_is_asked_for_once_and_for_one_time() -> None:
    """Events by the thousand ask for no wake-ups by the thousand; a repeated wish is no instruction."""
    agent = alone(None, **{f"t{n}": 0 for n in range(20)})
    agent.sweep(**{f"t{n}": 1 for n in range(20)})
    agent.done.clear()
    for n in range(200):
        agent.now_s += 0.001
        agent.tell(LoadMeasured(HostLoad({NodeId(0): n})))
    assert sum(isinstance(do, WakeAt) for do in agent.done) <= 5


def test_whoever_is_woken_too_early_asks_again() -> None:
    """The time that was asked for is used up; what only time can bring must not be lost with it."""
    agent = in_session(a=0)
    asked_s = agent.wake_s
    assert asked_s is not None
    assert agent.tell(Woke()) == [WakeAt(asked_s)]


def test_an_idle_agent_alone_hardly_ever_wakes() -> None:
    """Whoever waits for nothing is not woken: only the periodic measurement is due."""
    agent = alone(a=0)
    agent.done.clear()
    agent.wait(25)
    assert agent.done == []


@pytest.mark.parametrize("session", [True, False])
def test_an_unchanged_sweep_costs_a_bounded_look_at_each_task(*, session: bool) -> None:
    """Calls of Python functions per task, counted: no judgement, no copy, no search through other tasks."""

    def calls(count: int) -> int:
        core = AgentCore("me")
        tasks = tuple(facts(TaskId(f"cgroup:/{n}"), 0, pid=n + 1) for n in range(count))
        core.handle(Swept(Sweep(100.0, HOST, tasks)), 100.0)
        if session:
            core.handle(SessionOpened(), 100.0)
        for _ in tasks:
            core.handle(PagesMeasured(next(iter(core._locating.under_way)), Measured(Residency())), 101.0)
        core.handle(LoadMeasured(HostLoad()), 110.0)
        counted = 0

        def count_calls(_frame: FrameType, event: str, _arg: object) -> None:
            nonlocal counted
            counted += event == "call"

        before = sys.getprofile()
        sys.setprofile(count_calls)
        try:
            assert core.handle(Swept(Sweep(110.1, HOST, tasks)), 110.1) == []
        finally:
            sys.setprofile(before)
        return counted

    few, many = calls(50), calls(250)
    assert many - few <= 4.5 * 200


class AgentMachine(RuleBasedStateMachine):
    """Any order of facts, words, ends and restarts; :class:`Driven` checks the rules at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.agent = Driven()
        self.agent.sweep(a=0, b=0)
        self.orders = 0
        self.accepted_ever: set[MoveId] = set()
        self.outcomes: dict[MoveId, MoveOutcome] = {}

    names = st.sampled_from("abc")
    homes = st.integers(0, 1)

    @rule(name=names, home=homes)
    def repin(self, name: str, home: int) -> None:
        """A task comes or is re-pinned."""
        self.agent.sweep(**{name: home})

    @rule(name=names)
    def vanish(self, name: str) -> None:
        """A task ends."""
        if TaskId(f"cgroup:/{name}") in self.agent.homes:
            self.agent.gone(TaskId(f"cgroup:/{name}"))

    @rule()
    def connect(self) -> None:
        """The session opens."""
        self.agent.tell(SessionOpened())

    @rule()
    def disconnect(self) -> None:
        """The session closes."""
        self.agent.tell(SessionClosed())

    @rule(name=names, home=homes)
    def order(self, name: str, home: int) -> None:
        """The scheduler orders something, perhaps by an old view."""
        self.orders += 1
        self.agent.told(order(f"m{self.orders}", TaskId(f"cgroup:/{name}"), home))

    @rule(back=st.integers(0, 5), name=names)
    def repeat(self, back: int, name: str) -> None:
        """A duplicate, perhaps of long ago: answered as before, whoever has acknowledged it in whichever run."""
        self._note()
        move = MoveId(f"m{self.orders - back}")
        open_before = move in self.agent.accepted
        told = self.agent.told(order(move, TaskId(f"cgroup:/{name}"), 1))
        if open_before:
            assert told[0] == Send(MoveAccepted(move))
        elif move in self.outcomes:
            assert told[0] == Send(self.outcomes[move])

    @rule(ahead=st.integers(-5, 1))
    def cancel(self, ahead: int) -> None:
        """A cancel, perhaps before its order or after its end."""
        self.agent.told(CancelMove(MoveId(f"m{self.orders + ahead}"), "not wanted"))

    @rule(back=st.integers(0, 5))
    def acknowledge(self, back: int) -> None:
        """An acknowledgement, perhaps of something that never was."""
        self.agent.told(AcknowledgeOutcome(MoveId(f"m{self.orders - back}")))

    @precondition(lambda self: self.agent.running)
    @rule(state=st.sampled_from([state for state in MoveState if state.final]), pick=st.integers(0, 9))
    def end(self, state: MoveState, pick: int) -> None:
        """A mover ends."""
        running = list(self.agent.running)
        self.agent.end(running[pick % len(running)], state)

    @precondition(lambda self: self.agent.measuring)
    @rule(n0=st.integers(0, GIB), n1=st.integers(0, GIB), fails=st.booleans())
    def locate(self, n0: int, n1: int, *, fails: bool) -> None:
        """A measurement ends."""
        task = self.agent.take_measured()
        if fails:
            self.agent.tell(MeasuringFailed(task))
        else:
            self.agent.located(task, n0=n0, n1=n1)

    @rule(seconds=st.sampled_from([0.01, 0.5, 4.0, 40.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.agent.wait(seconds)

    @rule(same_boot=st.booleans())
    def kill(self, *, same_boot: bool) -> None:
        """SIGKILL: a new core with what the journal holds; movers and measurements are gone."""
        before = self.agent
        self._note()
        remembered = Remembered(
            open_moves=tuple(before.accepted.values()),
            outcomes=tuple(before.finished.values()),
            finished=tuple(self.outcomes[move] for move in before.ended if move not in before.finished),
            same_boot=same_boot,
        )
        self.agent = Driven(remembered)
        self.agent.core._instance = f"run{self.orders}-{len(self.accepted_ever)}-{before.now_s}"
        self.agent.now_s, self.agent.homes = before.now_s + 1, dict(before.homes)
        self.agent.ended = Counter(dict.fromkeys(before.ended, 1))
        self.agent.sweep()

    def _note(self) -> None:
        self.accepted_ever |= set(self.agent.accepted)
        self.outcomes |= {do.outcome.move: do.outcome for do in self.agent.done if isinstance(do, JournalFinish)}

    @invariant()
    def accepted_orders_are_open_or_ended(self) -> None:
        """No accepted order is ever lost."""
        self._note()
        assert self.accepted_ever <= set(self.outcomes) | set(self.agent.accepted)

    @invariant()
    def places_are_used(self) -> None:
        """Nothing waits while a mover is free for it."""
        agent = self.agent
        moving = {each.task for each in agent.running.values()}
        waiting = {each.task for each in agent.accepted.values()} - moving
        assert not waiting or len(agent.running) == agent.limits.movers_max

    def teardown(self) -> None:
        """Liveness: once movers end and nothing changes, no order stays open, and all is measured."""
        agent = self.agent
        agent.tell(SessionOpened())
        for _ in range(1000):
            if not agent.running:
                break
            agent.end(next(iter(agent.running)))
        assert agent.core.orders.open_orders == ()
        for _ in range(10):
            while agent.measuring:
                agent.located(agent.take_measured(), n0=GIB)
            agent.wait(5)
        assert all(task.measured for task in agent.core.tasks.values())
        self._note()
        assert self.accepted_ever <= set(self.outcomes)


AgentMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAgentMachine = AgentMachine.TestCase
