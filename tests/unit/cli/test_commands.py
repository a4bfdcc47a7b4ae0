"""What each command prints, for people and as JSON, and the exit code with which it ends."""

import json
import os
from dataclasses import replace

import pytest

from numaplace import __version__, client
from numaplace.cli import places
from numaplace.model.ids import JobId
from numaplace.model.move import MoveState
from numaplace.model.policy import Budget, FollowMode, Policy
from numaplace.model.residency import PageKind
from numaplace.model.session import HostLoad
from numaplace.model.views import Job
from tests.fakes import samples
from tests.fakes.services import Cluster, Machine
from tests.unit.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("services_env")

COMMANDS = [
    (), ("hosts",), ("jobs",), ("explain",), ("moves",), ("moves", "cancel"), ("show",), ("top",), ("adopt",),
    ("release",), ("status",), ("policy",), ("policy", "list"), ("policy", "get"), ("policy", "set"),
    ("policy", "delete"), ("move",), ("cpuset",), ("cpuset", "move"), ("cpuset", "mems"), ("cpuset", "cpus"),
]  # fmt: skip
JSON_COMMANDS = [
    ("hosts",), ("jobs",), ("explain", "train"), ("moves",), ("moves", "cancel", "m-1"), ("top",),
    ("show", str(os.getpid())), ("adopt", "mine", "--pid", "4711"), ("status",), ("policy", "list"), ("policy", "get"),
    ("policy", "set", "train", "--mode", "never"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_examples_and_exit_codes(run: Run, command: tuple[str, ...]) -> None:
    """A person learns from the command itself."""
    ended = run(*command, "--help")
    assert ended.code == 0
    assert f"Usage: numaplace {' '.join(command)}".rstrip() in ended.out
    if command not in {("policy",), ("cpuset",)}:
        assert "Examples:\n    numaplace" in ended.out
        assert "Exit codes: 0 done" in ended.out


@pytest.mark.parametrize("command", JSON_COMMANDS, ids=" ".join)
def test_every_command_speaks_json(run: Run, command: tuple[str, ...]) -> None:
    """One value, nothing else on standard output, nothing on standard error."""
    ended = run(*command, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out)


def test_the_version(run: Run) -> None:
    """As the package says."""
    assert run("--version").out == f"numaplace {__version__}\n"


def test_defaults_are_the_clients() -> None:
    """They are written twice so that help need not import gRPC."""
    assert places.SCHEDULER == client.SCHEDULER_ADDRESS
    assert places.AGENT_SOCKET == client.AGENT_SOCKET


def test_hosts(run: Run, cluster: Cluster) -> None:
    """States, nodes, memory, pace, and what an agent lacks."""
    cluster.hosts = {
        host.id: replace(host, abilities=replace(host.abilities, remarks=("tracefs is missing",)))
        for host in cluster.hosts.values()
    }
    lines = run("hosts").out.splitlines()
    assert lines[0].split() == (
        ["HOST", "STATE", "NODES", "CPUS", "MEMORY", "FREE", "TASKS", "MOVES", "PACE", "KERNEL", "AGENT", "SEEN"]
    )
    assert lines[1].split()[:10] == ["alpha", "connected", "0-1", "4", "4.0", "GiB", "1.5", "GiB", "2", "1"]
    assert "6.12.117" in lines[1]
    assert lines[2].split()[:2] == ["beta", "unreachable"]
    assert "beta: tracefs is missing" in lines


def test_jobs(run: Run, cluster: Cluster) -> None:
    """Where home is, how much is there, what was decided; on one host; a job without tasks."""
    cluster.jobs[JobId("idle")] = Job(JobId("idle"), (), Policy())
    lines = {line.split()[0]: line.split() for line in run("jobs").out.splitlines()}
    assert lines["train"][1:3] == ["alpha", "1"]
    assert lines["train"][-7:] == ["MiB", "112.0", "MiB", "at-once", "(default)", "move:", "worth-it"]
    assert lines["etl"][-3:] == ["later", "leave:", "stuck"]
    assert lines["idle"][1:3] == ["-", "-"]
    assert "train" not in run("jobs", "--host", "beta").out


def test_moves(run: Run) -> None:
    """Running and ended ones, what they left, narrowed as asked."""
    out = run("moves").out
    assert "250.0 MiB/s" in out
    assert "8.0 MiB pinned" in out
    assert "21.5 ms" in out
    assert "m-0" not in run("moves", "--open").out
    assert "m-1" not in run("moves", "--job", "etl").out
    assert "m-1" in run("moves", "--host", "alpha").out
    assert run("moves", "--host", "alpha", "--job", "etl").code == 2


def test_watching_moves(run: Run) -> None:
    """First what is open, then each change as a line; as JSON each is one line."""
    lines = run("moves", "--watch").out.splitlines()
    assert lines[0].startswith("MOVE")
    assert "state running" in lines[-2]
    assert "m-0  etl on alpha  state partial" in lines[-1]
    assert "left 8.0 MiB pinned" in lines[-1]
    changes = [json.loads(line) for line in run("moves", "--watch", "--json").out.splitlines()]
    assert [change["id"] for change in changes] == ["m-1", "m-1", "m-0"]
    assert changes[0]["left"] == {"pinned": 4 << 20}


def test_cancelling(run: Run, cluster: Cluster) -> None:
    """An open move ends; an ended one does not; an unknown one is not found."""
    ended = run("moves", "cancel", "m-1")
    assert ended.out == "m-1: cancelling, 300.0 MiB moved so far\n"
    assert cluster.moves[samples.RUNNING.id].state is MoveState.CANCELLING
    refused = run("moves", "cancel", "m-0")
    assert (refused.code, refused.err) == (1, "numaplace: m-0 has ended already: partial\n")
    assert run("moves", "cancel", "m-9").code == 4


def test_a_subcommand_has_options_of_its_own(run: Run, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of its group are refused rather than ignored, and the group itself dials nowhere."""
    ended = run("moves", "--scheduler", "127.0.0.1:1", "cancel", "m-1")
    assert ended.code == 2
    assert "options come after the subcommand: cancel --scheduler" in ended.err
    assert not cluster.calls
    monkeypatch.setenv("NUMAPLACE_SCHEDULER", "nonsense")
    assert "nonsense" in run("moves", "cancel", "m-1").err
    assert run("moves", "cancel", "--help").code == 0


def test_explaining(run: Run, cluster: Cluster) -> None:
    """The scheduler's sentences, then the moves with what stayed and its remedy; nothing is read as markup."""
    out = run("explain", "train").out
    assert "112.0 MiB [0, 1] lie outside home, so it is moved." in out
    assert "300.0 MiB moved, 100.0 MiB to go at 250.0 MiB/s" in out
    assert "A device or io_uring holds these pages" in out
    outcome = replace(samples.OUTCOME, new_pages="land on node 0: numactl --membind=0 binds them")
    cluster.moves[samples.ENDED.id] = replace(samples.ENDED, outcome=outcome)
    out = run("explain", "etl").out
    for words in (
        "8.0 MiB are pinned",
        "by move_pages: 6.1 holds the lock",
        "longest stall 21.5 ms",
        "new pages: land",
    ):
        assert words in out
    ended = run("explain", "nobody")
    assert (ended.code, ended.out, ended.err) == (4, "", "numaplace: no job is called nobody\n")


def test_top_once(run: Run, cluster: Cluster) -> None:
    """In a pipe, and with --once, it is shown once: most remote memory first."""
    for out in (run("top", "--once").out, run("top").out):
        lines = out.splitlines()
        assert "hosts 1/2 connected  jobs 2  resident 512.0 MiB  at home 77 %  remote 120.0 MiB  moves 1" in lines[0]
        assert [line.split()[0] for line in lines[3:5]] == ["train", "etl"]
        assert "300.0 MiB of 400.0 MiB at 250.0 MiB/s" in lines[-1]
    one = cluster.jobs.pop(JobId("train"))
    cluster.jobs |= {JobId(f"j{n}"): replace(one, id=JobId(f"j{n}")) for n in range(40)}
    assert "and 11 jobs more" in run("top", "--once").out
    looked = json.loads(run("top", "--json").out)
    assert (len(looked["hosts"]), len(looked["jobs"]), len(looked["moves"])) == (2, 41, 1)


def test_adopting_and_releasing(run: Run, machine: Machine) -> None:
    """By pid or by cgroup, not by both or neither; what was not adopted cannot be released."""
    assert "mine: following cgroup:/slurm/train, 2 processes, home 1" in run("adopt", "mine", "--pid", "4711").out
    run("adopt", "yours", "--cgroup", "/slurm/train")
    # A directory is the agent's to understand: it knows where the hierarchy with the cpusets is mounted.
    directory = "/sys/fs/cgroup/cpuset/slurm/train"
    machine.shown[directory] = machine.shown["/slurm/train"]
    run("adopt", "theirs", "--cgroup", directory)
    assert machine.adopted == {"mine": 4711, "yours": "/slurm/train", "theirs": directory}
    assert run("release", "mine").out == "mine: no longer following 1 task\n"
    assert run("release", "yours", "--json").code == 0
    assert run("release", "mine").code == 4
    assert run("adopt", "mine", "--pid", "5").code == 4
    for wrong in (("adopt", "x"), ("adopt", "x", "--pid", "1", "--cgroup", "/a"), ("adopt", "x", "--pid", "0")):
        assert run(*wrong).code == 2


def test_status(run: Run, machine: Machine) -> None:
    """What the agent is, where it is connected, what it lacks."""
    out = run("status").out
    for words in (
        "connected to sched1:7700",
        "2 tasks, 18 threads",
        "sweep",
        "tracefs is missing: mount it",
        "512.0 MiB",
    ):
        assert words in out
    machine.status = replace(machine.status, connected=False, load=HostLoad())
    assert "alone, following by the last policies" in run("status").out


def test_policies(run: Run, cluster: Cluster) -> None:
    """Listed, shown in full, changed in what is named and no more, deleted."""
    out = run("policy", "list").out
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["default", "at-once"], ["etl", "later"]]
    assert "64.0 MiB" in run("policy", "get").out
    assert run("policy", "get", "train").code == 4
    changed = run(
        "policy", "set", "train", "--mode", "observe", "--pace", "500MB/s", "--stall-ms", "5", "--headroom", "1GiB",
        "--kinds", "anon, file", "--settle-s", "0.5", "--later-s", "9", "--min-remote", "1M", "--min-gain", "0.1",
        "--min-age-s", "3", "--move-interleave",
    )  # fmt: skip
    assert (changed.code, changed.err) == (0, "")
    assert cluster.policies[JobId("train")] == Policy(
        FollowMode.OBSERVE, frozenset({PageKind.ANON, PageKind.FILE}), Budget(500_000_000, 5.0, 1 << 30), 0.5, 9.0,
        1 << 20, 0.1, 3.0, keep_interleave=False,
    )  # fmt: skip
    assert run("policy", "set", "train", "--pace", "none").code == 0
    assert cluster.policies[JobId("train")].budget == Budget(None, 5.0, 1 << 30)
    assert run("policy", "set", "default", "--mode", "later").code == 0
    assert cluster.policies[None] == Policy(mode=FollowMode.LATER)
    assert run("policy", "delete", "train").out == "train: follows by the default policy\n"
    assert run("policy", "delete", "train").code == 4


@pytest.mark.parametrize(
    "wrong",
    [(), ("--mode", "sometimes"), ("--pace", "0"), ("--pace", "fast"), ("--stall-ms", "0"), ("--stall-ms", "nan"),
     ("--headroom", "-1"), ("--kinds", "anon,cats"), ("--kinds", ""), ("--min-gain", "2"), ("--settle-s", "-1"),
     ("--settle-s", "inf"), ("--colour", "red")],
    ids=" ".join,
)  # fmt: skip
def test_a_policy_that_makes_no_sense_is_wrong_usage(run: Run, cluster: Cluster, wrong: tuple[str, ...]) -> None:
    """Nothing is sent, and the words name what is wrong."""
    before = dict(cluster.policies)
    ended = run("policy", "set", "train", *wrong)
    assert ended.code == 2
    assert ended.err
    assert cluster.policies == before
    assert "UpdatePolicy" not in cluster.calls


def test_the_default_policy_cannot_be_deleted(run: Run) -> None:
    """There is always one."""
    ended = run("policy", "delete", "default")
    assert (ended.code, ended.out) == (2, "")
    assert "policy set default" in ended.err


@pytest.mark.parametrize("command", [("hosts",), ("top", "--once"), ("policy", "list"), ("moves", "--watch")])
def test_a_scheduler_that_is_not_there(run: Run, command: tuple[str, ...]) -> None:
    """Code 3, the address, and where to look; no traceback."""
    ended = run(*command, "--scheduler", "127.0.0.1:1")
    assert (ended.code, ended.out) == (3, "")
    assert "127.0.0.1:1; is numaplace-scheduler running there, and without TLS (else give --tls-ca" in ended.err
    assert "Traceback" not in ended.err


def test_an_agent_that_is_not_there(run: Run) -> None:
    """Code 3 too."""
    ended = run("status", "--socket", "/nonexistent/agent.sock")
    assert (ended.code, ended.out) == (3, "")
    assert "is numaplace-agent running on this host" in ended.err


@pytest.mark.parametrize(
    "wrong",
    [("hosts", "--scheduler", "nonsense"), ("hosts", "--scheduler", "sched1:7700"), ("hosts", "--tls-ca", "/none.pem"),
     ("hosts", "extra"), ("dance",), ("top", "--interval", "0"), ("show",)],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage(run: Run, wrong: tuple[str, ...]) -> None:
    """Code 2, words on standard error, nothing on standard output."""
    ended = run(*wrong)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err


def test_nothing_is_cut_or_coloured_in_a_pipe(run: Run, cluster: Cluster) -> None:
    """Scripts get whole names, one line an entry, however long."""
    long = JobId("j" * 300)
    cluster.jobs = {long: replace(cluster.jobs[JobId("train")], id=long)}
    out = run("jobs").out
    assert long in out
    assert len(out.splitlines()) == 2
    assert "\x1b" not in out
    assert all(line == line.rstrip() for line in out.splitlines())
