"""What people ask over real gRPC: hosts, jobs, moves, explanations and policies."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from numaplace import wire
from numaplace.model.move import MoveOrder, MoveState
from numaplace.model.policy import FollowMode, Policy
from numaplace.model.session import CancelMove, Measure, MoveAccepted, PolicySet, ResidencyMeasured
from numaplace.v1 import numaplace_pb2 as pb
from numaplace.v1 import numaplace_pb2_grpc
from scheduler.rpc import services
from scheduler.rpc.errors import RefusalError
from scheduler.rpc.pages import PAGE_SIZE_MAX, page_of
from tests.unit.scheduler.scene import home_change, make_snapshot, make_task, outcome_of
from tests.unit.scheduler.service import WITHIN_S, Hand, agent, service

Stub = Any  # generated stubs carry no types


@contextlib.asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[tuple[Hand, Callable[[str], Stub]]]:
    """A service, an agent with two jobs, and a way to get a stub of a service by its name."""
    async with service(folder) as running, agent(running.address) as hand:
        await hand.say(make_snapshot([make_task(), make_task("cgroup:/other", "a/b c")]))
        assert await running.shell.until(lambda state: len(state.world.jobs) == 2, 10)
        async with grpc.aio.insecure_channel(running.address) as channel:
            yield hand, lambda name: getattr(numaplace_pb2_grpc, f"{name}Stub")(channel)


def run(play: Coroutine[Any, Any, None]) -> None:
    """Play it on a loop of its own."""
    asyncio.run(play)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, str]:  # noqa: ANN401 - any call
    """Status, words and reason of a call that must be refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    details = dict(caught.value.trailing_metadata() or ()).get(wire.DETAILS_KEY, b"")
    return caught.value.code(), caught.value.details() or "", wire.error_reason(bytes(details))


def test_hosts_are_listed_and_shown(tmp_path: Path) -> None:
    """A host with its topology, tasks and state; an unknown one is not found."""

    async def play() -> None:
        async with cluster(tmp_path) as (_, stub):
            hosts = stub("Hosts")
            listed = wire.host_from_proto((await hosts.ListHosts(pb.ListHostsRequest())).hosts[0])
            assert (listed.id, listed.tasks, len(listed.topology.nodes)) == ("h1", 2, 2)
            assert wire.host_from_proto(await hosts.GetHost(pb.GetHostRequest(name="hosts/h1"))) == listed
            status, words, reason = await refusal(hosts.GetHost(pb.GetHostRequest(name="hosts/h9")))
            assert (status, reason) == (grpc.StatusCode.NOT_FOUND, "HOST_NOT_FOUND")
            assert "h9" in words

    run(play())


def test_jobs_are_listed_by_host_and_shown(tmp_path: Path) -> None:
    """Job names may hold anything printable; a list can be narrowed to a host."""

    async def play() -> None:
        async with cluster(tmp_path) as (_, stub):
            jobs = stub("Jobs")
            listed = (await jobs.ListJobs(pb.ListJobsRequest(host="hosts/h1"))).jobs
            assert [job.name for job in listed] == ["jobs/a/b c", "jobs/job"]
            assert not (await jobs.ListJobs(pb.ListJobsRequest(host="hosts/h2"))).jobs
            job = wire.job_from_proto(await jobs.GetJob(pb.GetJobRequest(name="jobs/a/b c")))
            assert job.tasks[0].task.id == "cgroup:/other"
            assert (await refusal(jobs.GetJob(pb.GetJobRequest(name="jobs/none"))))[2] == "JOB_NOT_FOUND"
            assert (await refusal(jobs.GetJob(pb.GetJobRequest(name="none"))))[2] == "INVALID_REQUEST"

    run(play())


def test_measuring_asks_the_agent_and_waits_for_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GetJob with measure returns what is true now; an agent that does not answer in time delays it by no more."""
    # Nearly all of the caller's time is kept for the answer to reach it, however busy this machine is.
    monkeypatch.setattr(services, "DEADLINE_MARGIN_S", WITHIN_S - 0.3)

    async def play() -> None:
        async with cluster(tmp_path) as (hand, stub):
            jobs = stub("Jobs")
            call = asyncio.ensure_future(jobs.GetJob(pb.GetJobRequest(name="jobs/job", measure=True)))
            measure = await hand.hear(Measure)
            residency = make_task(pages={1: 4096}).residency
            await hand.say(ResidencyMeasured(measure.task, residency))
            assert wire.job_from_proto(await call).tasks[0].task.residency == residency
            answer = await jobs.GetJob(pb.GetJobRequest(name="jobs/a/b c", measure=True), timeout=WITHIN_S)
            assert answer.name == "jobs/a/b c"

    run(play())


def test_moves_are_watched_listed_explained_and_ended(tmp_path: Path) -> None:
    """A move's whole life as a watcher, a lister and a reader of the explanation see it."""

    async def play() -> None:
        async with cluster(tmp_path) as (hand, stub):
            moves, jobs = stub("Moves"), stub("Jobs")
            watch = moves.WatchMoves(pb.WatchMovesRequest(parent="jobs/job"))
            await watch.initial_metadata()
            await hand.say(home_change())
            order = await hand.hear(MoveOrder)
            sent = wire.move_from_proto(await watch.read())
            assert (sent.id, sent.state) == (order.id, MoveState.ON_ITS_WAY)
            await hand.say(MoveAccepted(order.id))
            assert wire.move_from_proto(await watch.read()).state is MoveState.ACCEPTED
            opened = (await moves.ListMoves(pb.ListMovesRequest(only_open=True, parent="hosts/h1"))).moves
            assert [move.name for move in opened] == [f"moves/{order.id}"]
            await hand.say(outcome_of(order))
            ended = wire.move_from_proto(await watch.read())
            assert ended.state is MoveState.COMPLETED
            assert wire.move_from_proto(await moves.GetMove(pb.GetMoveRequest(name=f"moves/{order.id}"))) == ended
            assert not (await moves.ListMoves(pb.ListMovesRequest(only_open=True))).moves
            told = wire.explanation_from_proto(await jobs.ExplainJob(pb.ExplainJobRequest(name="jobs/job")))
            assert told.moves == (ended,)
            assert any("ended" in sentence and "completed" in sentence for sentence in told.words)

    run(play())


