"""The systemd units start what exists, with options that exist, and only with the powers that their comments name."""

import configparser
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node_agent.cli import app as agent
from scheduler.cli import app as scheduler

UNITS = Path(__file__).resolve().parents[2] / "packaging" / "systemd"
APPS = {"numaplace-agent": agent, "numaplace-scheduler": scheduler}


def _unit(name: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys are case-sensitive
    parser.read(UNITS / f"{name}.service")
    return parser["Service"]


@pytest.mark.parametrize("name", APPS)
def test_a_unit_starts_a_command_with_options_that_it_has(name: str) -> None:
    """ExecStart names an entry point, a subcommand and flags that its --help lists."""
    program, entry, command, *flags = shlex.split(_unit(name)["ExecStart"])
    assert program == "/usr/bin/env"
    assert entry == name
    shown = CliRunner().invoke(APPS[name], [command, "--help"])
    assert shown.exit_code == 0
    assert all(flag in shown.output for flag in flags if flag.startswith("--"))


@pytest.mark.parametrize("name", APPS)
def test_a_unit_neither_gains_privileges_nor_loops_on_a_wrong_configuration(name: str) -> None:
    """Least privilege, and no crash loop where only a person can help."""
    unit = _unit(name)
    assert unit["NoNewPrivileges"] in {"yes", "true"}
    assert "78" in unit["RestartPreventExitStatus"].split()
