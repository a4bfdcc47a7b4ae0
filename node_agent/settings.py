"""The agent's configuration: what an administrator may set, with defaults that suit a host of a batch system."""

import os
import platform
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import SettingsConfigDict

from node_agent.core.rules import TASKS_MAX, SelectionRules
from numaplace.configuration import PolicySection, Section, ServiceSettings, TlsSection, checked_address


class FollowSection(Section):
    """Which tasks to follow, see :class:`node_agent.core.rules.SelectionRules`."""

    cgroup_roots: tuple[str, ...] = ()
    cgroup_depth: int | None = None
    commands: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    min_resident_bytes: int = 0
    system_services: bool = False
    tasks_max: int = TASKS_MAX
    owned_cpusets: tuple[str, ...] = ()
    """Cgroups whose cpuset.mems numaplace may write: there a move is a calm hand-over."""

    @model_validator(mode="after")
    def _makes_rules(self) -> Self:
        self.to_rules()
        return self

    def to_rules(self) -> SelectionRules:
        """The rules as a value."""
        return SelectionRules(**self.model_dump(exclude={"owned_cpusets"}))


class LimitsSection(Section):
    """What the agent allows itself."""

    movers: int = Field(default=2, ge=1, le=16)


class WatchSection(Section):
    """Which watchers to open; the sweep always runs."""

    fanotify: bool = True
    inotify: bool = True
    tracefs: bool = True


class LogSection(Section):
    """How to log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


def _state_dir() -> Path:
    return Path(os.environ.get("STATE_DIRECTORY", "/var/lib/numaplace-agent"))


def _socket() -> Path:
    return Path(os.environ.get("RUNTIME_DIRECTORY", "/run/numaplace")) / "agent.sock"


class AgentSettings(ServiceSettings):
    """All settings of ``numaplace-agent``; environment variables are NUMAPLACE_AGENT_KEY or …_SECTION__KEY."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="NUMAPLACE_AGENT_", env_nested_delimiter="__"
    )

    host: str = Field(default_factory=platform.node, min_length=1, max_length=253)
    scheduler: Annotated[str, AfterValidator(checked_address)] | None = None
    socket: Path = Field(default_factory=_socket)
    state_dir: Path = Field(default_factory=_state_dir)
    tls: TlsSection = TlsSection()
    follow: FollowSection = FollowSection()
    policy: PolicySection = PolicySection()
    limits: LimitsSection = LimitsSection()
    watch: WatchSection = WatchSection()
    log: LogSection = LogSection()
