"""Configuration: flags before environment before file, and every mistake named with what to do about it."""

import os
from pathlib import Path
from typing import Any

import pytest

from node_agent.settings import AgentSettings
from numaplace.configuration import ServiceSettings, TlsSection, load_settings, read_toml
from numaplace.configured import ConfigurationError
from numaplace.model.policy import FollowMode, Policy
from numaplace.model.residency import PageKind
from scheduler.settings import SchedulerSettings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer has set is not what is tested."""
    for variable in tuple(os.environ):
        if variable.startswith("NUMAPLACE_"):
            monkeypatch.delenv(variable)


def written(folder: Path, text: str) -> Path:
    """A configuration file."""
    file = folder / "agent.toml"
    file.write_text(text)
    return file


def refused(file: Path | None, flags: dict[str, Any] | None = None) -> str:
    """The words of the refusal."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(AgentSettings, file, flags or {})
    return str(caught.value)


def test_without_anything_the_defaults_hold() -> None:
    """An agent starts without a configuration, and its default policy is the model's."""
    found = load_settings(AgentSettings, None, {})
    assert found.policy.to_policy() == Policy()
    assert found.follow.to_rules().cgroup_roots == ()
    assert found.scheduler is None


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key by key, also within one section."""
    file = written(
        tmp_path,
        'scheduler = "file:1"\nhost = "file"\n[policy]\nmode = "never"\nsettle_s = 1.0\nlater_s = 5.0\n'
        "[limits]\nmovers = 3\n",
    )
    monkeypatch.setenv("NUMAPLACE_AGENT_HOST", "environment")
    monkeypatch.setenv("NUMAPLACE_AGENT_POLICY__SETTLE_S", "2.0")
    monkeypatch.setenv("NUMAPLACE_AGENT_POLICY__MODE", "later")
    flags = {"scheduler": None, "policy": {"mode": "observe", "kinds": None}, "limits": {"movers": None}}
    found = load_settings(AgentSettings, file, flags)
    assert (found.scheduler, found.host) == ("file:1", "environment")
    assert (found.policy.mode, found.policy.settle_s, found.policy.later_s) == (FollowMode.OBSERVE, 2.0, 5.0)
    assert found.limits.movers == 3
    assert found.policy.stall_ms_max == Policy().budget.stall_ms_max


def test_lists_come_from_all_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list replaces the one below it, and is JSON in the environment."""
    file = written(tmp_path, '[follow]\ncgroup_roots = ["/file"]\ncommands = ["a"]\n[policy]\nkinds = ["anon"]\n')
    monkeypatch.setenv("NUMAPLACE_AGENT_FOLLOW__CGROUP_ROOTS", '["/one", "/two"]')
    found = load_settings(AgentSettings, file, {"follow": {"commands": ["b"]}})
    assert found.follow.to_rules().cgroup_roots == ("/one", "/two")
    assert found.follow.commands == ("b",)
    assert found.policy.to_policy().kinds == {PageKind.ANON}


