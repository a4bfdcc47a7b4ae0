"""The scheduler's client, for threads and for asyncio: the same calls, the same values, the same errors."""

from collections.abc import AsyncIterator, Iterable, Iterator
from functools import partial

from numaplace.client import calls
from numaplace.client.channel import AsyncChannel, Channel
from numaplace.client.target import SCHEDULER_ADDRESS, Tls, scheduler_target
from numaplace.model.ids import HostId, JobId, MoveId
from numaplace.model.policy import Policy
from numaplace.model.views import Explanation, Host, Job, Move, NamedPolicy


class SchedulerClient(Channel):
    """Asks a scheduler; every method raises NumaplaceError and what derives from it. Safe for threads.

    >>> with SchedulerClient("sched1:7700", tls=Tls(ca=Path("ca.pem"))) as scheduler:
    ...     for host in scheduler.hosts(): ...
    """

    def __init__(self, address: str = SCHEDULER_ADDRESS, *, tls: Tls | None = None, insecure: bool = False) -> None:
        super().__init__(scheduler_target(address, tls=tls, insecure=insecure))

    def hosts(self) -> tuple[Host, ...]:
        """All hosts."""
        return self.whole(calls.list_hosts)

    def host(self, host: HostId) -> Host:
        """One host; raises NotFound."""
        return self.run(calls.get_host(host))

    def jobs(self, *, host: HostId | None = None) -> tuple[Job, ...]:
        """All jobs, or those with a task on one host."""
        return self.whole(partial(calls.list_jobs, host=host))

    def job(self, job: JobId, *, measure: bool = False) -> Job:
        """One job, with ``measure`` after its pages were located anew; raises NotFound."""
        return self.run(calls.get_job(job, measure=measure))

    def explain(self, job: JobId) -> Explanation:
        """Why a job is, or is not, moved; raises NotFound."""
        return self.run(calls.explain_job(job))

    def moves(
        self, *, host: HostId | None = None, job: JobId | None = None, only_open: bool = False
    ) -> tuple[Move, ...]:
        """All moves that are remembered, or those on one host or of one job, newest first."""
        return self.whole(partial(calls.list_moves, host=host, job=job, only_open=only_open))

    def move(self, move: MoveId) -> Move:
        """One move; raises NotFound."""
        return self.run(calls.get_move(move))

    def cancel(self, move: MoveId) -> Move:
        """Ask for a move's early end, which follows as its outcome; raises NotFound, NotNow if it has ended."""
        return self.run(calls.cancel_move(move))

    def watch_moves(self, *, host: HostId | None = None, job: JobId | None = None) -> Iterator[Move]:
        """Every change of a move from now on."""
        return self.stream(calls.watch_moves(host=host, job=job))

    def policies(self) -> tuple[NamedPolicy, ...]:
        """The default policy and those of single jobs."""
        return self.whole(calls.list_policies)

    def policy(self, job: JobId | None = None) -> NamedPolicy:
        """A job's own policy, raising NotFound if it has none; the default without a job."""
        return self.run(calls.get_policy(job))

    def set_policy(self, policy: Policy, job: JobId | None = None, fields: Iterable[str] = ()) -> NamedPolicy:
        """Set fields ("mode", "budget.stall_ms_max") of a job's policy or of the default; all if none is named."""
        return self.run(calls.update_policy(job, policy, fields))

    def delete_policy(self, job: JobId) -> None:
        """Let a job follow by the default again; raises NotFound."""
        self.run(calls.delete_policy(job))


class AsyncSchedulerClient(AsyncChannel):
    """Asks a scheduler from asyncio; every method raises NumaplaceError and what derives from it."""

    def __init__(self, address: str = SCHEDULER_ADDRESS, *, tls: Tls | None = None, insecure: bool = False) -> None:
        super().__init__(scheduler_target(address, tls=tls, insecure=insecure))

    async def hosts(self) -> tuple[Host, ...]:
        """All hosts."""
        return await self.whole(calls.list_hosts)

    async def host(self, host: HostId) -> Host:
        """One host; raises NotFound."""
        return await self.run(calls.get_host(host))

    async def jobs(self, *, host: HostId | None = None) -> tuple[Job, ...]:
        """All jobs, or those with a task on one host."""
        return await self.whole(partial(calls.list_jobs, host=host))

    async def job(self, job: JobId, *, measure: bool = False) -> Job:
        """One job, with ``measure`` after its pages were located anew; raises NotFound."""
        return await self.run(calls.get_job(job, measure=measure))

    async def explain(self, job: JobId) -> Explanation:
        """Why a job is, or is not, moved; raises NotFound."""
        return await self.run(calls.explain_job(job))

    async def moves(
        self, *, host: HostId | None = None, job: JobId | None = None, only_open: bool = False
    ) -> tuple[Move, ...]:
        """All moves that are remembered, or those on one host or of one job, newest first."""
        return await self.whole(partial(calls.list_moves, host=host, job=job, only_open=only_open))

    async def move(self, move: MoveId) -> Move:
        """One move; raises NotFound."""
        return await self.run(calls.get_move(move))

    async def cancel(self, move: MoveId) -> Move:
        """Ask for a move's early end, which follows as its outcome; raises NotFound, NotNow if it has ended."""
        return await self.run(calls.cancel_move(move))

    def watch_moves(self, *, host: HostId | None = None, job: JobId | None = None) -> AsyncIterator[Move]:
        """Every change of a move from now on."""
        return self.stream(calls.watch_moves(host=host, job=job))

    async def policies(self) -> tuple[NamedPolicy, ...]:
        """The default policy and those of single jobs."""
        return await self.whole(calls.list_policies)

    async def policy(self, job: JobId | None = None) -> NamedPolicy:
        """A job's own policy, raising NotFound if it has none; the default without a job."""
        return await self.run(calls.get_policy(job))

    async def set_policy(self, policy: Policy, job: JobId | None = None, fields: Iterable[str] = ()) -> NamedPolicy:
        """Set fields ("mode", "budget.stall_ms_max") of a job's policy or of the default; all if none is named."""
        return await self.run(calls.update_policy(job, policy, fields))

    async def delete_policy(self, job: JobId) -> None:
        """Let a job follow by the default again; raises NotFound."""
        await self.run(calls.delete_policy(job))
