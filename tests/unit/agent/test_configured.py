"""The settings that reach the agent are those that were read."""

import os
from pathlib import Path
from typing import Any

import pytest

from node_agent.configured import Configured, Watch, from_json, to_json
from node_agent.core.rules import SelectionRules
from node_agent.settings import AgentSettings
from numaplace.configuration import load_settings
from numaplace.configured import TlsPaths
from numaplace.model.policy import Budget, FollowMode, Policy
from numaplace.model.residency import PageKind


def handed_over(values: dict[str, Any]) -> Configured:
    """What arrives of settings that were given so."""
    return from_json(to_json(load_settings(AgentSettings, None, values).model_dump()))


def test_every_setting_arrives() -> None:
    """Each key of each section, with another value than its default."""
    policy = {
        "mode": "later", "kinds": ["anon", "shared"], "pace_bytes_per_s": 5, "stall_ms_max": 6.5, "headroom_bytes": 7,
        "settle_s": 1.5, "later_s": 2.5, "min_remote_bytes": 8, "min_locality_gain": 0.5, "min_age_s": 3.5,
        "keep_interleave": False,
    }  # fmt: skip
    follow = {
        "cgroup_roots": ["/slurm"], "cgroup_depth": 2, "commands": ["re:^a"], "users": ["u"], "min_resident_bytes": 9,
        "system_services": True, "tasks_max": 10, "owned_cpusets": ["/slurm/x"],
    }  # fmt: skip
    tls = {"ca": "/ca", "certificate": "/cert", "key": "/key", "insecure": True}
    arrived = handed_over({
        "host": "h1", "scheduler": "s:1", "socket": "/run/a.sock", "state_dir": "/state", "tls": tls, "follow": follow,
        "policy": policy, "limits": {"movers": 3}, "log": {"level": "debug", "format": "json"},
        "watch": {"fanotify": False, "inotify": False, "tracefs": False},
    })  # fmt: skip
    budget = Budget(pace_bytes_per_s=5, stall_ms_max=6.5, headroom_bytes=7)
    assert arrived == Configured(
        host="h1",
        scheduler="s:1",
        socket=Path("/run/a.sock"),
        state_dir=Path("/state"),
        tls=TlsPaths(Path("/ca"), Path("/cert"), Path("/key"), insecure=True),
        rules=SelectionRules(("/slurm",), 2, ("re:^a",), ("u",), 9, system_services=True, tasks_max=10),
        owned_cpusets=("/slurm/x",),
        policy=Policy(
            FollowMode.LATER, frozenset({PageKind.ANON, PageKind.SHARED}), budget, 1.5, 2.5, 8, 0.5, 3.5,
            keep_interleave=False,
        ),
        movers=3,
        watch=Watch(fanotify=False, inotify=False, tracefs=False),
        log_level="debug",
        log_format="json",
    )  # fmt: skip


def test_defaults_arrive_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing given is the default of both sides."""
    for variable in tuple(os.environ):
        if variable.startswith("NUMAPLACE_"):
            monkeypatch.delenv(variable)
    arrived = handed_over({})
    assert (arrived.policy, arrived.rules, arrived.watch) == (Policy(), SelectionRules(), Watch())
    assert (arrived.scheduler, arrived.tls) == (None, TlsPaths())


def test_a_path_that_is_no_text_arrives() -> None:
    """A path may hold any bytes."""
    strange = Path(os.fsdecode(b"/state/\xff"))
    assert handed_over({"state_dir": strange}).state_dir == strange
