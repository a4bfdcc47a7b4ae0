"""``numaplace cpuset``: attach a task, change a cpuset's nodes or CPUs, and the memory follows at a pace.

The bare writes do it as the kernel does: all at once or not at all. What is done instead is planned by
numaplace.model.handover and carried out by numaplace.cli.handover; here are the options, and the account for people.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from numaplace.cli import account, completing, exits, output
from numaplace.cli.budget import Headroom, Pace, StallMs, cost, parsed, policy_of
from numaplace.cli.connect import Json, needs_agent
from numaplace.cli.cpuset_files import CpusetFiles
from numaplace.cli.examples import examples
from numaplace.cli.handover import Commands, Handed, State, hand_over
from numaplace.cli.interrupts import counted
from numaplace.cli.kernel import refusals_as_exits
from numaplace.cli.move import nodes_of
from numaplace.cli.moving import Mover, Target
from numaplace.cli.views import view
from numaplace.kernel.files import HOST
from numaplace.kernel.procfs import is_alive, read_identity
from numaplace.model.cpuset import format_id_list, parse_cpus
from numaplace.model.hand import Prediction, Transfer
from numaplace.model.handover import Cpuset, Handover, Refusal, plan_attach, plan_cpus, plan_mems
from numaplace.model.ids import Cpus
from numaplace.model.move import LeftReason
from numaplace.model.topology import Topology

if TYPE_CHECKING:
    from numaplace.client import AgentClient

_ROOT = HOST
"""The host whose cpusets are meant; tests give one as files."""

cpuset_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Cgroup = Annotated[
    str,
    typer.Argument(
        metavar="CGROUP",
        help="Its path in its hierarchy, or its directory.",
        autocompletion=completing.cgroups,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be written and moved, and do nothing.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    cpuset_app.command(
        short_help="Attach a process; its pages follow.",
        epilog=examples("numaplace cpuset move 4711 /slurm/job_42", "numaplace cpuset move 4711 /batch --dry-run"),
    )(move)
    cpuset_app.command(
        short_help="Change a cpuset's nodes; the pages follow.",
        epilog=examples(
            "numaplace cpuset mems /slurm/job_42 1", "numaplace cpuset mems /slurm/job_42 2-3 --pace 1GB/s"
        ),
    )(mems)
    cpuset_app.command(
        short_help="Change a cpuset's CPUs; the pages follow.",
        epilog=examples("numaplace cpuset cpus /slurm/job_42 8-15", "numaplace cpuset cpus /batch 8-15 --mems 1"),
    )(cpus)
    app.add_typer(
        cpuset_app,
        name="cpuset",
        help="Change cpusets, and let the memory of their tasks follow at a pace.",
        short_help="Change cpusets; the memory follows.",
    )


@needs_agent
def move(
    client: "AgentClient",
    *,
    pid: Annotated[int, typer.Argument(metavar="PID", min=1, max=1 << 22, help="A process, with all its threads.")],
    cgroup: Cgroup,
    pace: Pace = None,
    stall_ms: StallMs = None,
    headroom: Headroom = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Attach a process to a cpuset and move its pages to that cpuset's nodes, the first to the first and so on.

    For the while the cpuset allows its old nodes as well, so that the kernel does not move everything at once.
    """
    with refusals_as_exits():
        process = read_identity(pid, _ROOT)
        files = CpusetFiles.of_host(process, _ROOT)
        destination = files.find(cgroup)
        plan = plan_attach(pid, files.of_process(pid), destination, client.status().topology)
    command = _Command(client, files, destination, Target(pid=pid), as_json=as_json)
    command.carry_out(plan, cost(pace, stall_ms, headroom), dry_run=dry_run, gone=lambda: not is_alive(process, _ROOT))


