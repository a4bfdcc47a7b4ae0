"""The command behind ``make demo``; ``python -m tests.demo --help``."""

import contextlib
import logging
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table

from numaplace.cli import bars, units
from numaplace.client import NumaplaceError, SchedulerClient
from numaplace.kernel import numa_maps
from numaplace.kernel.topology import read_topology
from numaplace.model.ids import HostId, JobId, NodeId
from numaplace.model.topology import Topology
from tests.demo.acts import HOME_SHARE, Course, three_acts, two_nodes
from tests.demo.play import Audience, play
from tests.harness.cluster import AgentProcess, Certificates, ClusterError, SchedulerProcess, wait_job
from tests.harness.job import Cpusets, Job
from tests.harness.stage import NativeStage, Stage
from tests.lab.guest import Guest
from tests.lab.lab import boot
from tests.lab.machine import MachineError
from tests.lab.process import GuestError
from tests.lab.setup import SetupError, install_missing

HOST = "demo-host"
JOB = JobId("demo")
SVG_COLUMNS = 104

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def demo(
    *,
    guest: Annotated[str, typer.Option(help="Which guest of the lab; python -m tests.lab list.")] = "two-6.12-v2",
    native: Annotated[
        bool | None, typer.Option("--native/--in-guest", help="On this host, or in a guest; by its nodes if not said.")
    ] = None,
    mb: Annotated[int, typer.Option(help="The job's hot memory in MB.")] = 300,
    thp: Annotated[bool, typer.Option("--thp", help="In huge pages instead of 4 KB pages.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Write a picture of the result here.")] = None,
) -> None:
    """Re-pin a job three ways and watch its pages follow.

    Needs nothing but this checkout: on a host with one node it boots a guest with two (QEMU, without KVM).
    """
    console = Console(record=svg is not None, width=SVG_COLUMNS if svg else None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        with contextlib.ExitStack() as stack:
            stage = _stage(console, stack, guest, native=native)
            courses = _perform(console, stack, stage, [str(mb), "thp" if thp else "base"])
    except (ClusterError, NumaplaceError, GuestError, MachineError, SetupError) as error:
        console.print(f"[red]The demo failed:[/] {error}", highlight=False)
        raise typer.Exit(1) from error
    console.print(_summary(courses))
    if svg is not None:
        console.save_svg(str(svg), title="make demo")
    if any(course.home_s is None for course in courses):
        raise typer.Exit(1)


def _stage(console: Console, stack: contextlib.ExitStack, name: str, *, native: bool | None) -> Stage:
    several = sum(bool(node.cpus and node.memory_bytes) for node in read_topology().nodes) > 1
    if native or (native is None and several):
        console.print("The demo runs right here, on this host's own nodes.")
        return NativeStage()
    install_missing()
    with console.status(f"Booting {name}: a real multi-node kernel in QEMU, without KVM …"):
        guest: Guest = stack.enter_context(boot(name))
    kernel = guest.run(["uname", "-r"]).stdout.strip()
    console.print(f"Guest [b]{name}[/]: Linux {kernel}, up after {guest.boot_s:.1f} s.", highlight=False)
    return guest


def _perform(console: Console, stack: contextlib.ExitStack, stage: Stage, arguments: list[str]) -> list[Course]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="numaplace-demo-")))
    with console.status("Starting a scheduler (SQLite, mTLS) and an agent …"):
        certificates = Certificates.make(folder / "certs", (HOST,))
        scheduler = stack.enter_context(SchedulerProcess(folder, certificates))
        client = stack.enter_context(scheduler.client())
        agent = AgentProcess(stage, HOST, scheduler, certificates)
        agent.start()
        stack.callback(agent.kill)
        agent.wait_connected(client)
    host = client.host(HostId(HOST))
    watchers = ", ".join(sorted(source.value for source in host.abilities.watchers))
    console.print(f"Agent on [b]{stage.name}[/] sees changes by: {watchers}.", highlight=False)
    with console.status(f"Starting a job with {arguments[0]} MB of hot memory …"):
        cpusets = Cpusets(stage, "numaplace-demo")
        cpusets.make("a")
        first, _ = two_nodes(host.topology)
        job = stack.enter_context(Job(stage, ["tests.jobs.hot", *arguments], first))
        cpusets.attach("a", job.pid)
        agent.adopt(JOB, job.pid)
        wait_job(client, JOB)
    before = job.ask("check")["checksum"]
    courses = list(_acts(console, client, job, host.topology, cpusets))
    _verify(console, stage, job, courses[-1], before)
    return courses


def _acts(
    console: Console, client: SchedulerClient, job: Job, topology: Topology, cpusets: Cpusets
) -> Iterator[Course]:
    audience = Audience(client, JOB)
    for act in three_acts(topology, job, cpusets):
        moments = play(act, client, job, JOB, audience)
        course = next(moments)
        if console.is_terminal:
            with Live(console=console, transient=True, auto_refresh=False) as live:
                for course in moments:
                    live.update(_picture(course, topology), refresh=True)
        else:
            *_, course = moments
        console.print(_picture(course, topology))
        yield course


def _picture(course: Course, topology: Topology) -> RenderableType:
    view = bars.follow_view(
        course.act.title,
        course.residency,
        course.act.home,
        nodes=sorted(topology.with_memory),
        progress=course.progress,
        outcome=course.outcome,
    )
    return Panel(Group(f"[dim]{course.act.words}[/]", view), border_style="dim", padding=(0, 1))


def _verify(console: Console, stage: Stage, job: Job, last: Course, checksum: int) -> None:
    """Let the kernel itself say where the pages are, and the job that not a byte has changed."""
    by_node: Counter[NodeId] = Counter()
    for mapping in numa_maps.parse(stage.read_text(f"/proc/{job.pid}/numa_maps")):
        by_node.update(mapping.bytes_by_node)
    home = sum(size for node, size in by_node.items() if node in last.act.home)
    share = units.share(home / max(1, sum(by_node.values())))
    same = "not a byte of the job has changed" if job.ask("check")["checksum"] == checksum else "[red]BYTES CHANGED[/]"
    console.print(f"The kernel's own numa_maps: {share} at home; {same}.", highlight=False)


def _summary(courses: list[Course]) -> Table:
    table = Table(title="How the pages followed", title_style="bold", header_style="bold", expand=False)
    table.add_column("re-pin")
    for name in (f"{HOME_SHARE:.0%} home after", "longest stall felt", "moved", "left"):
        table.add_column(name, justify="right")
    for course in courses:
        table.add_row(
            course.act.title,
            units.duration(course.home_s) if course.home_s is not None else "[red]never[/]",
            f"{course.stall_ms:.1f} ms",
            units.size(course.moved_bytes),
            bars.left_line(course.left),
        )
    return table


if __name__ == "__main__":
    app()
