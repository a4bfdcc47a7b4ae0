"""``numaplace run``: numactl's options with the same meaning, and pages that follow later changes of CPUs."""

import os
from pathlib import Path
from typing import Annotated

import typer

from numaplace.cli import binding, starting
from numaplace.cli.binding import Wish
from numaplace.cli.connect import AnySocket, agent_to_ask
from numaplace.cli.examples import examples
from numaplace.kernel.policy import PolicyMode

OWN_CODES = (
    "Before CMD runs: 1 what was asked for cannot be had, 2 wrong usage, 126 CMD cannot be run, 127 there is no CMD."
    " After that the exit code and the signals are CMD's own."
)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="Run a program on nodes and CPUs of choice, as numactl does.",
        epilog=f"""{
            examples(
                "numaplace run --cpunodebind 0 --membind 0 -- ./train --epochs 3",
                "numaplace run -i all ./database",
                "numaplace run -N 1 --follow --name train-42 ./train",
            )
        } {OWN_CODES}""",
        context_settings={"allow_interspersed_args": False},
    )(run)


def run(
    *,
    command: Annotated[list[str], typer.Argument(metavar="CMD...", help="The program and its arguments.")],
    cpunodebind: Annotated[
        str | None, typer.Option("--cpunodebind", "-N", metavar="NODES", help="Run on the CPUs of these nodes.")
    ] = None,
    physcpubind: Annotated[
        str | None, typer.Option("--physcpubind", "-C", metavar="CPUS", help="Run on these CPUs.")
    ] = None,
    membind: Annotated[
        str | None, typer.Option("--membind", "-m", metavar="NODES", help="Take memory from these nodes only.")
    ] = None,
    preferred: Annotated[
        str | None, typer.Option("--preferred", "-p", metavar="NODE", help="Take memory from this node if it has any.")
    ] = None,
    preferred_many: Annotated[
        str | None,
        typer.Option("--preferred-many", "-P", metavar="NODES", help="The same of several nodes, the nearest first."),
    ] = None,
    interleave: Annotated[
        str | None, typer.Option("--interleave", "-i", metavar="NODES", help="Spread pages evenly over these nodes.")
    ] = None,
    weighted_interleave: Annotated[
        str | None,
        typer.Option("--weighted-interleave", "-w", metavar="NODES", help="Spread them by the host's weights."),
    ] = None,
    localalloc: Annotated[
        bool, typer.Option("--localalloc", "-l", help="Take memory from the node of the CPU that touches it first.")
    ] = False,
    balancing: Annotated[
        bool, typer.Option("--balancing", "-b", help="With --membind: let AutoNUMA move pages among its nodes.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Names mean all of the host's nodes and CPUs, not the cpuset's.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Have the pages follow when CMD gets other CPUs.")] = False,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --follow: what to call the job; else CMD and its pid.")
    ] = None,
    socket: AnySocket = None,
) -> None:
    """Run CMD under a memory policy and on CPUs of choice. NODES and CPUS are lists as numactl takes them.

    0-3,8 by number; all; +0-1 counted among those that this process may use; !0 all but these.

    With --follow this host's agent follows CMD; without one, an agent of its own does as long as CMD runs.
    """
    if name is not None and not follow:
        raise typer.BadParameter("--name is for --follow: it is what the job is called there")
    policies = {
        PolicyMode.BIND: membind,
        PolicyMode.PREFERRED: preferred,
        PolicyMode.PREFERRED_MANY: preferred_many,
        PolicyMode.INTERLEAVE: interleave,
        PolicyMode.WEIGHTED_INTERLEAVE: weighted_interleave,
        PolicyMode.LOCAL: "" if localalloc else None,
    }
    memory = [(mode, nodes) for mode, nodes in policies.items() if nodes is not None]
    if len(memory) > 1:
        raise typer.BadParameter("a program has one memory policy: give one of its options")
    wish = Wish(memory[0] if memory else None, balancing, cpunodebind, physcpubind, everything)
    bound = binding.chosen(wish, binding.read_place()) if wish != Wish() else binding.Binding()
    if not follow:
        bound.apply()
        starting.become(command)
    called = name or f"{Path(command[0]).name}-{os.getpid()}"
    agent = agent_to_ask(socket)
    if agent is not None:
        starting.become_followed(bound, command, called, agent)
    raise typer.Exit(starting.run_followed(bound, command, called))
