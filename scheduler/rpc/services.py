"""What people and batch systems ask: hosts, jobs, moves and policies. Reads look at the state, changes are events.

Methods have the names of the contract; each answers or raises RefusalError or WireError, which become a status in
scheduler.rpc.errors.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc

from numaplace import wire
from numaplace.model.ids import HostId, JobId, MoveId
from numaplace.model.policy import Policy
from numaplace.model.views import NamedPolicy
from numaplace.v1 import numaplace_pb2 as pb
from numaplace.v1 import numaplace_pb2_grpc
from numaplace.wire import names
from scheduler.planning.records import Move, TaskRecord
from scheduler.ports import Desk, Observer, WatchOverflowError
from scheduler.rpc.errors import RefusalError, abort, invalid, not_found
from scheduler.rpc.identity import caller_of, require_user
from scheduler.rpc.pages import page_of
from scheduler.rpc.views import Views
from scheduler.state.events import CancelRequested, MeasureRequested, PolicyChanged, PolicyDeleted
from scheduler.state.machine import SchedulerState

MEASURE_WITHIN_S = 10.0
"""How long GetJob waits for residencies if the caller sets no deadline."""
DEADLINE_MARGIN_S = 0.2
"""So much before the caller's deadline the answer is given, measured or not."""

Answer = TypeVar("Answer")
_Context = grpc.aio.ServicerContext[Any, Any]


class _Service:
    """What the services share; ``tls``: whether callers show certificates."""

    def __init__(self, desk: Desk, observer: Observer, *, tls: bool) -> None:
        self._desk = desk
        self._observer = observer
        self._tls = tls
        self._views = Views(desk.state, desk.clock)

    async def _answer(self, method: str, context: _Context, made: Callable[[], Awaitable[Answer]]) -> Answer:
        status = grpc.StatusCode.OK
        try:
            require_user(caller_of(context, tls=self._tls))
            return await made()
        except (RefusalError, wire.WireError) as error:
            refusal = error if isinstance(error, RefusalError) else invalid(str(error))
            status = refusal.status
            await abort(context, refusal)
        except asyncio.CancelledError:
            status = grpc.StatusCode.CANCELLED
            raise
        finally:
            self._observer.called(method, status.name)


class Hosts(_Service, numaplace_pb2_grpc.HostsServicer):  # type: ignore[misc] # generated code is untyped
    """Hosts."""

    async def ListHosts(self, request: pb.ListHostsRequest, context: _Context) -> pb.ListHostsResponse:
        """All hosts by name, page by page."""

        async def made() -> pb.ListHostsResponse:
            hosts = self._desk.state.world.hosts.values()
            page, token = page_of(hosts, lambda host: (0.0, host.id), request.page_size, request.page_token)
            shown = [wire.host_to_proto(self._views.host(host)) for host in page]
            return pb.ListHostsResponse(hosts=shown, next_page_token=token)

        return await self._answer("ListHosts", context, made)

    async def GetHost(self, request: pb.GetHostRequest, context: _Context) -> pb.Host:
        """One host."""

        async def made() -> pb.Host:
            host = names.host_id(request.name, "name")
            record = self._desk.state.world.hosts.get(host)
            if record is None:
                raise not_found("host", host)
            return wire.host_to_proto(self._views.host(record))

        return await self._answer("GetHost", context, made)


