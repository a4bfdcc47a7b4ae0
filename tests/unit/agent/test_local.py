"""The local service over real Unix sockets: who may ask for what, and what hostile callers get."""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from node_agent.core.events import Publish
from node_agent.core.facts import ProcessRef
from node_agent.rpc import publisher as publisher_module
from node_agent.rpc.peers import PeerGate
from node_agent.rpc.publisher import Publisher
from node_agent.rpc.workers import TooManyCallsError
from numaplace import wire
from numaplace.model.ids import JobId, MoveId, NodeId, TaskId
from numaplace.model.job import ChangeSource, Home, HomeChange
from numaplace.model.move import LeftReason, MoveProgress
from numaplace.model.residency import Residency
from numaplace.model.views import LocalEvent
from numaplace.v1 import local_pb2
from tests.fakes.agent import GIB, T, U, facts, folder_for_all, nodes, order, outcome
from tests.unit.agent.local_service import ALICE, ALICES_UNFOLLOWED, ME, WITHIN_S, Bench, refused


def test_the_status_says_what_the_agent_is(tmp_path: Path) -> None:
    """Counts and abilities, for anybody."""

    async def scenario() -> None:
        bench = Bench()
        bench.agent.told(order("m"))
        bench.agent.told(order("n", U))
        async with bench.calling(tmp_path, ALICE) as stub:
            status = await stub.GetStatus(local_pb2.GetStatusRequest())
        assert (status.host, status.scheduler, status.connected) == ("host", "scheduler:1", True)
        assert (status.tasks, status.threads, status.moves_open, status.outcomes_unacknowledged) == (3, 3, 1, 1)
        assert wire.topology_from_proto(status.topology) == bench.agent.core.topology

    asyncio.run(scenario())


@pytest.mark.parametrize(("uid", "seen"), [(0, {"a", "b", "alices"}), (ALICE, {"alices"}), (ALICE + 1, set())])
def test_everybody_lists_their_own_tasks(tmp_path: Path, uid: int, seen: set[str]) -> None:
    """Root sees all; a user nothing of others, not even that it is there."""

    async def scenario() -> None:
        async with Bench().calling(tmp_path, uid) as stub:
            answer = await stub.ListTasks(local_pb2.ListTasksRequest())
            assert {task.job for task in answer.tasks} == seen

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "target",
    [{"task": "cgroup:/a"}, {"job": "a"}, {"cgroup": "/a"}, {"pid": facts(T).processes[0].pid}],
)
def test_a_task_is_shown_by_any_of_its_names(tmp_path: Path, target: dict[str, Any]) -> None:
    """Located now, with its locality and what is stuck."""

    async def scenario() -> None:
        async with Bench().calling(tmp_path, 0) as stub:
            shown = await stub.ShowTask(local_pb2.ShowTaskRequest(**target))
            task = wire.task_from_proto(shown.task)
            assert task.id == T
            assert task.residency == Residency.of_nodes({NodeId(0): GIB, NodeId(1): GIB})
            assert shown.locality == pytest.approx(0.5)
            assert wire.left_from_proto(shown.stuck, "stuck") == {LeftReason.PINNED: 4096}

    asyncio.run(scenario())


def test_what_is_not_followed_is_shown_too(tmp_path: Path) -> None:
    """Anything that runs, by pid or cgroup; its home is computed for it."""

    async def scenario() -> None:
        async with Bench().calling(tmp_path, 0) as stub:
            shown = await stub.ShowTask(local_pb2.ShowTaskRequest(pid=77))
            assert wire.task_from_proto(shown.task).home.nodes == nodes(0)

    asyncio.run(scenario())