@pytest.mark.parametrize(
    ("text", "unknown", "near"),
    [
        ('schduler = "a:1"', "schduler", "scheduler"),
        ("[polcy]\nsettle_s = 1", "polcy", "policy"),
        ("[policy]\nsetle_s = 1", "policy.setle_s", "settle_s"),
        ('[follow]\ncgroup_root = ["/a"]', "follow.cgroup_root", "cgroup_roots"),
        ("[limits]\nmover = 1", "limits.mover", "movers"),
        ("[watch]\nfanotfy = true", "watch.fanotfy", "fanotify"),
        ('[log]\nlevl = "info"', "log.levl", "level"),
        ('[tls]\ncertifcate = "x"', "tls.certifcate", "certificate"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known(tmp_path: Path, text: str, unknown: str, near: str) -> None:
    """In each section: a misspelt limit that is silently ignored is worse than no start."""
    words = refused(written(tmp_path, text))
    assert f"unknown key {unknown}; did you mean {near}?" in words
    assert "agent.toml" in words


@pytest.mark.parametrize(
    ("kind", "key", "address"),
    [
        (AgentSettings, "scheduler", "sched1"),
        (AgentSettings, "scheduler", "sched1:agents"),
        (SchedulerSettings, "listen", "127.0.0.1"),
        (SchedulerSettings, "listen", "0.0.0.0:70000"),
    ],
)
def test_an_address_without_its_port_is_refused(kind: type[ServiceSettings], key: str, address: str) -> None:
    """Else gRPC would pick a port of its own, and whoever dials would wait for ever."""
    with pytest.raises(ConfigurationError, match=rf"^{key}: not an address like HOST:PORT: '{address}'$"):
        load_settings(kind, None, {key: address})


def test_an_unknown_key_like_no_other_has_no_hint(tmp_path: Path) -> None:
    """A wrong hint is worse than none."""
    words = refused(written(tmp_path, "xyzzy = 1"))
    assert "unknown key xyzzy" in words
    assert "did you mean" not in words


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("NUMAPLACE_AGENT_SCHDULER", "NUMAPLACE_AGENT_SCHDULER; did you mean NUMAPLACE_AGENT_SCHEDULER?"),
        ("NUMAPLACE_AGENT_POLCY__MODE", "NUMAPLACE_AGENT_POLCY__MODE; did you mean NUMAPLACE_AGENT_POLICY?"),
        ("NUMAPLACE_AGENT_POLICY__MOOD", "unknown key policy.mood; did you mean mode?"),
    ],
)
def test_an_unknown_variable_is_refused_too(monkeypatch: pytest.MonkeyPatch, variable: str, words: str) -> None:
    """The environment is configuration like the file."""
    monkeypatch.setenv(variable, "1")
    assert words in refused(None)


def test_variables_of_others_are_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's, the scheduler's, and the one that names the file."""
    for variable in ("NUMAPLACE_SOCKET", "NUMAPLACE_SCHEDULER_STORE", "NUMAPLACE_AGENT_CONFIG", "NUMAPLACE_AGENTS"):
        monkeypatch.setenv(variable, "x")
    load_settings(AgentSettings, None, {})


def test_all_mistakes_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wants to start a service five times to find five mistakes."""
    text = (
        '[policy]\nstall_ms_max = -1\n[limits]\nmovers = 0\n[follow]\ncgroup_roots = ["slurm"]\n[log]\nlevel = "loud"\n'
    )
    monkeypatch.setenv("NUMAPLACE_AGENT_HOTS", "x")
    words = refused(written(tmp_path, "hots = 1\n" + text))
    for part in (
        "policy: stall_ms_max must be above 0",
        "limits.movers",
        "follow: a cgroup root is a path",
        "log.level",
        "unknown key hots; did you mean host?",
        "unknown environment variable NUMAPLACE_AGENT_HOTS; did you mean NUMAPLACE_AGENT_HOST?",
    ):
        assert part in words


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ('mode = "sometimes"', "policy.mode"),
        ("kinds = []", "kinds must name at least one"),
        ("min_locality_gain = 2.0", "between 0 and 1"),
        ("pace_bytes_per_s = 0", "must be positive"),
        ("settle_s = inf", "must be finite"),
        ("settle_s = nan", "must be finite"),
        ('settle_s = "soon"', "policy.settle_s"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(tmp_path: Path, section: str, words: str) -> None:
    """The model's own checks speak, before anything starts."""
    assert words in refused(written(tmp_path, f"[policy]\n{section}\n"))


@pytest.mark.parametrize("text", ["policy = 3", 'follow = "all"', "limits = []"])
def test_a_section_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    """The words name it."""
    assert text.split(" ", maxsplit=1)[0] in refused(written(tmp_path, text))


@pytest.mark.parametrize("value", ["/slurm", "[", '{"a": 1}'])
def test_a_list_in_the_environment_that_is_no_json_is_told_how(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """No traceback, but what to write."""
    monkeypatch.setenv("NUMAPLACE_AGENT_FOLLOW__CGROUP_ROOTS", value)
    words = refused(None)
    assert "cgroup_roots" in words.lower()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a folder, no TOML, no text: one line, no traceback."""
    assert "nowhere.toml" in refused(tmp_path / "nowhere.toml")
    assert "cannot read" in refused(tmp_path)
    assert "is no TOML" in refused(written(tmp_path, "[policy\n"))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"binary\.toml is no TOML"):
        read_toml(binary)


def test_tls_files_belong_together(tmp_path: Path) -> None:
    """None is plaintext; some are a mistake; all are read."""
    assert TlsSection().files() is None
    ca, certificate, key = (tmp_path / name for name in ("ca.pem", "host.pem", "host.key"))
    with pytest.raises(ConfigurationError, match="numaplace-scheduler certs"):
        TlsSection(ca=ca, key=key).files()
    with pytest.raises(ConfigurationError, match=r"ca\.pem"):
        TlsSection(ca=ca, certificate=certificate, key=key).files()
    for file in (ca, certificate, key):
        file.write_text(file.name)
    assert TlsSection(ca=ca, certificate=certificate, key=key).files() == (b"ca.pem", b"host.pem", b"host.key")
