"""Moves by hand over real Unix sockets: who may ask for what, the story that is told, and how a move ends early."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from node_agent.core.facts import ProcessRef
from node_agent.rpc.places import Places
from node_agent.rpc.workers import TooManyCallsError
from numaplace import wire
from numaplace.kernel.errors import Denied, KernelCallError, ProcessGone
from numaplace.model.hand import HandMove, PickedPages, Prediction, Transfer
from numaplace.model.ids import JobId, NodeId, TaskId
from numaplace.model.move import MoveOrder, MoveOutcome, MoveProgress, MoveState
from numaplace.model.policy import Budget, Policy
from numaplace.model.residency import Residency
from numaplace.v1 import local_pb2
from tests.fakes.agent import T, U, facts, nodes, order
from tests.unit.agent.local_service import ALICE, ALICES_UNFOLLOWED, ME, UNFOLLOWED, Bench, refused

ACROSS = Transfer(nodes(0), nodes(1))
PAGES = PickedPages((4096, 8192), (NodeId(1), NodeId(0)))
NOT_FOUND, DENIED = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED
INVALID, NOT_NOW = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
BUSY = grpc.StatusCode.RESOURCE_EXHAUSTED


def asked(what: HandMove = ACROSS, policy: Policy | None = None, **target: Any) -> local_pb2.HandMoveRequest:  # noqa: ANN401 - a pid or a name
    """A request."""
    return wire.hand_move_to_proto(what, policy or Policy(), **target)


async def told(call: Any) -> list[Any]:  # noqa: ANN401 - generated stubs carry no types
    """The whole story of a move."""
    events = []
    while (event := await call.read()) is not grpc.aio.EOF:
        events.append(wire.local_event_from_proto(event))
    return events


def test_a_move_is_told_from_its_order_to_its_outcome(tmp_path: Path) -> None:
    """The order first, what the mover reports, one outcome, the end; watchers see the same, and it is remembered."""

    async def scenario() -> None:
        bench = Bench()
        policy = Policy(budget=Budget(stall_ms_max=7))
        async with bench.calling(tmp_path, ALICE) as stub, bench.moving():
            watching = stub.WatchMoves(local_pb2.WatchLocalMovesRequest())
            await watching.initial_metadata()
            call = stub.Move(asked(policy=policy, pid=78))
            first = wire.local_event_from_proto(await call.read())
            assert isinstance(first, MoveOrder)
            assert (first.task, first.home, first.previous_home) == (ALICES_UNFOLLOWED.id, nodes(1), nodes(0))
            (move,) = await bench.at_work()
            assert move == first.id
            assert move.startswith("hand-")
            progress = MoveProgress(move, 1, 2, 3.0, Residency())
            bench.mover.controls[move].report(progress)
            assert wire.local_event_from_proto(await call.read()) == progress
            bench.mover.finish(move)
            (outcome,) = await told(call)
            assert (outcome.move, outcome.state) == (move, MoveState.COMPLETED)
            seen = [(await watching.read()).WhichOneof("event") for _ in range(3)]
            assert seen == ["accepted", "progress", "finished"]
            listed = await stub.ListMoves(local_pb2.ListLocalMovesRequest())
            assert [wire.outcome_from_proto(each) for each in listed.outcomes] == [outcome]
            watching.cancel()
        (job,) = bench.mover.jobs
        assert (job.what, job.order.policy, job.task) == (ACROSS, policy, ALICES_UNFOLLOWED)

    asyncio.run(scenario())


def test_a_pid_is_that_process_alone(tmp_path: Path) -> None:
    """As migratepages has it: its descendants stay where they are."""

    async def scenario() -> None:
        bench = Bench()
        family = replace(ALICES_UNFOLLOWED, processes=(*ALICES_UNFOLLOWED.processes, ProcessRef(79, 8)))
        bench.tasks.tasks[family.id] = family
        bench.mover.at_once = True
        async with bench.calling(tmp_path, ALICE) as stub, bench.moving():
            await told(stub.Move(asked(PAGES, pid=78)))
            await told(stub.Move(asked(cgroup="/alice/unfollowed")))
            assert (await refused(told(stub.Move(asked(PAGES, cgroup="/alice/unfollowed")))))[0] is INVALID
        assert [job.task.processes for job in bench.mover.jobs] == [ALICES_UNFOLLOWED.processes, family.processes]
        assert bench.mover.jobs[0].what == PAGES
        assert bench.mover.jobs[0].order.home == nodes(0, 1)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("uid", "request_", "code"),
    [
        (0, asked(), INVALID),
        (0, asked(pid=0), INVALID),
        (0, asked(cgroup=""), INVALID),
        (0, asked(job=""), INVALID),
        (0, local_pb2.HandMoveRequest(pid=77), INVALID),
        (0, asked(Transfer(nodes(0), nodes(7)), pid=77), INVALID),
        (0, asked(Transfer(nodes(7), nodes(0)), pid=77), INVALID),
        (0, asked(PickedPages((4096,), (NodeId(7),)), pid=77), INVALID),
        (0, asked(pid=4_000_000_000), NOT_FOUND),
        (0, asked(cgroup="/../../etc"), NOT_FOUND),
        (0, asked(job="nobody"), NOT_FOUND),
        (ALICE, asked(pid=77), DENIED),
        (ALICE, asked(job="a"), DENIED),
        (ALICE, asked(cgroup="/unfollowed"), DENIED),
        (ALICE, asked(replace(PAGES, shared=True), pid=78), DENIED),
    ],
)
def test_what_cannot_be_or_is_not_the_callers_is_not_moved(
    tmp_path: Path, uid: int, request_: local_pb2.HandMoveRequest, code: grpc.StatusCode
) -> None:
    """One answer, for a move and for a prediction; nothing began, and no place stays taken."""

    async def scenario() -> None:
        bench = Bench()
        async with bench.calling(tmp_path, uid) as stub, bench.moving():
            assert (await refused(told(stub.Move(request_))))[0] is code
            assert (await refused(stub.PredictMove(request_)))[0] is code
        assert bench.mover.jobs == []
        assert bench.places.taken == 0

    asyncio.run(scenario())


def test_pages_of_strangers_are_moved_for_root(tmp_path: Path) -> None:
    """And for whoever runs the agent, whose right it is; for others the agent's right is not theirs."""

    async def scenario() -> None:
        bench = Bench()
        bench.mover.at_once = True
        request = asked(replace(PAGES, shared=True), pid=78)
        async with bench.calling(tmp_path, 0) as stub, bench.moving():
            await told(stub.Move(request))
        async with bench.calling(tmp_path, ME) as stub:
            await stub.PredictMove(request)
        assert bench.mover.jobs[0].what == replace(PAGES, shared=True)

    asyncio.run(scenario())