NOT_FOUND, DENIED = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("uid", "target", "code"),
    [
        (0, {}, INVALID),
        (0, {"task": ""}, INVALID),
        (0, {"cgroup": ""}, INVALID),
        (0, {"pid": 0}, INVALID),
        (0, {"task": "cgroup:/nobody"}, NOT_FOUND),
        (0, {"job": "nobody"}, NOT_FOUND),
        (0, {"pid": 4_000_000_000}, NOT_FOUND),
        (0, {"cgroup": "/../../etc"}, NOT_FOUND),
        (0, {"task": "x" * 1_000_000}, NOT_FOUND),
        (ALICE, {"task": "cgroup:/a"}, DENIED),
        (ALICE, {"pid": 77}, DENIED),
    ],
)
def test_nothing_is_shown_without_a_target_or_of_others(
    tmp_path: Path, uid: int, target: dict[str, Any], code: grpc.StatusCode
) -> None:
    """No name is not the first task without a cgroup; others' tasks are denied."""

    async def scenario() -> None:
        bench = Bench()
        bench.agent.core.tasks[U].facts = facts(TaskId("process:5@7"), pid=5)  # has no cgroup of that name
        async with bench.calling(tmp_path, uid) as stub:
            assert (await refused(stub.ShowTask(local_pb2.ShowTaskRequest(**target))))[0] is code

    asyncio.run(scenario())


def test_a_user_adopts_and_releases_what_is_theirs(tmp_path: Path) -> None:
    """By pid or by cgroup, under a name of their choice."""

    async def scenario() -> None:
        bench = Bench()
        async with bench.calling(tmp_path, ALICE) as stub:
            task = await stub.Adopt(local_pb2.AdoptRequest(job="mine", pid=78))
            assert task.id == ALICES_UNFOLLOWED.id
            await stub.Adopt(local_pb2.AdoptRequest(job="mine", cgroup="/alice/unfollowed"))
            released = await stub.Release(local_pb2.ReleaseRequest(job="mine"))
            assert released.released == 2
            assert (await stub.Release(local_pb2.ReleaseRequest(job="mine"))).released == 0

    asyncio.run(scenario())


def test_who_adopts_anew_is_told_the_new_name(tmp_path: Path) -> None:
    """What is followed already goes by the name of the last adoption, and the answer says so at once."""

    async def scenario() -> None:
        bench = Bench()
        async with bench.calling(tmp_path, 0) as stub:
            task = await stub.Adopt(local_pb2.AdoptRequest(job="anew", cgroup="/a"))
            assert (task.id, task.job) == (T, "anew")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"job": "mine", "pid": 77}, DENIED),
        ({"job": "a", "pid": 78}, DENIED),
        ({"job": "", "pid": 78}, INVALID),
        ({"job": "x" * 256, "pid": 78}, INVALID),
        ({"job": "x" * 1_000_000, "pid": 78}, INVALID),
        ({"job": "esc\x1b[2J", "pid": 78}, INVALID),
        ({"job": "two\nlines", "pid": 78}, INVALID),
        ({"job": "mine"}, INVALID),
        ({"job": "mine", "pid": 0}, INVALID),
        ({"job": "mine", "cgroup": ""}, INVALID),
        ({"job": "mine", "pid": 99}, NOT_FOUND),
    ],
)
def test_what_may_not_be_adopted_is_not(tmp_path: Path, request_: dict[str, Any], code: grpc.StatusCode) -> None:
    """Not others' processes, not under another's job, and no name that would cost the host its session."""

    async def scenario() -> None:
        bench = Bench()
        async with bench.calling(tmp_path, ALICE) as stub:
            assert (await refused(stub.Adopt(local_pb2.AdoptRequest(**request_))))[0] is code
        assert bench.tasks.adopted == {}

    asyncio.run(scenario())


def test_two_targets_are_one_the_last(tmp_path: Path) -> None:
    """The wire has one field for both: whatever bytes come, only one arrives, and that one is checked."""

    async def scenario() -> None:
        both = local_pb2.AdoptRequest(job="mine", pid=78).SerializeToString()
        both += local_pb2.AdoptRequest(cgroup="/a").SerializeToString()
        async with Bench().calling(tmp_path, ALICE) as stub:
            assert (await refused(stub.Adopt(local_pb2.AdoptRequest.FromString(both))))[0] is DENIED

    asyncio.run(scenario())


