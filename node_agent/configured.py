"""The agent's settings at work: plain values, as one line of JSON where they pass from one program to the next.

:class:`node_agent.settings.AgentSettings` reads and checks what an administrator wrote. That takes libraries that the
agent has no use for once it runs, so they stay behind in the command; see :mod:`node_agent.launch`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from node_agent.core.rules import SelectionRules
from numaplace.configured import TlsPaths, policy_of, tls_of
from numaplace.model.policy import Policy


@dataclass(frozen=True, slots=True)
class Watch:
    """Which watchers to open; the sweep always runs."""

    fanotify: bool = True
    inotify: bool = True
    tracefs: bool = True


@dataclass(frozen=True, slots=True)
class Configured:
    """All that the agent is told; see :class:`node_agent.settings.AgentSettings` for the meaning of each."""

    host: str
    scheduler: str | None
    socket: Path
    state_dir: Path
    tls: TlsPaths
    rules: SelectionRules
    owned_cpusets: tuple[str, ...]
    policy: Policy
    movers: int
    watch: Watch
    log_level: str
    log_format: str


def to_json(settings: Mapping[str, Any]) -> str:
    """The settings' sections as JSON. Paths may hold any bytes, as those of the system do."""
    return json.dumps(settings, default=_plain)


def _plain(value: object) -> object:
    match value:
        case Path():
            return str(value)
        case Enum():
            return value.value
        case frozenset():
            return sorted(value, key=str)
    raise TypeError(f"no setting is of {type(value)}")


def from_json(text: str) -> Configured:
    """The settings that :func:`to_json` wrote."""
    values = json.loads(text)
    follow: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values["follow"].items()
    }
    owned_cpusets = follow.pop("owned_cpusets")
    return Configured(
        host=values["host"],
        scheduler=values["scheduler"],
        socket=Path(values["socket"]),
        state_dir=Path(values["state_dir"]),
        tls=tls_of(values["tls"]),
        rules=SelectionRules(**follow),
        owned_cpusets=owned_cpusets,
        policy=policy_of(values["policy"]),
        movers=values["limits"]["movers"],
        watch=Watch(**values["watch"]),
        log_level=values["log"]["level"],
        log_format=values["log"]["format"],
    )
