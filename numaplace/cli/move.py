"""``numaplace move``: what migratepages does, at a pace that the job does not feel, and with a true account."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from numaplace.cli import account, completing, exits, output, units
from numaplace.cli.budget import Headroom, KeepInterleave, Kinds, Pace, StallMs, chosen, cost, parsed, policy_of
from numaplace.cli.connect import Json, needs_agent
from numaplace.cli.examples import examples
from numaplace.cli.interrupts import counted
from numaplace.cli.moving import Lost, Mover, Target
from numaplace.cli.views import view
from numaplace.kernel.cgroups import named, read_hierarchies
from numaplace.model.cpuset import format_id_list, parse_nodes
from numaplace.model.hand import HandMove, PickedPages, Transfer, is_idle
from numaplace.model.ids import JobId, Nodes
from numaplace.model.topology import Topology

if TYPE_CHECKING:
    from numaplace.client import AgentClient

ALL = "all"
HOME = "home"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="Move pages from nodes to nodes, now.",
        epilog=examples(
            "numaplace move --pid 4711 --from 0 --to 1",
            "numaplace move --pid 4711 --from 0,1 --to 2,3 --pace 500MB/s --dry-run",
            "numaplace move --cgroup /slurm/job_42 --to home",
            "numaplace profile --pid 4711 | numaplace move --pid 4711 --pages -",
        ),
    )(move)


@needs_agent
def move(
    client: "AgentClient",
    *,
    pid: Annotated[
        int | None, typer.Option(metavar="PID", min=1, max=1 << 22, help="A process, without its descendants.")
    ] = None,
    cgroup: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="All processes of a cgroup.", autocompletion=completing.cgroups),
    ] = None,
    job: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="What the agent follows under this name.", autocompletion=completing.followed
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar=f"NODES|{ALL}", help="Whose pages; all that are not in --to.")
    ] = None,
    pages: Annotated[
        Path | None, typer.Option(metavar="FILE|-", help="A profiler's log: each page to the node that uses it.")
    ] = None,
    budget: Annotated[str | None, typer.Option(metavar="SIZE", help="Of --pages: the hottest, up to this.")] = None,
    shared: Annotated[bool, typer.Option("--shared", help="Of --pages: also those that strangers map.")] = False,
    target: Annotated[
        str | None, typer.Option("--to", metavar=f"NODES|{HOME}", help="Where to; home is where its CPUs are.")
    ] = None,
    pace: Pace = None,
    stall_ms: StallMs = None,
    headroom: Headroom = None,
    kinds: Kinds = None,
    keep_interleave: KeepInterleave = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and move nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Move the pages that lie on some nodes to others, and say what moved, at what price, and what stayed and why.

    The first node of --from goes to the first of --to and so on; lists of unequal length are spread by free memory.
    Lists are the kernel's: 0-1,4. With --pages it is not nodes that are named but pages, by a log of who uses them:
    CSV or JSON (address, node, weight), or what perf script prints. Ctrl-C ends it after the current batch.
    """
    whose = target_of(pid, cgroup, job)
    if pages is None and (budget is not None or shared):
        raise exits.Failure(exits.USAGE, "--budget and --shared belong to --pages")
    policy = policy_of({"keep_interleave": False, **chosen(kinds, keep_interleave)}, cost(pace, stall_ms, headroom))
    what = (
        _transfer(client, whose, source, target)
        if pages is None
        else _pages(pages, whose, (source, target), budget, shared=shared)
    )
    if what is None:
        _nothing(as_json=as_json)
        return
    with counted() as interrupts:
        shown = view(as_json=as_json)
        try:
            mover = Mover(client, whose, policy, shown, interrupts)
            code = _predict(mover, what, as_json=as_json) if dry_run else _move(mover, what, as_json=as_json)
        finally:
            shown.close()
    if code != exits.OK:
        raise typer.Exit(code)


def _nothing(*, as_json: bool) -> None:
    if as_json:
        output.show_json({"state": "completed", "words": "nothing to move", "moved_bytes": 0, "left": {}})
    else:
        output.show(Text("nothing to move"))