def test_others_jobs_are_not_released(tmp_path: Path) -> None:
    """Alice cannot make the agent forget what root adopted, though its processes be hers."""

    async def scenario() -> None:
        bench = Bench()
        bench.tasks.adopted[JobId("a")] = [(ALICES_UNFOLLOWED.id, 0)]
        async with bench.calling(tmp_path, ALICE) as stub:
            assert (await refused(stub.Release(local_pb2.ReleaseRequest(job="a"))))[0] is DENIED
        assert JobId("a") in bench.tasks.adopted

    asyncio.run(scenario())


def test_a_pid_that_changes_hands_in_between_is_not_adopted(tmp_path: Path) -> None:
    """What is adopted is the process that was looked at, or nothing."""

    async def scenario() -> None:
        bench = Bench()
        another = replace(ALICES_UNFOLLOWED, processes=(ProcessRef(78, 999),), uid=0)
        bench.before_adopting = lambda: bench.tasks.tasks.update({another.id: another})
        async with bench.calling(tmp_path, ALICE) as stub:
            code, words = await refused(stub.Adopt(local_pb2.AdoptRequest(job="mine", pid=78)))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "no process 78 any more" in words
        assert bench.tasks.adopted == {}

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("it is a kernel thread")])
def test_an_adoption_that_fails_says_why(tmp_path: Path, error: Exception) -> None:
    """The words of the fault reach the caller; nothing breaks."""

    async def scenario() -> None:
        bench = Bench()
        bench.fails = error
        async with bench.calling(tmp_path, ALICE) as stub:
            code, words = await refused(stub.Adopt(local_pb2.AdoptRequest(job="mine", pid=78)))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert str(error) in words

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "call", [("ShowTask", local_pb2.ShowTaskRequest(pid=78)), ("Adopt", local_pb2.AdoptRequest(job="mine", pid=78)),
             ("Release", local_pb2.ReleaseRequest(job="mine"))]
)  # fmt: skip
def test_who_asks_for_too_much_at_once_is_told(tmp_path: Path, call: tuple[str, Any]) -> None:
    """Not that there is no such process, but that it is too much."""

    async def scenario() -> None:
        bench = Bench()
        bench.fails = TooManyCallsError("too much")
        async with bench.calling(tmp_path, ALICE) as stub:
            code, words = await refused(getattr(stub, call[0])(call[1]))
        assert (code, words) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too much")

    asyncio.run(scenario())


def test_watching_misses_nothing_and_shows_everybody_their_own(tmp_path: Path) -> None:
    """From the first metadata on: whose it is comes with the event, so a task may be gone by then."""
    alices = TaskId("cgroup:/alices")
    mine, others = order("m", alices, 0), order("n", T, 0)
    change = HomeChange(alices, frozenset(), nodes(0), Home(nodes(1), 2), nodes(0), ChangeSource.SWEEP)
    progress = [MoveProgress(MoveId(move), 1, 2, 3.0, Residency()) for move in ("m", "n")]
    of_alice: list[LocalEvent] = [change, mine, progress[0], outcome(mine)]
    of_root: list[LocalEvent] = [others, progress[1], outcome(others)]

    async def watched(uid: int, count: int) -> list[str]:
        bench = Bench()
        async with bench.calling(tmp_path, uid) as stub:
            call = stub.WatchMoves(local_pb2.WatchLocalMovesRequest())
            await call.initial_metadata()
            for what in of_alice:
                bench.publisher.publish(Publish(what, ALICE))
            for what in of_root:
                bench.publisher.publish(Publish(what, 0))
            seen = [await call.read() for _ in range(count)]
            call.cancel()
        return [event.WhichOneof("event") for event in seen]

    first = ["changed", "accepted", "progress", "finished"]
    assert asyncio.run(watched(0, 7)) == [*first, "accepted", "progress", "finished"]
    assert asyncio.run(watched(ALICE, 4)) == first


