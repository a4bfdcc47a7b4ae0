"""The state as people and programs see it: records become views, monotonic times become UTC."""

from datetime import UTC, datetime

from numaplace.model import views
from numaplace.model.ids import JobId
from numaplace.model.move import MoveState
from scheduler.planning.explain import Explained, explain
from scheduler.planning.records import HostRecord, Move, Stage, TaskRecord
from scheduler.ports import Clock
from scheduler.state.machine import SchedulerState

EXPLAINED_MOVES_MAX = 20

_STATES = {
    Stage.PLANNED: MoveState.ON_ITS_WAY,
    Stage.SENT: MoveState.ON_ITS_WAY,
    Stage.ACCEPTED: MoveState.ACCEPTED,
    Stage.RUNNING: MoveState.RUNNING,
}


class Views:
    """Makes views of one state."""

    def __init__(self, state: SchedulerState, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    def host(self, record: HostRecord) -> views.Host:
        """A host."""
        state = views.HostState.CONNECTED if record.connected else views.HostState.UNREACHABLE
        return views.Host(
            id=record.id,
            state=state,
            topology=record.topology,
            abilities=record.abilities,
            load=record.load,
            agent_version=record.agent_version,
            last_seen=self._time(record.last_seen_s),
            tasks=len(self._state.world.tasks_on(record.id)),
            moves_running=len(self._state.book.open_on(record.id)),
            move_bytes_per_s=record.costs.bytes_per_s,
        )

    def job(self, job: JobId) -> views.Job:
        """A job with its tasks, possibly none."""
        world = self._state.world
        tasks = tuple(self._task(record) for record in world.tasks_of(job))
        return views.Job(job, tasks, world.policy_of(job), job in world.policies.by_job)

    def known(self, job: JobId) -> bool:
        """Whether the job has a task, a policy of its own, or a move in the history."""
        world = self._state.world
        return job in world.jobs or job in world.policies.by_job or any(self._state.book.newest_first(job))

    def _task(self, record: TaskRecord) -> views.TaskOnHost:
        task = record.task
        kinds = self._state.world.policy_of(task.job).kinds
        return views.TaskOnHost(
            host=record.host,
            task=task,
            locality=task.residency.locality(task.home.nodes),
            remote_bytes=task.residency.remote_bytes(task.home.nodes, kinds),
            last_change=record.last_change,
            last_changed=None if record.last_change is None else self._time(record.changed_s),
            decision=self._decision(record),
        )

    def _decision(self, record: TaskRecord) -> views.Decision | None:
        verdict = record.verdict
        if verdict is None:
            return None
        return views.Decision(
            action=verdict.action,
            reason=verdict.reason.value,
            words=verdict.words,
            would_move_bytes=verdict.remote_bytes,
            predicted_s=verdict.predicted_s,
            not_before=self._time(verdict.not_before_s),
        )

    def move(self, move: Move) -> views.Move:
        """A move, open or ended."""
        if move.outcome is not None:
            state = move.outcome.state
        else:
            state = MoveState.CANCELLING if move.cancel else _STATES[move.stage]
        return views.Move(
            id=move.id,
            host=move.host,
            job=move.job,
            state=state,
            order=move.order,
            reason=move.reason,
            created=self._time(move.created_s),
            ended=self._time(move.ended_s),
            progress=move.progress,
            outcome=move.outcome,
            by_agent_alone=move.by_agent_alone,
        )

    def explanation(self, job: JobId) -> views.Explanation:
        """Why a job is, or is not, moved."""
        world = self._state.world
        moves = tuple(self._state.book.newest_first(job))
        tasks = [
            Explained(record, world.hosts[record.host], [move for move in moves if move.key == record.key])
            for record in world.tasks_of(job)
        ]
        own = job in world.policies.by_job
        words = explain(job, tasks, world.policy_of(job), self._clock.now_s(), own_policy=own)
        shown = tuple(self.move(move) for move in moves[:EXPLAINED_MOVES_MAX])
        return views.Explanation(self.job(job), shown, tuple(words))

    def _time(self, at_s: float | None) -> datetime | None:
        return None if at_s is None else datetime.fromtimestamp(self._clock.wall_s(at_s), UTC)