def test_a_name_of_several_tasks_is_not_half_a_move(tmp_path: Path) -> None:
    """Who is meant must be said."""

    async def scenario() -> None:
        bench = Bench()
        bench.agent.core.tasks[U].facts = facts(U, job="a")
        async with bench.calling(tmp_path, 0) as stub, bench.moving():
            code, words = await refused(told(stub.Move(asked(job="a"))))
        assert (code, words) == (INVALID, "2 tasks here are called so; name one of them by its pid or cgroup")

    asyncio.run(scenario())


def test_a_task_that_is_being_moved_is_told_so(tmp_path: Path) -> None:
    """By an order as by hand: not now, and by whom."""

    async def scenario() -> None:
        bench = Bench()
        bench.agent.sweep(a=1)
        bench.agent.told(order("m"))
        async with bench.calling(tmp_path, 0) as stub, bench.moving():
            code, words = await refused(told(stub.Move(asked(cgroup="/a"))))
            assert code is NOT_NOW
            assert f"{T} is being moved already, by m" in words
            first = stub.Move(asked(pid=77))
            (move,) = await bench.at_work()
            code, words = await refused(told(stub.Move(asked(pid=77))))
            assert code is NOT_NOW
            assert f"by {move}" in words
            bench.mover.finish(move)
            await told(first)
            await bench.at_rest()

    asyncio.run(scenario())


def test_a_move_is_cancelled_by_its_owner_and_its_outcome_follows(tmp_path: Path) -> None:
    """For others it is not there; a second time nothing such is running."""

    async def scenario() -> None:
        bench = Bench()
        async with bench.calling(tmp_path, ALICE) as stub, bench.calling(tmp_path, ALICE + 1) as others, bench.moving():
            call = stub.Move(asked(pid=78))
            (move,) = await bench.at_work()
            request = local_pb2.CancelLocalMoveRequest(move=move)
            assert not (await others.CancelMove(request)).cancelled
            assert (await stub.CancelMove(request)).cancelled
            outcome = (await told(call))[-1]
            assert isinstance(outcome, MoveOutcome)
            assert (outcome.state, outcome.words) == (MoveState.CANCELLED, "cancelled: as asked for")
            assert not (await stub.CancelMove(request)).cancelled

    asyncio.run(scenario())


