"""The programs that are documented, and what no help tells: their files, settings and relatives."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import typer

from node_agent.cli import app as agent
from node_agent.settings import AgentSettings
from numaplace.cli.app import built
from numaplace.configuration import ServiceSettings
from scheduler.cli import app as scheduler
from scheduler.settings import SchedulerSettings


@dataclass(frozen=True, slots=True)
class Program:
    """One program. ``summary`` is its NAME line; ``files`` say what lies where; ``settings`` are a service's own."""

    name: str
    summary: str
    app: typer.Typer
    files: Mapping[str, str] = field(default_factory=dict)
    relatives: tuple[str, ...] = ()
    settings: type[ServiceSettings] | None = None


def all_programs() -> tuple[Program, ...]:
    """Every program, the command first."""
    return (
        Program(
            "numaplace",
            "see, move and place the memory of processes on NUMA nodes",
            built(),
            {"/run/numaplace/agent.sock": "The socket of this host's agent, unless told otherwise."},
            ("numaplace-agent(1)", "numaplace-scheduler(1)", "numactl(8)", "migratepages(8)", "numa(7)", "cpuset(7)"),
        ),
        Program(
            "numaplace-agent",
            "the agent of one host: memory follows the CPUs",
            agent,
            {
                "/etc/numaplace/agent.toml": "The configuration that the systemd unit reads.",
                "/run/numaplace/agent.sock": "The local socket, unless told otherwise.",
                "/var/lib/numaplace-agent": "The journal, unless told otherwise.",
            },
            ("numaplace(1)", "numaplace-scheduler(1)", "move_pages(2)", "migrate_pages(2)", "cpuset(7)"),
            AgentSettings,
        ),
        Program(
            "numaplace-scheduler",
            "the central service: decides what to move and when",
            scheduler,
            {
                "/etc/numaplace/scheduler.toml": "The configuration that the systemd unit reads.",
                "/var/lib/numaplace-scheduler": "Orders, outcomes and policies, when systemd runs it.",
            },
            ("numaplace(1)", "numaplace-agent(1)"),
            SchedulerSettings,
        ),
    )
