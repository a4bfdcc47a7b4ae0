"""The command line and the configuration: what is refused, and with which words."""

import asyncio
import json
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from numaplace.configuration import load_settings
from numaplace.configured import ConfigurationError
from numaplace.model.policy import FollowMode
from scheduler.bootstrap import is_loopback, running, tls_files
from scheduler.cli import app
from scheduler.settings import SchedulerSettings
from tests.unit.scheduler.scene import make_snapshot, make_task
from tests.unit.scheduler.service import agent

RUNNER = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"})


def test_configuration_is_printed(tmp_path: Path) -> None:
    """check-config shows every key with its value, as run would use it."""
    file = tmp_path / "scheduler.toml"
    file.write_text('listen = "127.0.0.1:1234"\n[policy]\nmode = "observe"\n[limits]\nmoves_per_host = 5\n')
    result = RUNNER.invoke(app, ["check-config", "--config", str(file)])
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert (shown["listen"], shown["policy"]["mode"], shown["limits"]["moves_per_host"]) == (
        "127.0.0.1:1234",
        "observe",
        5,
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lissten = 1", "did you mean listen?"),
        ("[limits]\nmove_per_host = 3", "did you mean moves_per_host?"),
        ("[limits]\nmoves_per_host = 0", "limits.moves_per_host"),
        ("[policy]\nmin_locality_gain = 7", "a share between 0 and 1"),
        ('[tls]\nca = "/nowhere"', "belong together"),
        ("no toml", "is no TOML"),
        ('listen = "0.0.0.0:7700"', "--insecure"),
    ],
)
def test_wrong_configuration_is_refused_with_the_remedy(tmp_path: Path, text: str, words: str) -> None:
    """Exit code 78 (EX_CONFIG), one line, the key, and what would be right."""
    file = tmp_path / "scheduler.toml"
    file.write_text(text)
    result = RUNNER.invoke(app, ["check-config", "--config", str(file)])
    assert result.exit_code == 78
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_flags_beat_environment_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TOML < environment < flags."""
    file = tmp_path / "scheduler.toml"
    file.write_text('listen = "127.0.0.1:1"\ndrain_s = 1\n[policy]\nmode = "never"\n')
    monkeypatch.setenv("NUMAPLACE_SCHEDULER_DRAIN_S", "2")
    monkeypatch.setenv("NUMAPLACE_SCHEDULER_POLICY__MODE", "later")
    settings = load_settings(SchedulerSettings, file, {"policy": {"mode": FollowMode.OBSERVE}, "listen": None})
    assert (settings.listen, settings.drain_s, settings.policy.mode) == ("127.0.0.1:1", 2.0, FollowMode.OBSERVE)


@pytest.mark.parametrize(
    ("listen", "loopback"),
    [
        ("127.0.0.1:7700", True),
        ("127.8.0.1:1", True),
        ("[::1]:7700", True),
        ("localhost:7700", True),
        ("unix:/run/x.sock", True),
        ("0.0.0.0:7700", False),
        ("[::]:7700", False),
        ("10.0.0.1:7700", False),
        ("localhost.example.org:7700", False),
        (":7700", False),
    ],
)
def test_loopback_is_told_from_the_network(listen: str, loopback: bool) -> None:  # noqa: FBT001 - a parameter
    """Only what no other machine can reach goes without TLS."""
    assert is_loopback(listen) is loopback
    settings = load_settings(SchedulerSettings, None, {"listen": listen})
    if loopback:
        assert tls_files(settings) is None
    else:
        with pytest.raises(ConfigurationError, match="without TLS"):
            tls_files(settings)


def test_certificates_by_command(tmp_path: Path) -> None:
    """init, host and user print what they wrote; a second init is refused."""
    folder = ["--dir", str(tmp_path / "certs")]
    for command in (["init", "--name", "sched1"], ["host", "h1"], ["user", "alice"]):
        result = RUNNER.invoke(app, ["certs", *command, *folder])
        assert result.exit_code == 0, result.output
        assert all(Path(line).exists() for line in result.stdout.split())
    again = RUNNER.invoke(app, ["certs", "init", *folder])
    assert again.exit_code == 1
    assert "move them away" in again.stderr


@pytest.mark.parametrize("command", [[], ["run"], ["check-config"], ["certs"], ["certs", "init"], ["certs", "host"]])
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    """Nobody has to guess."""
    result = RUNNER.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    if command and command != ["certs"]:
        assert "Example" in result.stdout


def fetch(url: str) -> str:
    """What is served there."""
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - our own port
        return str(answer.read().decode())


def test_metrics_are_exported(tmp_path: Path) -> None:
    """Prometheus finds the state's gauges and the events' counters under their names."""
    flags = {
        "listen": "127.0.0.1:0",
        "store": {"path": tmp_path / "s.db"},
        "metrics": {"port": 0},
        "drain_s": 0,
    }

    async def play() -> str:
        settings = load_settings(SchedulerSettings, None, flags)
        async with running(settings) as scheduler, agent(f"localhost:{scheduler.port}") as hand:
            await hand.say(make_snapshot([make_task()]))
            await scheduler.shell.until(lambda state: bool(state.world.jobs), 10)
            return await asyncio.to_thread(fetch, f"http://127.0.0.1:{scheduler.metrics_port}/metrics")

    text = asyncio.run(play())
    for line in (
        'numaplace_hosts{state="connected"} 1.0',
        "numaplace_tasks 1.0",
        "numaplace_sessions_total 1.0",
        'numaplace_decisions_total{action="leave",reason="at-home"} 1.0',
    ):
        assert line in text