def test_cancelling_reaches_the_agent_and_repeats_harmlessly(tmp_path: Path) -> None:
    """CancelMove answers with the move being ended; after its end it answers with how it ended."""

    async def play() -> None:
        async with cluster(tmp_path) as (hand, stub):
            moves = stub("Moves")
            await hand.say(home_change())
            order = await hand.hear(MoveOrder)
            name = f"moves/{order.id}"
            asked = wire.move_from_proto(await moves.CancelMove(pb.CancelMoveRequest(name=name)))
            assert asked.state is MoveState.CANCELLING
            assert (await hand.hear(CancelMove)).move == order.id
            watch = moves.WatchMoves(pb.WatchMovesRequest())
            await watch.initial_metadata()
            await hand.say(outcome_of(order, MoveState.CANCELLED))
            await watch.read()
            again = wire.move_from_proto(await moves.CancelMove(pb.CancelMoveRequest(name=name)))
            assert again.state is MoveState.CANCELLED
            assert (await refusal(moves.CancelMove(pb.CancelMoveRequest(name="moves/x"))))[2] == "MOVE_NOT_FOUND"

    run(play())


def test_policies_are_updated_by_field_and_deleted(tmp_path: Path) -> None:
    """A mask changes what it names; a job's first policy starts from the default; agents are told."""

    async def play() -> None:
        async with cluster(tmp_path) as (hand, stub):
            policies = stub("Policies")
            wanted = replace(Policy(), mode=FollowMode.NEVER, settle_s=9.0)
            request = wire.policy_update_to_proto("job", wanted, ["mode"])  # type: ignore[arg-type] # a job's name
            updated = wire.named_policy_from_proto(await policies.UpdatePolicy(request))
            assert updated.policy == replace(Policy(), mode=FollowMode.NEVER)
            assert (await hand.hear(PolicySet)).by_job == {"job": updated.policy}
            listed = (await policies.ListPolicies(pb.ListPoliciesRequest())).policies
            assert [each.name for each in listed] == ["policies/default", "policies/job"]
            bad = wire.policy_update_to_proto(None, wanted, ["sette_s"])
            assert (await refusal(policies.UpdatePolicy(bad)))[2] == "INVALID_REQUEST"
            await policies.DeletePolicy(pb.DeletePolicyRequest(name="policies/job"))
            get = policies.GetPolicy(pb.GetPolicyRequest(name="policies/job"))
            assert (await refusal(get))[2] == "POLICY_NOT_FOUND"
            delete = policies.DeletePolicy(pb.DeletePolicyRequest(name="policies/default"))
            assert (await refusal(delete))[2] == "DEFAULT_POLICY"

    run(play())


def test_concurrent_updates_of_different_fields_are_both_kept(tmp_path: Path) -> None:
    """No update is lost to another that read before it wrote."""

    async def play() -> None:
        async with cluster(tmp_path) as (_, stub):
            policies = stub("Policies")
            wanted = replace(Policy(), settle_s=7.0, later_s=77.0)
            updates = (wire.policy_update_to_proto(None, wanted, [path]) for path in ("settle_s", "later_s"))
            await asyncio.gather(*(policies.UpdatePolicy(update) for update in updates))
            policy = wire.named_policy_from_proto(
                await policies.GetPolicy(pb.GetPolicyRequest(name="policies/default"))
            )
            assert (policy.policy.settle_s, policy.policy.later_s) == (7.0, 77.0)

    run(play())


def test_pages_cover_everything_once() -> None:
    """Walking the pages gives every entry once and in order, even if entries go in between."""
    items = [f"j{i:03}" for i in range(25)]
    seen: list[str] = []
    token = ""
    while True:
        page, token = page_of(items, lambda item: (0.0, item), 10, token)
        seen += page
        items = [item for item in items if item != "j005"]
        if not token:
            break
    assert seen == [f"j{i:03}" for i in range(25)]
    everything, rest = page_of(range(5000), lambda i: (float(i), ""), 10**6, "")
    assert len(everything) == PAGE_SIZE_MAX
    assert rest


@pytest.mark.parametrize(("size", "token"), [(-1, ""), (1, "!"), (1, "x" * 9000), (1, "AAAA")])
def test_senseless_pages_are_refused(size: int, token: str) -> None:
    """A token that is not ours is no place to go on from."""
    with pytest.raises(RefusalError):
        page_of([1], lambda i: (float(i), ""), size, token)