def _predict(mover: Mover, what: HandMove, *, as_json: bool) -> int:
    found = mover.predict(what)
    mover.view.close()
    if as_json:
        output.show_json(found)
    else:
        output.show(*account.foretold(found))
    return exits.OK


def _move(mover: Mover, what: HandMove, *, as_json: bool) -> int:
    """Move, and show the account; the exit code."""
    try:
        outcome = mover.move(what)
    except Lost as lost:
        words = f"{lost.words}; {units.size(lost.moved_bytes)} had moved by its last word, the rest is where it was"
        raise exits.Failure(exits.INTERRUPTED if lost.abandoned else exits.UNREACHABLE, words) from lost
    mover.view.close()
    if as_json:
        output.show_json(outcome)
    else:
        output.show(*account.told(outcome))
    return account.exit_code(outcome, interrupted=mover.interrupts.asked)


def _pages(
    log: Path, whose: Target, given: tuple[str | None, str | None], budget: str | None, *, shared: bool
) -> PickedPages | None:
    """The pages of a log that should go elsewhere; None if each is where it should be."""
    from numaplace.cli.page_choice import choose  # noqa: PLC0415 - only this option needs it

    if whose.pid is None:
        raise exits.Failure(exits.USAGE, "--pages speaks of one process: give --pid")
    if given != (None, None):
        raise exits.Failure(exits.USAGE, "--pages says from where to where: leave out --from and --to")
    limit = None if budget is None else parsed("--budget", units.parse_size, budget)
    return choose(log, whose.pid, limit, shared=shared)


def target_of(pid: int | None, cgroup: str | None, job: str | None) -> Target:
    """Whose pages are meant; raises exits.Failure unless exactly one name is given."""
    if [pid, cgroup, job].count(None) != 2:  # noqa: PLR2004 - of three
        raise exits.Failure(exits.USAGE, "say whose pages: give one of --pid, --cgroup and --job")
    return Target(pid, None if cgroup is None else _path(cgroup), None if job is None else JobId(job))


def _path(name: str) -> str:
    """A cgroup's path in the hierarchy with the cpusets, as the agent names it; its directory on this host will do."""
    mount = read_hierarchies().of_controller("cpuset")
    found = None if mount is None else named(mount, name)
    return name if found is None else found.path


def _transfer(client: "AgentClient", whose: Target, source: str | None, target: str | None) -> Transfer:
    if target is None:
        raise exits.Failure(exits.USAGE, "say where to: --to NODES, or --to home")
    topology = client.status().topology
    targets = _home(client, whose) if target == HOME else nodes_of("--to", target, topology)
    memoryless = targets - topology.with_memory
    if memoryless:
        raise exits.Failure(exits.USAGE, f"--to: node {format_id_list(memoryless)} has no memory")
    sources = topology.with_memory - targets if source in {None, ALL} else nodes_of("--from", source or "", topology)
    if not sources:
        raise exits.Failure(exits.USAGE, "--to names all nodes with memory: there is none to move pages from")
    wanted = Transfer(sources, targets)
    if is_idle(wanted):
        raise exits.Failure(exits.USAGE, "each node of --from is one of --to: nothing would move")
    return wanted


def _home(client: "AgentClient", whose: Target) -> Nodes:
    home = client.show(pid=whose.pid, cgroup=whose.cgroup, job=whose.job).task.home.nodes
    if not home:
        raise exits.Failure(exits.FAILED, f"{whose} has no home: none of its CPUs is online on a known node")
    return home


def nodes_of(option: str, text: str, topology: Topology) -> Nodes:
    """A list of nodes that this host has; raises exits.Failure."""
    nodes = parsed(option, parse_nodes, text)
    if not nodes:
        raise exits.Failure(exits.USAGE, f"{option}: name at least one node")
    unknown = nodes - topology.by_id.keys()
    if unknown:
        has = format_id_list(topology.by_id)
        raise exits.Failure(exits.USAGE, f"{option}: this host has no node {format_id_list(unknown)}; it has {has}")
    return nodes
