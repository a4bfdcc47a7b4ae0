"""Moves by hand from a program: asked for as meant, told to the end, cancelled by their id, refused with a kind."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from numaplace.client import AgentClient, AsyncAgentClient, InvalidRequest, NotFound, NotNow
from numaplace.model.hand import PickedPages, Prediction, Transfer
from numaplace.model.ids import JobId, MoveId, NodeId
from numaplace.model.move import LeftReason, MoveOrder, MoveOutcome, MoveState, Strategy
from numaplace.model.policy import Budget, Policy
from tests.fakes import samples, services
from tests.fakes.services import Machine

ACROSS = Transfer(frozenset({NodeId(0)}), frozenset({NodeId(1)}))
PAGES = PickedPages((4096,), (NodeId(1),))
GENTLE = Policy(budget=Budget(stall_ms_max=5))


@pytest.fixture
def machine() -> Machine:
    """What the fake agent knows: a move that takes until somebody cancels it."""
    machine = samples.machine()
    machine.story = [samples.ORDER, samples.PROGRESS]
    machine.prediction = Prediction(1 << 30, 1.5, 2.5, {LeftReason.PINNED: 4096}, Strategy.MOVE_PAGES, "it is old")
    machine.ended = [samples.OUTCOME]
    return machine


@pytest.fixture
def socket(machine: Machine, tmp_path: Path) -> Iterator[Path]:
    """A fake agent's socket."""
    with services.agent(machine, tmp_path / "agent.sock") as at:
        yield at


def test_a_move_is_a_stream_that_ends_with_its_outcome(machine: Machine, socket: Path) -> None:
    """Order, progress, outcome; what was asked for arrives with its policy, by whichever name."""
    machine.story = [samples.ORDER, samples.PROGRESS, samples.OUTCOME]
    with AgentClient(socket) as agent:
        assert list(agent.move(ACROSS, pid=4711, policy=GENTLE)) == machine.story
        assert list(agent.move(PAGES, cgroup="/slurm/train")) == machine.story
        assert agent.moves() == (samples.OUTCOME,)
    assert machine.by_hand == [(ACROSS, GENTLE, 4711), (PAGES, Policy(), "/slurm/train")]


def test_a_move_is_cancelled_by_the_id_of_its_order(socket: Path) -> None:
    """From another thread or between two words; its outcome still comes, and then it is not running any more."""
    with AgentClient(socket) as agent:
        story = agent.move(ACROSS, job=JobId("train"))
        order = next(story)
        assert isinstance(order, MoveOrder)
        assert agent.cancel(order.id)
        outcome = list(story)[-1]
        assert isinstance(outcome, MoveOutcome)
        assert outcome.state is MoveState.CANCELLED
        assert not agent.cancel(order.id)
        assert not agent.cancel(MoveId("hand-other"))


def test_closing_the_stream_ends_the_call(machine: Machine, socket: Path) -> None:
    """The agent hears of it, and ends the move."""
    with AgentClient(socket) as agent:
        story = agent.move(ACROSS, pid=4711)
        order = next(story)
        assert isinstance(order, MoveOrder)
        story.close()
        assert machine.cancelled[order.id].wait(10)


def test_a_prediction_is_a_value(machine: Machine, socket: Path) -> None:
    """And moves nothing."""
    with AgentClient(socket) as agent:
        assert agent.predict(ACROSS, pid=4711) == machine.prediction


def test_what_cannot_be_has_a_kind(machine: Machine, socket: Path) -> None:
    """Nobody there, nodes that cannot be, a task that is being moved already."""
    with AgentClient(socket) as agent:
        with pytest.raises(NotFound):
            next(iter(agent.move(ACROSS, pid=1)))
        with pytest.raises(InvalidRequest):
            agent.predict(PickedPages((1 << 63,), (NodeId(1),)), pid=4711)
        machine.not_now = "it is being moved already, by hand-1"
        with pytest.raises(NotNow, match="hand-1"):
            next(iter(agent.move(ACROSS, pid=4711)))


def test_the_asynchronous_client_says_the_same(machine: Machine, socket: Path) -> None:
    """Same calls, same values."""

    async def ask() -> None:
        async with AsyncAgentClient(socket) as agent:
            story = agent.move(ACROSS, pid=4711, policy=GENTLE)
            assert await anext(story) == samples.ORDER
            assert await agent.cancel(samples.ORDER.id)
            assert [event async for event in story][-1] != samples.PROGRESS
            assert not await agent.cancel(samples.ORDER.id)
            assert await agent.predict(PAGES, job=JobId("train")) == machine.prediction
            assert await agent.moves() == (samples.OUTCOME,)

    asyncio.run(ask())
