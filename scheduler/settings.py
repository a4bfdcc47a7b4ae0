"""The scheduler's configuration: what an administrator may set."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import SettingsConfigDict

from numaplace.configuration import PolicySection, Section, ServiceSettings, TlsSection, checked_address
from numaplace.telemetry import LogFormat
from scheduler.planning.records import MoveLimits
from scheduler.state.bounds import Bounds


class LimitsSection(Section):
    """How many moves may run at once, and how much is remembered."""

    moves_per_host: int = Field(default=MoveLimits().per_host_max, ge=1)
    moves_in_cluster: int = Field(default=MoveLimits().in_cluster_max, ge=1)
    history: int = Field(default=Bounds().history_max, ge=1, le=1_000_000)
    hosts: int = Field(default=Bounds().hosts_max, ge=1)
    tasks_per_host: int = Field(default=Bounds().tasks_per_host_max, ge=1)

    def to_limits(self) -> MoveLimits:
        """The limits on moves."""
        return MoveLimits(self.moves_per_host, self.moves_in_cluster)

    def to_bounds(self) -> Bounds:
        """The bounds on memory."""
        return Bounds(hosts_max=self.hosts, tasks_per_host_max=self.tasks_per_host, history_max=self.history)


class StoreSection(Section):
    """Where orders and outcomes survive."""

    path: Path = Field(default_factory=lambda: _state_dir() / "scheduler.db")
    survive_power_loss: bool = True
    """Flush the disk at each order and outcome; without it they still survive a crash of the process."""


class MetricsSection(Section):
    """Prometheus metrics over plain HTTP; off unless a port is given."""

    port: int | None = Field(default=None, ge=0, le=65_535)
    address: str = "127.0.0.1"


class LogSection(Section):
    """How to log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: LogFormat = LogFormat.AUTO


def _state_dir() -> Path:
    """What systemd made for us; else the XDG state folder of whoever runs it, for a trial by hand."""
    given = os.environ.get("STATE_DIRECTORY")
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
    return Path(given) if given else Path(home) / "numaplace"


class SchedulerSettings(ServiceSettings):
    """All settings of ``numaplace-scheduler``; environment variables: NUMAPLACE_SCHEDULER_KEY or …_SECTION__KEY."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="NUMAPLACE_SCHEDULER_", env_nested_delimiter="__"
    )

    listen: Annotated[str, AfterValidator(checked_address)] = "127.0.0.1:7700"
    drain_s: float = Field(default=5.0, ge=0, le=600)
    store: StoreSection = StoreSection()
    tls: TlsSection = TlsSection()
    policy: PolicySection = PolicySection()
    limits: LimitsSection = LimitsSection()
    metrics: MetricsSection = MetricsSection()
    log: LogSection = LogSection()