class Jobs(_Service, numaplace_pb2_grpc.JobsServicer):  # type: ignore[misc] # generated code is untyped
    """Jobs."""

    async def ListJobs(self, request: pb.ListJobsRequest, context: _Context) -> pb.ListJobsResponse:
        """All jobs, or those of one host, by name, page by page."""

        async def made() -> pb.ListJobsResponse:
            world = self._desk.state.world
            jobs: set[JobId] = set(world.jobs)
            if request.host:
                host = names.host_id(request.host, "host")
                jobs = {record.task.job for record in world.tasks_on(host).values()}
            page, token = page_of(jobs, lambda job: (0.0, job), request.page_size, request.page_token)
            shown = [wire.job_to_proto(self._views.job(job)) for job in page]
            return pb.ListJobsResponse(jobs=shown, next_page_token=token)

        return await self._answer("ListJobs", context, made)

    async def GetJob(self, request: pb.GetJobRequest, context: _Context) -> pb.Job:
        """One job; its residencies are measured first if that is wanted and possible in time."""

        async def made() -> pb.Job:
            job = self._known(request.name)
            if request.measure:
                await self._measure(job, context)
            return wire.job_to_proto(self._views.job(job))

        return await self._answer("GetJob", context, made)

    async def ExplainJob(self, request: pb.ExplainJobRequest, context: _Context) -> pb.ExplainJobResponse:
        """Why a job is, or is not, moved."""

        async def made() -> pb.ExplainJobResponse:
            return wire.explanation_to_proto(self._views.explanation(self._known(request.name)))

        return await self._answer("ExplainJob", context, made)

    def _known(self, name: str) -> JobId:
        job = names.job_id(name, "name")
        if not self._views.known(job):
            raise not_found("job", job)
        return job

    async def _measure(self, job: JobId, context: _Context) -> None:
        asked_s = self._desk.clock.now_s()
        remaining_s = context.time_remaining()
        within_s = MEASURE_WITHIN_S if remaining_s is None else min(MEASURE_WITHIN_S, remaining_s - DEADLINE_MARGIN_S)
        if within_s <= 0:
            return

        def measured(state: SchedulerState) -> bool:
            hosts = state.world.hosts
            return all(_since(r, asked_s) for r in state.world.tasks_of(job) if hosts[r.host].in_step)

        await self._desk.settle(MeasureRequested(job))
        await self._desk.until(measured, within_s)


def _since(record: TaskRecord, at_s: float) -> bool:
    return record.measured_s is not None and record.measured_s >= at_s


