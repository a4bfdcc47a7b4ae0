"""Moves by hand amid orders, sweeps and ends: no process ever has two movers, and nothing waits forever."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from node_agent.core.events import SessionOpened
from node_agent.core.facts import ProcessRef, TaskFacts
from numaplace.model.ids import MoveId, TaskId
from tests.fakes.agent import Driven, T, U, facts, order

SHARED = facts(T).processes + facts(U).processes
"""Processes of both followed tasks: what somebody names by hand keeps to no task's bounds."""
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("sweep"), st.sampled_from("ab"), st.integers(0, 1)),
        st.tuples(st.just("gone"), st.sampled_from("ab")),
        st.tuples(st.just("order"), st.sampled_from((T, U))),
        st.tuples(st.just("by hand"), st.sets(st.sampled_from((*SHARED, ProcessRef(77, 7))), min_size=1)),
        st.tuples(st.just("end"), st.integers(0, 9)),
    ),
    max_size=30,
)


def named(processes: set[ProcessRef]) -> TaskFacts:
    """What somebody names: these processes."""
    return replace(facts(TaskId("named")), processes=tuple(sorted(processes, key=lambda ref: ref.pid)))


def do(agent: Driven, step: tuple[object, ...], number: int) -> None:
    """One step."""
    match step:
        case ("sweep", str(name), int(home)):
            agent.sweep(**{name: home})
        case ("gone", str(name)):
            if TaskId(f"cgroup:/{name}") in agent.homes:
                agent.gone(TaskId(f"cgroup:/{name}"))
        case ("order", str(task)):
            agent.told(order(f"m{number}", TaskId(task), agent.homes.get(TaskId(task), 1)))
        case ("by hand", set(processes)):
            agent.ask(f"hand-{number}", named(processes))
        case ("end", int(which)):
            end(agent, which)


def end(agent: Driven, which: int) -> None:
    """One of the movers at work ends."""
    at_work: list[MoveId] = sorted((*agent.running, *agent.by_hand))
    if at_work:
        move = at_work[which % len(at_work)]
        if move in agent.by_hand:
            agent.end_by_hand(move)
        else:
            agent.end(move)


@given(STEPS)
def test_no_process_has_two_movers_and_all_that_waits_has_its_turn(steps: list[tuple[object, ...]]) -> None:
    """Safety is the driver's, at every step; when all movers have ended nothing is open, and each ask was answered."""
    agent = Driven()
    agent.sweep(a=1, b=1)
    agent.tell(SessionOpened())
    for number, step in enumerate(steps):
        do(agent, step, number)
        asked = [f"hand-{n}" for n, s in enumerate(steps[: number + 1]) if s[0] == "by hand"]
        started = {ended.move for ended in agent.core.history.outcomes(lambda _: True)} | set(agent.by_hand)
        assert {move for move in asked if move not in agent.refused} == {m for m in started if m.startswith("hand-")}
    for _ in range(2 * len(steps)):
        end(agent, 0)
    assert not agent.running
    assert not agent.by_hand
    assert agent.core.orders.open_count == 0
    assert agent.core.by_hand.running == {}