@needs_agent
def mems(
    client: "AgentClient",
    *,
    cgroup: Cgroup,
    nodes: Annotated[str, typer.Argument(metavar="NODES", help="The nodes it shall allow: 0-1,4.")],
    pace: Pace = None,
    stall_ms: StallMs = None,
    headroom: Headroom = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Change a cpuset's nodes and move its tasks' pages, from the first old node to the first new one and so on.

    Until the pages have moved it allows the old nodes as well, so that the kernel does not move everything at once.
    """
    with refusals_as_exits():
        files = CpusetFiles.of_host(root=_ROOT)
        present = files.find_own(cgroup)
        wanted = nodes_of("NODES", nodes, client.status().topology)
        plan = plan_mems(present, wanted, files.below(present))
    command = _Command(client, files, present, Target(cgroup=present.path), as_json=as_json)
    command.carry_out(plan, cost(pace, stall_ms, headroom), dry_run=dry_run)


@needs_agent
def cpus(
    client: "AgentClient",
    *,
    cgroup: Cgroup,
    cpus: Annotated[str, typer.Argument(metavar="CPUS", help="The CPUs it shall have: 0-3,8.")],
    nodes: Annotated[str | None, typer.Option("--mems", metavar="NODES", help="Change its nodes as well.")] = None,
    pace: Pace = None,
    stall_ms: StallMs = None,
    headroom: Headroom = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Change a cpuset's CPUs and move its tasks' pages to the nodes of these CPUs, as far as its nodes allow.

    The kernel moves no page at such a write. An agent that follows the task may be quicker; then it is waited for.
    """
    with refusals_as_exits():
        files = CpusetFiles.of_host(root=_ROOT)
        topology = client.status().topology
        present = files.find_own(cgroup)
        wanted = None if nodes is None else nodes_of("--mems", nodes, topology)
        plan = plan_cpus(present, _cpus(cpus, topology), wanted, files.below(present), topology)
    command = _Command(client, files, present, Target(cgroup=present.path), as_json=as_json)
    command.carry_out(plan, cost(pace, stall_ms, headroom), dry_run=dry_run)


def _cpus(text: str, topology: Topology) -> Cpus:
    found = parsed("CPUS", parse_cpus, text)
    known = frozenset(cpu for node in topology.nodes for cpu in node.cpus)
    if not found:
        raise exits.Failure(exits.USAGE, "CPUS: name at least one CPU")
    if found - known:
        words = f"CPU {format_id_list(found - known)} is not online here; there are {format_id_list(known)}"
        raise exits.Failure(exits.USAGE, f"CPUS: {words}")
    return found


@dataclass(frozen=True, slots=True)
class Planned:
    """What a dry run tells: the writes as a shell would make them, and what the move between them would take."""

    before: tuple[str, ...]
    move: Transfer | None
    prediction: Prediction | None
    after: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Account:
    """What became of a hand-over, and what the cpuset's files say now; ``write_ms_max`` is the longest single write."""

    handed: Handed
    cpuset: Cpuset
    write_ms_max: float
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Command:
    """One hand-over as its user sees it."""

    client: "AgentClient"
    files: CpusetFiles
    cpuset: Cpuset
    target: Target
    as_json: bool

    def carry_out(
        self,
        plan: Handover | Refusal,
        costs: Mapping[str, object],
        *,
        dry_run: bool,
        gone: Callable[[], bool] = lambda: False,
    ) -> None:
        """Do it, or say what would be done; ends with the code that fits."""
        if isinstance(plan, Refusal):
            raise exits.Failure(exits.USAGE, plan.words)
        # All of its memory follows, as the kernel would have it: what stayed, a narrower cpuset would move at once.
        policy = policy_of({"keep_interleave": False}, costs)
        with counted() as interrupts:
            shown = view(as_json=self.as_json)
            try:
                mover = Mover(self.client, self.target, policy, shown, interrupts)
                code = self._predict(mover, plan) if dry_run else self._hand_over(mover, plan, gone)
            finally:
                shown.close()
        if code != exits.OK:
            raise typer.Exit(code)

    def _predict(self, mover: Mover, plan: Handover) -> int:
        prediction = None if plan.move is None else _once_allowed(mover.predict(plan.move))
        before = tuple(self.files.as_shell(step.do) for step in plan.before)
        found = Planned(before, plan.move, prediction, tuple(map(self.files.as_shell, plan.after)), plan.remarks)
        mover.view.close()
        if self.as_json:
            output.show_json(found)
        else:
            output.show(*_planned(found))
        return exits.OK

    def _hand_over(self, mover: Mover, plan: Handover, gone: Callable[[], bool]) -> int:
        commands = _commands(self.target, plan.move)
        handed = hand_over(plan, self.files, mover.move_in_turn, mover.interrupts, commands=commands, gone=gone)
        mover.view.close()
        with refusals_as_exits():
            found = Account(handed, self.files.read(self.cpuset.path), self.files.longest_ms, plan.remarks)
        if self.as_json:
            output.show_json(found)
        else:
            output.show(*_told(found))
        return _exit_code(handed, interrupted=mover.interrupts.asked)


def _once_allowed(prediction: Prediction) -> Prediction:
    """What is foretold now, as it will be when the cpuset allows its new nodes: what lies outside of it goes too.

    How long that takes follows from the part that may go already; where there is none, nobody can tell (NaN).
    """
    outside = prediction.left.get(LeftReason.OUTSIDE_CPUSET, 0)
    if not outside:
        return prediction
    whole, known = prediction.move_bytes + outside, prediction.move_bytes > 0
    return replace(
        prediction,
        move_bytes=whole,
        seconds=prediction.seconds * whole / prediction.move_bytes if known else math.nan,
        stall_ms=prediction.stall_ms if known else math.nan,
        left={reason: held for reason, held in prediction.left.items() if reason is not LeftReason.OUTSIDE_CPUSET},
    )


def _commands(target: Target, transfer: Transfer | None) -> Commands:
    if transfer is None:
        return Commands()
    sources, targets = format_id_list(transfer.sources), format_id_list(transfer.targets)
    there = f"numaplace move {target.options} --from {sources} --to {targets}"
    return Commands(there, f"numaplace move {target.options} --from {targets} --to {sources}")


def _exit_code(handed: Handed, *, interrupted: bool) -> int:
    if handed.state is not State.DONE:
        return exits.INTERRUPTED if interrupted else exits.FAILED
    return exits.OK if handed.moved is None else account.exit_code(handed.moved.outcome)


def _planned(found: Planned) -> list[RenderableType]:
    lines: list[RenderableType] = [Text(f"would write: {line}") for line in found.before]
    if found.move is not None and found.prediction is not None:
        lines += account.foretold(found.prediction)
    lines += [Text(f"would then write: {line}") for line in found.after]
    lines += [Text(remark) for remark in found.remarks]
    return lines or [Text("nothing would be written or moved")]


def _told(found: Account) -> list[RenderableType]:
    handed, cpuset = found.handed, found.cpuset
    lines: list[RenderableType] = []
    if handed.moved is not None:
        lines += account.told(handed.moved.outcome)
        for other in handed.moved.followed:
            lines += [Text("the agent followed on its own:"), *account.told(other)]
    if handed.words:
        lines.append(Text(handed.words))
    lines.append(
        Text(
            f"{cpuset.path}: cpus {_asked(cpuset.cpus, cpuset.effective_cpus)},"
            f" mems {_asked(cpuset.mems, cpuset.effective_mems)}; longest write {found.write_ms_max:.1f} ms"
        )
    )
    lines += [Text(remark) for remark in found.remarks]
    for name, commands in (("to finish:", handed.finish), ("to go back:", handed.undo)):
        if commands:
            lines += [Text(name), *(Text(f"  {command}") for command in commands)]
    return lines


def _asked(written: Iterable[int], effective: Iterable[int]) -> str:
    """What holds, and what was written if that is something else."""
    wish, holds = format_id_list(written), format_id_list(effective)
    return holds if wish == holds else f"{holds} (written: {wish or 'nothing'})"
