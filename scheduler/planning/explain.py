"""Why a job is, or is not, moved: the whole answer in plain sentences, from what the scheduler knows.

For each task: where it runs and who changed that, where its pages are, what was decided and why, what the last move
did, what stayed behind and what to do about it, and where its next pages will land.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from numaplace.model.cpuset import format_id_list
from numaplace.model.ids import JobId, NodeId, Nodes
from numaplace.model.job import MemoryPolicy, Task
from numaplace.model.move import REMEDY, MoveOutcome, MoveState
from numaplace.model.policy import FollowMode, Policy
from numaplace.model.worth import Action, Reason, Verdict
from scheduler.planning.records import HostRecord, Move, Stage, TaskRecord

TASKS_MAX = 50
"""So many tasks of one job are explained; the others are counted."""

_MODES: Mapping[FollowMode, str] = {
    FollowMode.AT_ONCE: "pages follow the CPUs at once",
    FollowMode.LATER: "pages follow the CPUs later, when the host is quiet",
    FollowMode.NEVER: "pages never follow the CPUs",
    FollowMode.OBSERVE: "moves are decided and recorded, but nothing is moved",
}
_BOUND = (MemoryPolicy.BIND, MemoryPolicy.PREFERRED, MemoryPolicy.PREFERRED_MANY)


@dataclass(frozen=True, slots=True)
class Explained:
    """A task to explain; ``moves`` are its own, newest first."""

    record: TaskRecord
    host: HostRecord
    moves: Sequence[Move]


def explain(job: JobId, tasks: Sequence[Explained], policy: Policy, now_s: float, *, own_policy: bool) -> list[str]:
    """The answer, at most some hundred sentences; ``own_policy`` tells a job's own policy from the default."""
    whose = "its own policy" if own_policy else "the default policy"
    sentences = [f"Job {job} follows {whose}: {_MODES[policy.mode]}."]
    if not tasks:
        sentences.append("No task of it is on a host that the scheduler knows.")
    for task in tasks[:TASKS_MAX]:
        sentences += _explain_task(task, policy, now_s)
    if len(tasks) > TASKS_MAX:
        sentences.append(f"{len(tasks) - TASKS_MAX} more tasks are not explained here.")
    return sentences


def _explain_task(subject: Explained, policy: Policy, now_s: float) -> Iterator[str]:
    record, host = subject.record, subject.host
    yield _who(record)
    if not host.connected:
        away = _span(now_s - host.last_seen_s)
        yield f"The agent on {host.id} has been away for {away}; it follows alone by the last policies it was given."
    yield _change(record, now_s)
    yield _pages(record)
    yield _decision(record.verdict, policy, now_s)
    for move in subject.moves[:1]:
        yield from _last_move(move, now_s)
    yield from _stuck(subject)
    yield _new_pages(record.task, subject.moves[:1])


def _who(record: TaskRecord) -> str:
    task = record.task
    what = f" ({task.command})" if task.command else ""
    where = f"CPUs {format_id_list(task.cpus) or 'none'}"
    return f"Task {task.id}{what} on {record.host} may run on {where}; {_home(task.home.nodes)}."


def _home(home: Nodes) -> str:
    return f"its home is {_nodes(home)}" if home else "it has no home, for none of these is online"


def _nodes(nodes: Iterable[NodeId]) -> str:
    ids = sorted(nodes)
    return f"node {format_id_list(ids)}" if len(ids) == 1 else f"nodes {format_id_list(ids) or 'none'}"


def _change(record: TaskRecord, now_s: float) -> str:
    change = record.last_change
    if change is None:
        return "No change of its CPUs was seen since the scheduler knows it."
    who = "somebody"
    if change.actor is not None:
        who = f"{change.actor.command or 'a process'} (pid {change.actor.pid})"
    times = f", the last of {change.changes} changes" if change.changes > 1 else ""
    ago = _span(now_s - record.changed_s)
    return (
        f"{ago} ago {who} changed its CPUs{times}: its home went from {_nodes(change.previous_home)} to"
        f" {_nodes(change.home.nodes)} (noticed by {change.source.value})."
    )


def _pages(record: TaskRecord) -> str:
    if record.measured_s is None:
        return "Its pages have not been located yet."
    residency, home = record.task.residency, record.task.home.nodes
    total = residency.resident_bytes
    if not total:
        return "It has no resident pages."
    away = {node: size for node, size in sorted(residency.by_node.items()) if node not in home and size}
    if not away:
        return f"All of its {_size(total)} are at home."
    parts = ", ".join(f"{_size(size)} on {_nodes([node])}" for node, size in away.items())
    return f"Of its {_size(total)}, {residency.locality(home):.0%} are at home; away are {parts}."


