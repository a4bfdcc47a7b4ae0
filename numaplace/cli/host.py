"""The commands that ask this host's agent: adopt, release, status."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from numaplace.cli import completing, exits, output, units
from numaplace.cli.connect import Json, asks_agent
from numaplace.cli.examples import examples
from numaplace.model.cpuset import format_id_list
from numaplace.model.ids import JobId
from numaplace.model.job import Task
from numaplace.model.views import AgentStatus

if TYPE_CHECKING:
    from numaplace.client import AgentClient


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        short_help="Follow a process tree or a cgroup.",
        epilog=examples("numaplace adopt train-42 --pid 4711", "numaplace adopt train-42 --cgroup /slurm/job_42"),
    )(adopt)
    app.command(short_help="Follow it no longer.", epilog=examples("numaplace release train-42"))(release)
    app.command(
        short_help="What this host's agent is and does.", epilog=examples("numaplace status", "numaplace status --json")
    )(status)


def _processes(task: Task) -> str:
    return units.counted(task.processes, "process", "processes")


def _threads(number: int) -> str:
    return units.counted(number, "thread", "threads")


@asks_agent
def adopt(
    client: "AgentClient",
    *,
    job: Annotated[str, typer.Argument(metavar="NAME", help="What to call the job.")],
    pid: Annotated[
        int | None, typer.Option(metavar="PID", min=1, max=1 << 22, help="The root of a process tree.")
    ] = None,
    cgroup: Annotated[
        str | None, typer.Option(metavar="PATH", help="A cgroup.", autocompletion=completing.cgroups)
    ] = None,
    as_json: Json = False,
) -> None:
    """Follow a process tree or a cgroup under a name of your choice, from now on."""
    if (pid is None) == (cgroup is None):
        raise typer.BadParameter("give --pid or --cgroup, and not both")
    task = client.adopt(JobId(job), pid=pid, cgroup=cgroup or None)
    if as_json:
        output.show_json(task)
    else:
        home = format_id_list(task.home.nodes) or "nowhere"
        output.show(Text(f"{task.job}: following {task.id}, {_processes(task)}, home {home}"))


@asks_agent
def release(
    client: "AgentClient",
    *,
    job: Annotated[
        str,
        typer.Argument(metavar="NAME", help="The name it was adopted under.", autocompletion=completing.followed),
    ],
    as_json: Json = False,
) -> None:
    """Stop following what was adopted under a name; its pages stay where they are."""
    released = client.release(JobId(job))
    if released == 0:
        raise exits.Failure(exits.NOT_FOUND, f"nothing was adopted as {job} here")
    if as_json:
        output.show_json({"job": job, "released": released})
    else:
        output.show(Text(f"{job}: no longer following {units.counted(released, 'task', 'tasks')}"))


@asks_agent
def status(client: "AgentClient", *, as_json: Json = False) -> None:
    """Show what this host's agent is, sees, can do and does; and what it lacks."""
    found = client.status()
    if as_json:
        output.show_json(found)
    else:
        output.show(*_status(found))


def _status(found: AgentStatus) -> list[RenderableType]:
    able = found.abilities
    where = (
        f"connected to {found.scheduler}" if found.connected else "alone, following by the last policies it was given"
    )
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("host", f"{found.host}, kernel {able.kernel or 'unknown'}, agent {found.version}"),
        ("scheduler", where),
        ("watching", f"{units.counted(found.tasks, 'task', 'tasks')}, {_threads(found.threads)}"),
        ("noticing by", ", ".join(sorted(watcher.value for watcher in able.watchers))),
        ("moving", "yes" if able.can_move else "no: see below"),
        ("moves", f"{found.moves_open} open, {found.outcomes_unacknowledged} outcomes not yet acknowledged"),
    ):
        facts.add_row(name, Text(value))
    nodes = output.table(
        ("NODE", "CPUS", "MEMORY", "FREE"),
        (
            (
                str(node.id),
                format_id_list(node.cpus) or "none",
                units.size(node.memory_bytes),
                units.size(found.load.free_bytes.get(node.id, 0)),
            )
            for node in found.topology.nodes
        ),
        right=("NODE", "MEMORY", "FREE"),
    )
    return [facts, "", nodes, *(Text(f"\n{remark}") for remark in able.remarks)]
