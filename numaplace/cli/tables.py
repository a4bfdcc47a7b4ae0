"""Hosts, jobs, moves and policies as rows; what each column means is in the commands' help."""

from collections.abc import Iterable
from datetime import datetime

from rich.table import Table
from rich.text import Text

from numaplace.cli import units
from numaplace.cli.bars import HOME_STYLE, REMOTE_STYLE, left_line, locality_bar
from numaplace.cli.output import table
from numaplace.model.cpuset import format_id_list
from numaplace.model.policy import Policy
from numaplace.model.residency import Residency
from numaplace.model.views import Host, HostState, Job, Move, NamedPolicy


def hosts(views: Iterable[Host], now: datetime) -> Table:
    """One line a host."""
    return table(
        ("HOST", "STATE", "NODES", "CPUS", "MEMORY", "FREE", "TASKS", "MOVES", "PACE", "KERNEL", "AGENT", "SEEN"),
        (_host(view, now) for view in views),
        right=("CPUS", "MEMORY", "FREE", "TASKS", "MOVES", "PACE"),
    )


def _host(view: Host, now: datetime) -> tuple[str | Text, ...]:
    nodes = view.topology.nodes
    connected = view.state is HostState.CONNECTED
    return (
        view.id,
        Text(view.state.value, HOME_STYLE if connected else "red"),
        format_id_list(node.id for node in nodes) or "-",
        str(sum(len(node.cpus) for node in nodes)),
        units.size(sum(node.memory_bytes for node in nodes)),
        units.size(sum(view.load.free_bytes.values())) if view.load.free_bytes else "-",
        str(view.tasks),
        str(view.moves_running),
        units.pace(view.move_bytes_per_s) if view.move_bytes_per_s else "-",
        view.abilities.kernel or "-",
        view.agent_version or "-",
        units.ago(view.last_seen, now),
    )


def jobs(views: Iterable[Job], *, ascii_only: bool) -> Table:
    """One line a task: a job may have several, on several hosts."""
    rows: list[tuple[str | Text, ...]] = []
    for view in views:
        mode = f"{view.policy.mode.value}{'' if view.own_policy else ' (default)'}"
        for each in view.tasks:
            task = each.task
            decision = "-" if each.decision is None else f"{each.decision.action.value}: {each.decision.reason}"
            rows.append(
                (
                    view.id,
                    each.host,
                    format_id_list(task.home.nodes) or "nowhere",
                    _locality(task.residency, task.home.nodes, ascii_only=ascii_only),
                    units.size(task.residency.resident_bytes),
                    units.size(each.remote_bytes),
                    mode,
                    decision,
                )
            )
        if not view.tasks:
            rows.append((view.id, "-", "-", "-", "-", "-", mode, "-"))
    columns = ("JOB", "HOST", "HOME", "LOCALITY", "RESIDENT", "REMOTE", "POLICY", "DECISION")
    return table(columns, rows, right=("RESIDENT", "REMOTE"))


def _locality(residency: Residency, home: frozenset[int], *, ascii_only: bool) -> Text:
    return locality_bar(residency, home, ascii_only=ascii_only)  # type: ignore[arg-type]  # nodes are ints


MOVE_COLUMNS = ("MOVE", "HOST", "JOB", "STATE", "HOME", "MOVED", "PACE", "STALL", "LEFT", "BEGAN")


def moves(views: Iterable[Move], now: datetime) -> Table:
    """One line a move."""
    return table(MOVE_COLUMNS, (move(view, now) for view in views), right=("MOVED", "PACE", "STALL"))


def move(view: Move, now: datetime) -> tuple[str | Text, ...]:
    """The line of one move. PACE is that of just now, or once it has ended the whole move's."""
    style = REMOTE_STYLE if view.state.value in {"partial", "failed", "refused"} else ""
    pace = "-"
    if view.outcome is not None and view.outcome.seconds > 0:
        pace = units.pace(view.outcome.moved_bytes / view.outcome.seconds)
    elif view.progress is not None:
        pace = units.pace(view.progress.pace_bytes_per_s)
    return (
        view.id,
        view.host,
        view.job,
        Text(view.state.value + (" (agent alone)" if view.by_agent_alone else ""), style),
        format_id_list(view.order.home) if view.order else "-",
        units.size(view.moved_bytes),
        pace,
        f"{view.outcome.stall_ms_max:.1f} ms" if view.outcome else "-",
        left_line(view.left),
        units.ago(view.created, now),
    )


def policies(views: Iterable[NamedPolicy]) -> Table:
    """One line a policy."""
    rows = ((view.job or "default", *_policy(view.policy)) for view in views)
    return table(("JOB", "MODE", "PACE", "STALL", "HEADROOM", "KINDS"), rows, right=("STALL", "HEADROOM"))


def _policy(policy: Policy) -> tuple[str, ...]:
    budget = policy.budget
    return (
        policy.mode.value,
        "unfelt" if budget.pace_bytes_per_s is None else f"at most {units.pace(budget.pace_bytes_per_s)}",
        f"{budget.stall_ms_max:g} ms",
        units.size(budget.headroom_bytes),
        ",".join(sorted(kind.value for kind in policy.kinds)),
    )


def policy(view: NamedPolicy) -> Table:
    """One policy in full: each field, its value, what it means."""
    shown = view.policy
    mode, pace, stall, headroom, kinds = _policy(shown)
    rows = (
        ("job", view.job or "default", "whose policy this is"),
        ("mode", mode, "when pages follow a change of CPUs"),
        ("pace", pace, "how fast a move may be; unfelt: as fast as the job does not feel it"),
        ("stall", stall, "the longest that one touch or mmap() of the job may wait for us"),
        ("headroom", headroom, "stays free on the target node"),
        ("kinds", kinds, "which pages follow"),
        ("settle", units.duration(shown.settle_s), "how long the home must have been quiet"),
        ("later", units.duration(shown.later_s), "the same for mode later"),
        ("min-remote", units.size(shown.min_remote_bytes), "less is not worth a move"),
        ("min-gain", units.share(shown.min_locality_gain), "less of the job's pages is not worth a move"),
        ("min-age", units.duration(shown.min_age_s), "a younger task may be gone before the move has paid"),
        ("interleave", "kept" if shown.keep_interleave else "moved", "memory that was spread on purpose"),
    )
    return table(("FIELD", "VALUE", "MEANING"), rows)