class Moves(_Service, numaplace_pb2_grpc.MovesServicer):  # type: ignore[misc] # generated code is untyped
    """Moves."""

    async def ListMoves(self, request: pb.ListMovesRequest, context: _Context) -> pb.ListMovesResponse:
        """The open moves and the history, newest first, page by page."""

        async def made() -> pb.ListMovesResponse:
            wanted = _of_parent(request.parent)
            book = self._desk.state.book
            moves = book.open.values() if request.only_open else book.newest_first()
            chosen = [move for move in moves if wanted(move)]
            page, token = page_of(chosen, lambda m: (-m.created_s, m.id), request.page_size, request.page_token)
            shown = [wire.move_to_proto(self._views.move(move)) for move in page]
            return pb.ListMovesResponse(moves=shown, next_page_token=token)

        return await self._answer("ListMoves", context, made)

    async def GetMove(self, request: pb.GetMoveRequest, context: _Context) -> pb.Move:
        """One move."""

        async def made() -> pb.Move:
            return self._shown(names.move_id(request.name, "name"))

        return await self._answer("GetMove", context, made)

    async def CancelMove(self, request: pb.CancelMoveRequest, context: _Context) -> pb.Move:
        """Ask for a move's end; the answer is the move as it then is. An ended move stays as it ended."""

        async def made() -> pb.Move:
            move = names.move_id(request.name, "name")
            self._shown(move)
            await self._desk.settle(CancelRequested(move, "cancelled on request"))
            return self._shown(move)

        return await self._answer("CancelMove", context, made)

    async def WatchMoves(self, request: pb.WatchMovesRequest, context: _Context) -> None:
        """Every change of a move from now on, until the caller has enough."""

        async def made() -> None:
            wanted = _of_parent(request.parent)
            watch = self._desk.watch()
            try:
                # Headers say that the watch has begun: what changes from here on will be told.
                await context.send_initial_metadata(())
                async for move in watch:
                    if wanted(move):
                        await context.write(wire.move_to_proto(self._views.move(move)))
            except WatchOverflowError as error:
                raise RefusalError(grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW", str(error)) from error
            finally:
                watch.close()

        await self._answer("WatchMoves", context, made)

    def _shown(self, move_id: MoveId) -> pb.Move:
        move = self._desk.state.book.find(move_id)
        if move is None:
            raise not_found("move", move_id)
        return wire.move_to_proto(self._views.move(move))


def _of_parent(name: str) -> Callable[[Move], bool]:
    if name.startswith(names.HOSTS):
        host: HostId = names.host_id(name, "parent")
        return lambda move: move.host == host
    if name:
        job = names.job_id(name, "parent")
        return lambda move: move.job == job
    return lambda _: True


class Policies(_Service, numaplace_pb2_grpc.PoliciesServicer):  # type: ignore[misc] # generated code is untyped
    """Policies: the default, and those of single jobs."""

    def __init__(self, desk: Desk, observer: Observer, *, tls: bool) -> None:
        super().__init__(desk, observer, tls=tls)
        self._one_update_at_a_time = asyncio.Lock()

    async def ListPolicies(self, request: pb.ListPoliciesRequest, context: _Context) -> pb.ListPoliciesResponse:
        """The default, then those of jobs by name, page by page."""

        async def made() -> pb.ListPoliciesResponse:
            policies = self._desk.state.world.policies
            named = [NamedPolicy(None, policies.default), *(NamedPolicy(*item) for item in policies.by_job.items())]
            page, token = page_of(
                named,
                lambda each: (0.0, "") if each.job is None else (1.0, each.job),
                request.page_size,
                request.page_token,
            )
            shown = [wire.named_policy_to_proto(each) for each in page]
            return pb.ListPoliciesResponse(policies=shown, next_page_token=token)

        return await self._answer("ListPolicies", context, made)

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: _Context) -> pb.NamedPolicy:
        """The default policy, or a job's own."""

        async def made() -> pb.NamedPolicy:
            job = names.policy_job(request.name, "name")
            return wire.named_policy_to_proto(NamedPolicy(job, self._present(job)))

        return await self._answer("GetPolicy", context, made)

    def _present(self, job: JobId | None) -> Policy:
        policies = self._desk.state.world.policies
        if job is None:
            return policies.default
        if job not in policies.by_job:
            raise not_found("policy", job)
        return policies.by_job[job]

    async def UpdatePolicy(self, request: pb.UpdatePolicyRequest, context: _Context) -> pb.NamedPolicy:
        """Set a policy, or some of its fields. A job's first policy starts from the default."""

        async def made() -> pb.NamedPolicy:
            job = names.policy_job(request.policy.name, "policy.name")
            async with self._one_update_at_a_time:
                policies = self._desk.state.world.policies
                bound = self._desk.state.bounds.policies_max
                if job is not None and job not in policies.by_job and len(policies.by_job) >= bound:
                    words = f"there are {bound} policies already; delete some"
                    raise RefusalError(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_POLICIES", words)
                present = policies.default if job is None else policies.of(job)
                policy = wire.updated_policy(present, request)
                await self._desk.settle(PolicyChanged(job, policy))
            return wire.named_policy_to_proto(NamedPolicy(job, policy))

        return await self._answer("UpdatePolicy", context, made)

    async def DeletePolicy(self, request: pb.DeletePolicyRequest, context: _Context) -> pb.DeletePolicyResponse:
        """Have a job follow the default again."""

        async def made() -> pb.DeletePolicyResponse:
            job = names.policy_job(request.name, "name")
            if job is None:
                words = "the default policy cannot be deleted; change it with an update"
                raise RefusalError(grpc.StatusCode.FAILED_PRECONDITION, "DEFAULT_POLICY", words)
            self._present(job)
            await self._desk.settle(PolicyDeleted(job))
            return pb.DeletePolicyResponse()

        return await self._answer("DeletePolicy", context, made)