def _decision(verdict: Verdict | None, policy: Policy, now_s: float) -> str:
    if verdict is None:
        return "Nothing has been decided about it yet."
    reason = f"({verdict.reason.value})"
    if verdict.reason is Reason.OBSERVE:
        return f"Decision: it would move {_size(verdict.remote_bytes)}, but the policy is to observe {reason}."
    if verdict.action is Action.MOVE:
        return f"Decision: move {reason}, for {verdict.words}."
    if verdict.action is Action.WAIT and verdict.not_before_s is not None:
        wait = _span(max(0.0, verdict.not_before_s - now_s))
        return f"Decision: wait {reason}, for {verdict.words}; asked again in {wait} or when something changes."
    words = f"Decision: leave it {reason}, for {verdict.words}."
    if verdict.reason is Reason.TOO_SMALL:
        return f"{words} The policy's min_remote_bytes is {_size(policy.min_remote_bytes)}."
    return words


def _last_move(move: Move, now_s: float) -> Iterator[str]:
    whose = "The agent's own move" if move.by_agent_alone else "Move"
    if move.outcome is None:
        yield f"{whose} {move.id} is {_under_way(move)}."
        return
    outcome = move.outcome
    ended = f"{_span(now_s - move.ended_s)} ago" if move.ended_s is not None else "before"
    how = f" by {outcome.strategy.value}" if outcome.strategy else ""
    why = f" ({outcome.strategy_reason})" if outcome.strategy_reason else ""
    yield (
        f"{whose} {move.id} ended {ended} as {outcome.state.value}: {_size(outcome.moved_bytes)} moved in"
        f" {outcome.seconds:.1f} s{how}{why}, the longest stall was {outcome.stall_ms_max:.0f} ms; {outcome.words}."
    )
    yield from _left(outcome)


def _under_way(move: Move) -> str:
    if move.cancel:
        return f"being ended: {move.cancel}"
    if move.stage in (Stage.PLANNED, Stage.SENT):
        return "on its way to the host"
    if move.progress is None:
        return "accepted and about to start"
    pace = f"{_size(int(move.progress.pace_bytes_per_s))}/s"
    return f"running: {_size(move.progress.moved_bytes)} moved, {_size(move.progress.todo_bytes)} to do, at {pace}"


def _left(outcome: MoveOutcome) -> Iterator[str]:
    """What stayed behind, the largest part first, and the remedy."""
    for reason, size in sorted(outcome.left.items(), key=lambda item: -item[1]):
        if size:
            yield f"{_size(size)} stayed ({reason.value}): {REMEDY[reason]}"


def _stuck(subject: Explained) -> Iterator[str]:
    """What is known not to move, unless the last move has just said so."""
    told = subject.moves[0].outcome.left if subject.moves and subject.moves[0].outcome else {}
    for reason, size in sorted(subject.record.stuck.items(), key=lambda item: -item[1]):
        if size and reason not in told:
            yield f"{_size(size)} are known not to move ({reason.value}): {REMEDY[reason]}"


def _new_pages(task: Task, latest: Sequence[Move]) -> str:
    outcome = latest[0].outcome if latest else None
    if outcome is not None and outcome.new_pages and outcome.state is not MoveState.SUPERSEDED:
        return f"New pages: {outcome.new_pages.rstrip('.')}."
    home = task.home.nodes
    if task.mems and not home & task.mems:
        return (
            f"New pages cannot come home: cpuset.mems allows {_nodes(task.mems)} only; write {format_id_list(home)}"
            " to cpuset.mems."
        )
    if task.memory_policy.spread_on_purpose:
        nodes = _nodes(task.policy_nodes) if task.policy_nodes else "its nodes"
        return f"New pages are spread over {nodes}, as its {task.memory_policy.value} policy says."
    if task.memory_policy in _BOUND and not task.policy_nodes <= home:
        return (
            f"New pages land on {_nodes(task.policy_nodes)}, as its {task.memory_policy.value} policy says; only the"
            " program itself, or a write to cpuset.mems, changes that: start it without numactl or with the new nodes."
        )
    return "New pages are allocated at home."


def _size(size_bytes: int) -> str:
    """Bytes for people."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:  # noqa: PLR2004 - binary units
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _span(seconds: float) -> str:
    """A span of time for people, in its largest unit that fits."""
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.1f} s"