def test_watchers_are_counted_and_their_places_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many of one user are refused, others are not; one that goes makes room at once."""
    monkeypatch.setattr(publisher_module, "WATCHERS_OF_UID_MAX", 2)

    async def scenario() -> None:
        bench = Bench()
        async with bench.calling(tmp_path, ALICE) as stub, bench.calling(tmp_path, 0) as roots:
            calls = [stub.WatchMoves(local_pb2.WatchLocalMovesRequest()) for _ in range(2)]
            for call in calls:
                await call.initial_metadata()
            third = stub.WatchMoves(local_pb2.WatchLocalMovesRequest())
            assert (await refused(third.read()))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
            await roots.WatchMoves(local_pb2.WatchLocalMovesRequest()).initial_metadata()
            calls[0].cancel()
            while bench.publisher.watching(ALICE) == 2:  # noqa: ASYNC110 - the server learns of it when it likes
                await asyncio.sleep(0.001)
            fourth = stub.WatchMoves(local_pb2.WatchLocalMovesRequest())
            await fourth.initial_metadata()

    asyncio.run(scenario())


def test_a_slow_watcher_loses_events_and_costs_no_memory() -> None:
    """Whoever does not read is no reason to keep everything."""
    publisher = Publisher()
    with publisher.watch(ALICE) as queue:
        for n in range(3 * publisher_module.EVENTS_MAX):
            publisher.publish(Publish(MoveProgress(MoveId(str(n)), 1, 2, 3.0, Residency()), ALICE))
        assert queue.qsize() == publisher_module.EVENTS_MAX
    assert publisher.watching(ALICE) == 0


_LIST_AS = """
import json, os, sys
import grpc
from numaplace.v1 import local_pb2, local_pb2_grpc
uid = int(sys.argv[2])
if os.geteuid() != uid:
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
with grpc.insecure_channel("unix:" + sys.argv[1]) as channel:
    stub = local_pb2_grpc.LocalStub(channel)
    tasks = stub.ListTasks(local_pb2.ListTasksRequest(), timeout=60).tasks
    try:
        stub.ShowTask(local_pb2.ShowTaskRequest(job="a"), timeout=60)
        shown = "OK"
    except grpc.RpcError as error:
        shown = error.code().name
print(json.dumps([sorted(task.job for task in tasks), shown]))
"""


@pytest.mark.parametrize(
    ("uid", "expected"),
    [
        (ME, [["a", "alices", "b"], "OK"]),
        pytest.param(
            ALICE,
            [["alices"], "PERMISSION_DENIED"],
            marks=pytest.mark.skipif(ME != 0, reason="calling as another user takes root"),
        ),
    ],
)
def test_through_the_gate_a_caller_is_who_the_kernel_says(uid: int, expected: list[Any]) -> None:
    """The whole way: a process of that uid, the public socket, the gate, gRPC, the service."""

    async def scenario(path: Path) -> str:
        bench = Bench()
        gate = asyncio.create_task(PeerGate(path, bench.serve).run())
        program = None
        try:
            async with asyncio.timeout(WITHIN_S):
                while not path.exists():  # noqa: ASYNC110, ASYNC240 - a file appears
                    await asyncio.sleep(0.001)
                program = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", _LIST_AS, str(path), str(uid), stdout=subprocess.PIPE
                )
                said, _ = await program.communicate()
            return said.decode()
        finally:
            gate.cancel()
            await asyncio.gather(gate, return_exceptions=True)
            for server in bench.servers:
                await server.stop(None)

    with folder_for_all() as folder:
        assert json.loads(asyncio.run(scenario(folder / "agent.sock"))) == expected
