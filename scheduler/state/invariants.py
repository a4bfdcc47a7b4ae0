"""What must hold after every event; the teardown of every test asks, and so may the shell when it is told to."""

from collections import Counter
from collections.abc import Iterator

from numaplace.model.worth import Action
from scheduler.planning.records import Stage, TaskKey
from scheduler.state.agenda import OrderDue, TaskDue
from scheduler.state.machine import SchedulerState


class InvariantError(AssertionError):
    """The state contradicts itself: a bug."""


def check(state: SchedulerState) -> None:
    """Raise InvariantError with all that is wrong, if anything is."""
    broken = [*_moves(state), *_limits(state), *_sessions(state), *_tasks(state), *_memory(state)]
    if broken:
        raise InvariantError("; ".join(broken))


def _moves(state: SchedulerState) -> Iterator[str]:
    book = state.book
    for key, count in Counter(move.key for move in book.open.values()).items():
        if count > 1:
            yield f"{key} has {count} open orders"
    for both in book.open.keys() & book.ended.keys():
        yield f"{both} is both open and ended"
    for move in book.open.values():
        if move.stage is Stage.FINISHED or move.outcome is not None or move.ended_s is not None:
            yield f"open {move.id} has ended"
        if move.host not in state.world.hosts:
            yield f"{move.id} is an order for unknown host {move.host}"
        if book.of_task(move.key) != move:
            yield f"{move.id} is not found by its task"
        if move.order is None or move.order.task != move.task:
            yield f"{move.id} is open without its order"
    for move in book.ended.values():
        if move.stage is not Stage.FINISHED or move.outcome is None or move.ended_s is None:
            yield f"ended {move.id} has no end"


def _limits(state: SchedulerState) -> Iterator[str]:
    ours = [m for m in state.book.open.values() if m.id.startswith(f"{state.epoch}-") and not m.by_agent_alone]
    for host, count in Counter(move.host for move in ours).items():
        if count > state.limits.per_host_max:
            yield f"{count} orders to {host}, at most {state.limits.per_host_max}"


def _sessions(state: SchedulerState) -> Iterator[str]:
    for host in state.world.hosts.values():
        session = state.sessions.current(host.id)
        if host.connected != (session is not None):
            yield f"{host.id} is connected: {host.connected}, with session {session}"
        if host.in_step and not host.connected:
            yield f"{host.id} is in step without a session"
    for session_id in state.sessions.all_open():
        if not any(state.sessions.current(host) == session_id for host in state.world.hosts):
            yield f"session {session_id} belongs to no host"


def _tasks(state: SchedulerState) -> Iterator[str]:
    """Liveness: whoever waits is on the agenda, and an order that was sent is followed up."""
    if state.world.concerned:
        yield f"not judged: {list(state.world.concerned)}"
    for record in state.world.all_tasks():
        if not state.world.hosts[record.host].in_step:
            continue
        if record.verdict is None:
            yield f"{record.key} was never judged"
        elif record.verdict.action is Action.WAIT and TaskDue(record.key) not in state.agenda:
            yield f"{record.key} waits for nothing: {record.verdict}"
        elif record.verdict.action is Action.MOVE and state.book.of_task(record.key) is None:
            yield f"{record.key} is to be moved and has no order"
    for move in state.book.open.values():
        sent = move.stage is Stage.SENT and state.sessions.ready(move.host) is not None
        if sent and OrderDue(move.id) not in state.agenda and not move.cancel:
            yield f"nobody waits for an answer to {move.id}"
        if move.stage is Stage.PLANNED and state.sessions.ready(move.host) is not None:
            yield f"{move.id} was never sent"


def _memory(state: SchedulerState) -> Iterator[str]:
    bounds = state.bounds
    if len(state.book.ended) > bounds.history_max:
        yield f"{len(state.book.ended)} moves in the history, at most {bounds.history_max}"
    if len(state.world.hosts) > bounds.hosts_max:
        yield f"{len(state.world.hosts)} hosts, at most {bounds.hosts_max}"
    for host in state.world.hosts:
        if len(state.world.tasks_on(host)) > bounds.tasks_per_host_max:
            yield f"too many tasks on {host}"
    indexed = {TaskKey(*key) for keys in state.world.jobs.values() for key in keys}
    if indexed != {record.key for record in state.world.all_tasks()}:
        yield "the index of jobs and the tasks differ"
