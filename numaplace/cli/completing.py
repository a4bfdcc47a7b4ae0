"""What a shell offers for a value: names that the agent or the scheduler knows now, and this host's cgroups.

A person waits at the TAB key. So an answer comes within PATIENCE_S or not at all, and what went wrong is not told in
the middle of somebody's command line: then nothing is offered.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from numaplace.cli import connect

Offer = tuple[str, str]
"""A word and what it is."""

PATIENCE_S = 1.0
CGROUP_ROOT = "/sys/fs/cgroup"
CPUSET_V1 = "cpuset"
"""Where cpusets are below it if every controller has a hierarchy of its own."""


def jobs(ctx: typer.Context) -> list[Offer]:
    """The jobs of the cluster."""
    page = _asked(connect.scheduler_named, ctx, lambda calls: calls.list_jobs())
    return [(job.id, "") for job in page.items] if page else []


def hosts(ctx: typer.Context) -> list[Offer]:
    """The hosts of the cluster."""
    page = _asked(connect.scheduler_named, ctx, lambda calls: calls.list_hosts())
    return [(host.id, host.state.value) for host in page.items] if page else []


def open_moves(ctx: typer.Context) -> list[Offer]:
    """The moves that have not ended."""
    page = _asked(connect.scheduler_named, ctx, lambda calls: calls.list_moves(only_open=True))
    return [(move.id, f"{move.job} on {move.host}") for move in page.items] if page else []


def followed(ctx: typer.Context) -> list[Offer]:
    """The jobs that this host's agent follows for the caller."""
    tasks = _asked(connect.agent_named, ctx, lambda calls: calls.list_tasks()) or ()
    return sorted({task.job: task.command for task in tasks}.items())


def _asked(named: Callable[[Mapping[str, Any]], Any], ctx: typer.Context, call: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - each call has an answer of its own
    """The answer of the service that the command line names so far; None if there is none."""
    from numaplace.client import calls  # noqa: PLC0415 - only now is gRPC worth its 0.1 s

    try:
        with named(ctx.params) as client:
            return client.run(replace(call(calls), deadline_s=PATIENCE_S))
    except Exception:  # noqa: BLE001 - whatever it is, it has no place in the line that somebody writes
        return None


def targets(ctx: typer.Context, incomplete: str) -> list[Offer]:
    """What has pages on this host: a cgroup if a path was begun, else what the agent follows."""
    return cgroups(incomplete) if incomplete.startswith("/") else followed(ctx)


def cgroups(incomplete: str) -> list[Offer]:
    """The cgroups at the level that was begun; one with others below it with a slash too, so that one can go on."""
    folder, _, start = incomplete.rpartition("/")
    if not incomplete.startswith(CGROUP_ROOT):
        folder = f"{_cpusets()}{folder}"
    written = incomplete.removesuffix(start)
    names = [name for name in _folders(folder) if name.startswith(start)]
    deeper = [f"{name}/" for name in names if any(_folders(f"{folder}/{name}"))]
    return [(f"{written}{name}", "") for name in sorted([*names, *deeper])]


def _cpusets() -> str:
    """The top of the hierarchy that cgroups are named in."""
    one = Path(CGROUP_ROOT, "cgroup.controllers").exists()
    return CGROUP_ROOT if one or not Path(CGROUP_ROOT, CPUSET_V1).is_dir() else f"{CGROUP_ROOT}/{CPUSET_V1}"


def _folders(path: str) -> Iterable[str]:
    try:
        with os.scandir(path) as found:
            return [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
