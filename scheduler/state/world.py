"""Hosts, tasks and policies as last reported: what the scheduler believes, kept in one place with its indexes.

Records are immutable and replaced. A task whose facts changed is noted as *concerned*: it is judged at the end of the
event that changed it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from numaplace.model.ids import HostId, JobId, TaskId
from numaplace.model.policy import Policy
from numaplace.model.session import PolicySet
from numaplace.model.worth import HostCosts
from scheduler.planning.records import HostRecord, TaskKey, TaskRecord


class World:
    """All hosts, tasks and policies. ``concerned`` are the tasks to be judged anew, in the order they were noted."""

    def __init__(self, policies: PolicySet, costs: Mapping[HostId, HostCosts]) -> None:
        self.policies = policies
        self.hosts: dict[HostId, HostRecord] = {}
        self.concerned: dict[TaskKey, None] = {}
        self._gone: list[TaskKey] = []
        self._costs = dict(costs)
        self._tasks: dict[HostId, dict[TaskId, TaskRecord]] = {}
        self._jobs: dict[JobId, dict[TaskKey, None]] = {}

    # Hosts

    def put_host(self, record: HostRecord) -> None:
        """A host is new or has changed."""
        if record.id not in self.hosts and record.id in self._costs:
            record = replace(record, costs=self._costs[record.id])
        self.hosts[record.id] = record

    def forget_host(self, host: HostId) -> None:
        """A host and its tasks are no longer known."""
        for task in tuple(self._tasks.get(host, ())):
            self.drop_task(TaskKey(host, task))
        self._tasks.pop(host, None)
        forgotten = self.hosts.pop(host, None)
        if forgotten is not None:
            self._costs[host] = forgotten.costs

    # Tasks

    def task(self, key: TaskKey) -> TaskRecord | None:
        """A task by its key."""
        return self._tasks.get(key.host, {}).get(key.task)

    def tasks_on(self, host: HostId) -> Mapping[TaskId, TaskRecord]:
        """The tasks of a host."""
        return self._tasks.get(host, {})

    def tasks_of(self, job: JobId) -> list[TaskRecord]:
        """The tasks of a job, in order of their hosts."""
        return [self._tasks[key.host][key.task] for key in sorted(self._jobs.get(job, ()))]

    def all_tasks(self) -> Iterator[TaskRecord]:
        """Every task."""
        return (record for tasks in self._tasks.values() for record in tasks.values())

    @property
    def jobs(self) -> Mapping[JobId, Mapping[TaskKey, None]]:
        """The keys of each job's tasks."""
        return self._jobs

    def put_task(self, record: TaskRecord, *, concerned: bool = True) -> None:
        """A task is new or has changed; ``concerned`` if that may change the verdict on it."""
        known = self.task(record.key)
        if known is not None and known.task.job != record.task.job:
            self._leave_job(record.key, known.task.job)
        self._tasks.setdefault(record.host, {})[record.task.id] = record
        self._jobs.setdefault(record.task.job, {})[record.key] = None
        if concerned:
            self.concern(record.key)

    def drop_task(self, key: TaskKey) -> None:
        """A task is gone."""
        record = self._tasks.get(key.host, {}).pop(key.task, None)
        if record is not None:
            self._leave_job(key, record.task.job)
            self._gone.append(key)
        self.concerned.pop(key, None)

    def take_gone(self) -> list[TaskKey]:
        """The tasks that went since this was last asked."""
        gone, self._gone = self._gone, []
        return gone

    def _leave_job(self, key: TaskKey, job: JobId) -> None:
        del self._jobs[job][key]
        if not self._jobs[job]:
            del self._jobs[job]

    def concern(self, key: TaskKey) -> None:
        """Judge this task at the end of the event."""
        self.concerned[key] = None

    def take_concerned(self) -> list[TaskRecord]:
        """The tasks to be judged now; they are no longer noted."""
        keys = tuple(self.concerned)
        self.concerned.clear()
        return [record for key in keys if (record := self.task(key)) is not None]

    # Policies

    def policy_of(self, job: JobId) -> Policy:
        """The policy that holds for a job."""
        return self.policies.of(job)

    def put_policy(self, job: JobId | None, policy: Policy | None) -> None:
        """Set a job's policy, the default (``job`` None), or with ``policy`` None have the job follow the default."""
        by_job = dict(self.policies.by_job)
        default = self.policies.default
        if job is None:
            default = default if policy is None else policy
        elif policy is None:
            by_job.pop(job, None)
        else:
            by_job[job] = policy
        self.policies = PolicySet(default, by_job)