def test_who_goes_away_takes_the_move_with_them(tmp_path: Path) -> None:
    """Before the first word as after it; it ends after its batch, is remembered, and its place is free again."""

    async def scenario() -> None:
        bench = Bench()
        async with bench.calling(tmp_path, ALICE) as stub, bench.moving():
            call = stub.Move(asked(pid=78))
            await call.read()
            await bench.at_work()
            call.cancel()
            await bench.at_rest()
            (ended,) = bench.agent.core.history.outcomes(lambda _: True)
            assert ended.state is MoveState.CANCELLED
            assert "went away" in ended.words

    asyncio.run(scenario())


def test_what_a_move_would_take_is_told_and_nothing_moved(tmp_path: Path) -> None:
    """The mover's own word; its refusals by the kernel keep their meaning."""

    async def scenario() -> None:
        bench = Bench()
        async with bench.calling(tmp_path, 0) as stub:
            assert wire.prediction_from_proto(await stub.PredictMove(asked(pid=77))) == Prediction(0, 1.0, 2.0)
            for error, code in (
                (ProcessGone("measuring", 3, 77), NOT_FOUND),
                (Denied("measuring", 1, 77), DENIED),
                (KernelCallError("measuring", 5, 77), NOT_NOW),
            ):
                bench.mover.move_fails = error
                assert (await refused(stub.PredictMove(asked(pid=77))))[0] is code
        assert bench.mover.jobs == []
        assert bench.places.taken == 0

    asyncio.run(scenario())


def test_one_user_cannot_take_all_places(tmp_path: Path) -> None:
    """Half of them at the most, and told so before anything of the request is looked at."""

    async def scenario() -> None:
        bench = Bench()
        leave = [bench.places.enter(ALICE) for _ in range(4)]
        async with bench.calling(tmp_path, ALICE) as stub, bench.moving():
            assert (await refused(told(stub.Move(local_pb2.HandMoveRequest()))))[0] is BUSY
            leave[0]()
            assert (await refused(told(stub.Move(local_pb2.HandMoveRequest()))))[0] is INVALID

    asyncio.run(scenario())


def test_a_quarter_of_the_places_is_roots() -> None:
    """However many users there are; and root cannot take more than there are. A place is left once."""
    places = Places(ME or ALICE, 8)
    others = [uid for uid in range(5000, 5006) if uid != ME]
    held = [places.enter(uid) for uid in others for _ in range(4) if places.taken < 6]
    with pytest.raises(TooManyCallsError):
        places.enter(6000)
    held += [places.enter(0), places.enter(0)]
    with pytest.raises(TooManyCallsError):
        places.enter(0)
    for leave in (*held, *held):
        leave()
    assert places.taken == 0


def test_a_stop_of_the_agent_ends_moves_by_hand_after_their_batch(tmp_path: Path) -> None:
    """No thread of it is left; whoever waited is told that nobody answers any more."""

    async def scenario() -> None:
        bench = Bench()
        async with bench.calling(tmp_path, 0) as stub:
            async with bench.moving():
                call = stub.Move(asked(pid=77))
                await call.read()
                (move,) = await bench.at_work()
            assert bench.mover.controls[move].cancelled() == "the agent is stopping"
            call.cancel()

    asyncio.run(scenario())


def test_a_list_of_pages_beyond_all_bounds_is_not_read(tmp_path: Path) -> None:
    """The library that speaks for numaplace never sends one; others are told which size is too much."""

    async def scenario() -> None:
        async with Bench().calling(tmp_path, 0) as stub:
            request = local_pb2.HandMoveRequest(cgroup="x" * (wire.REQUEST_BYTES_MAX + 1))
            code, words = await refused(told(stub.Move(request)))
        assert code is BUSY
        assert str(wire.REQUEST_BYTES_MAX) in words

    asyncio.run(scenario())


def test_a_job_of_one_task_is_moved_by_its_name(tmp_path: Path) -> None:
    """As its last sweep showed it."""

    async def scenario() -> None:
        bench = Bench()
        bench.mover.at_once = True
        async with bench.calling(tmp_path, ALICE) as stub, bench.moving():
            outcome = (await told(stub.Move(asked(job=JobId("alices")))))[-1]
        assert (outcome.task, outcome.state) == (TaskId("cgroup:/alices"), MoveState.COMPLETED)
        assert UNFOLLOWED.id not in {job.task.id for job in bench.mover.jobs}

    asyncio.run(scenario())
