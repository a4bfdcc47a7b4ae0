"""The local service over real Unix sockets: who may ask for what, and what hostile callers get."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from node_agent.core.events import SessionOpened
from node_agent.core.facts import Measured, ProcessRef, TaskFacts
from node_agent.rpc import local as local_module
from node_agent.rpc.local import About, Hands, LocalService, Located, Publisher
from node_agent.rpc.peers import PeerGate
from node_agent.rpc.workers import TooManyCallsError
from numaplace import wire
from numaplace.model.ids import JobId, MoveId, NodeId, TaskId
from numaplace.model.job import ChangeSource, Home, HomeChange
from numaplace.model.move import LeftReason, MoveOrder, MoveProgress
from numaplace.model.residency import Residency
from numaplace.model.session import Report
from numaplace.v1 import local_pb2, local_pb2_grpc
from tests.fakes.agent import GIB, Driven, FakeTasks, T, U, facts, folder_for_all, nodes, order, outcome

WITHIN_S = 60.0
ME = os.geteuid()
ALICE = 1234
"""A user who is not the one who runs the tests."""
UNFOLLOWED = facts(TaskId("cgroup:/unfollowed"), pid=77)
ALICES_UNFOLLOWED = facts(TaskId("cgroup:/alice/unfollowed"), pid=78, uid=ALICE)


class Bench:
    """An agent with three tasks (two of root, one of Alice) and its local service."""

    def __init__(self) -> None:
        self.agent = Driven()
        self.agent.sweep(a=0, b=1, alices=0)
        self.agent.tell(SessionOpened())
        for task in self.agent.core.tasks.values():
            uid = ALICE if task.facts.id == "cgroup:/alices" else 0
            task.facts = facts(task.facts.id, min(task.home.nodes), uid=uid)
        followed = (task.facts for task in self.agent.core.tasks.values())
        self.tasks = FakeTasks(lambda: self.agent.now_s, *followed, UNFOLLOWED, ALICES_UNFOLLOWED)
        self.publisher = Publisher()
        self.fails: Exception | None = None
        self.before_adopting: Callable[[], None] = lambda: None
        self.servers: list[grpc.aio.Server] = []

    async def _find(self, pid: int | None, cgroup: str | None) -> TaskFacts:
        if isinstance(self.fails, TooManyCallsError):
            raise self.fails
        return self.tasks.find(pid=pid, cgroup=cgroup)

    async def _locate(self, processes: tuple[ProcessRef, ...]) -> Located:
        size = GIB * len(processes)
        return Measured(Residency.of_nodes({NodeId(0): size, NodeId(1): size})), {LeftReason.PINNED: 4096}

    async def _adopt(self, by_uid: int, job: JobId, process: ProcessRef | None, cgroup: str | None) -> TaskFacts:
        self.before_adopting()
        if self.fails is not None:
            raise self.fails
        return self.tasks.adopt(job, process=process, cgroup=cgroup, by_uid=by_uid)

    async def _release(self, by_uid: int, job: JobId) -> int:
        if self.fails is not None:
            raise self.fails
        return self.tasks.release(job, by_uid=by_uid)

    def service(self, uid: int) -> LocalService:
        """The service as one uid sees it."""
        adopt, release = partial(self._adopt, uid), partial(self._release, uid)
        hands = Hands(lambda: self.agent.now_s, lambda: True, self._find, self._locate, adopt, release)
        return LocalService(uid, self.agent.core, hands, self.publisher, About("host", "scheduler:1"))

    async def serve(self, uid: int, path: Path) -> object:
        """Serve one uid, as the bootstrap does."""
        server = grpc.aio.server()
        local_pb2_grpc.add_LocalServicer_to_server(self.service(uid), server)
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        self.servers.append(server)
        return server

    @asynccontextmanager
    async def calling(self, folder: Path, uid: int = ME) -> AsyncIterator[Any]:
        """A stub that speaks to the service of this uid, over a socket of its own."""
        path = folder / f"{uid}.sock"
        await self.serve(uid, path)
        try:
            async with grpc.aio.insecure_channel(f"unix:{path}") as channel, asyncio.timeout(WITHIN_S):
                yield local_pb2_grpc.LocalStub(channel)
        finally:
            for server in self.servers:
                await server.stop(None)


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:  # noqa: ANN401 - generated stubs carry no types
    """How a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


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
    """From the first metadata on; also the outcome of a task that is gone by then goes to its owner."""
    alices = TaskId("cgroup:/alices")
    mine, others = order("m", alices, 0), order("n", T, 0)
    change = HomeChange(alices, frozenset(), nodes(0), Home(nodes(1), 2), nodes(0), ChangeSource.SWEEP)
    progress = [MoveProgress(MoveId(move), 1, 2, 3.0, Residency()) for move in ("m", "n", "unknown")]
    said: list[Report | MoveOrder] = [change, mine, others, *progress, outcome(mine), outcome(others)]

    async def watched(uid: int, before: int, after: int) -> list[str]:
        bench = Bench()
        async with bench.calling(tmp_path, uid) as stub:
            call = stub.WatchMoves(local_pb2.WatchLocalMovesRequest())
            await call.initial_metadata()
            for what in said[:-2]:
                bench.publisher.publish(what)
            seen = [await call.read() for _ in range(before)]
            del bench.agent.core.tasks[alices]
            for what in said[-2:]:
                bench.publisher.publish(what)
            seen += [await call.read() for _ in range(after)]
            call.cancel()
        return [event.WhichOneof("event") for event in seen]

    everything = ["changed", "accepted", "accepted", "progress", "progress", "progress", "finished", "finished"]
    assert asyncio.run(watched(0, 6, 2)) == everything
    assert asyncio.run(watched(ALICE, 3, 1)) == ["changed", "accepted", "progress", "finished"]


def test_watchers_are_counted_and_their_places_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many of one user are refused, others are not; one that goes makes room at once."""
    monkeypatch.setattr(local_module, "WATCHERS_OF_UID_MAX", 2)

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
            while list(bench.publisher._watchers.values()).count(ALICE) == 2:  # noqa: ASYNC110 - the server learns of it when it likes
                await asyncio.sleep(0.001)
            fourth = stub.WatchMoves(local_pb2.WatchLocalMovesRequest())
            await fourth.initial_metadata()

    asyncio.run(scenario())


def test_a_slow_watcher_loses_events_and_costs_no_memory() -> None:
    """Whoever does not read is no reason to keep everything."""
    publisher = Publisher()
    with publisher.watch(ALICE) as queue:
        for n in range(3 * local_module.EVENTS_MAX):
            publisher.publish(MoveProgress(MoveId(str(n)), 1, 2, 3.0, Residency()))
        assert queue.qsize() == local_module.EVENTS_MAX
    assert publisher._watchers == {}


def test_a_watcher_for_years_remembers_a_bounded_number_of_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moves whose end it never saw are forgotten, the oldest first."""
    monkeypatch.setattr(local_module, "OWNERS_MAX", 10)
    owners = local_module._Owners(Bench().agent.core)
    for n in range(100):
        owners.owner_uid(order(f"m{n}", TaskId("cgroup:/alices")))
    assert len(owners._of_move) == 10
    assert owners.owner_uid(MoveProgress(MoveId("m99"), 1, 2, 3.0, Residency())) == ALICE
    assert owners.owner_uid(MoveProgress(MoveId("m0"), 1, 2, 3.0, Residency())) == 0


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
