"""`numaplace move` against a fake agent: what it asks for, what it shows, and how it ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from numaplace.model.hand import Prediction, Transfer
from numaplace.model.job import Home
from numaplace.model.move import CounterAccount, LeftReason, MigrationCounters, MoveProgress, MoveState, Strategy
from numaplace.model.policy import MIB, Budget, Policy
from numaplace.model.residency import PageKind
from tests.fakes import samples
from tests.fakes.samples import nodes
from tests.fakes.services import Machine
from tests.unit.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("services_env")

MOVE = ("move", "--pid", "4711", "--from", "0", "--to", "1")
ACROSS = Transfer(nodes(0), nodes(1))
DONE = replace(samples.OUTCOME, state=MoveState.COMPLETED, left={}, words="moved 92.0 MB")


@pytest.fixture
def machine() -> Machine:
    """What the fake agent knows: a move that leaves pinned pages behind."""
    machine = samples.machine()
    machine.story = [samples.ORDER, samples.PROGRESS, samples.OUTCOME]
    machine.prediction = Prediction(1 << 30, 1.5, 2.5, {LeftReason.PINNED: 4096}, Strategy.MOVE_PAGES, "it is old")
    return machine


def test_what_moved_and_what_stayed_is_told(run: Run, machine: Machine) -> None:
    """The account on standard output, the way there on standard error, a code of its own because some stayed."""
    ended = run(*MOVE)
    assert ended.code == 5
    for words in (
        "partial: 92.0 MiB moved in 1.5 s, longest stall 21.5 ms",
        "by move_pages: 6.1 holds the lock",
        "40 calls, the longest 14.0 ms",
        "8.0 MiB  pinned  A device or io_uring holds these pages",
    ):
        assert words in ended.out
    assert ended.err == "moved 300.0 MiB of 400.0 MiB at 250.0 MiB/s, 400 ms to go; will stay: 4.0 MiB pinned\n"
    assert machine.by_hand == [(ACROSS, Policy(keep_interleave=False), 4711)]


def test_a_move_that_leaves_nothing_ends_with_nought(run: Run, machine: Machine) -> None:
    """With the kernel's counters, whose they are, and where new pages land."""
    counters = CounterAccount(MigrationCounters(900, 1, 2, 3, 4), MigrationCounters(800, 1, 2, 3, 4))
    machine.story = [samples.ORDER, replace(DONE, counters=counters, new_pages="land on node 0")]
    ended = run(*MOVE)
    assert (ended.code, ended.err) == (0, "")
    assert "kernel's count of ours: 800 pages moved, 1 failed; of huge ones 2 moved, 3 failed, 4 split" in ended.out
    assert "new pages: land on node 0" in ended.out
    machine.story = [samples.ORDER, replace(DONE, counters=replace(counters, ours=None))]
    assert "all movers of the host together: 900 pages moved" in run(*MOVE).out


@pytest.mark.parametrize(("state", "code"), [(MoveState.FAILED, 1), (MoveState.REFUSED, 1), (MoveState.CANCELLED, 5)])
def test_a_move_that_failed_says_why(run: Run, machine: Machine, state: MoveState, code: int) -> None:
    """Whoever cancelled it was not us."""
    machine.story = [samples.ORDER, replace(DONE, state=state, words="process 4711 has ended")]
    ended = run(*MOVE)
    assert ended.code == code
    assert "process 4711 has ended" in ended.out


def test_json_is_one_outcome_and_nothing_else(run: Run, machine: Machine) -> None:
    """No bar, the same code."""
    ended = run(*MOVE, "--json")
    assert (ended.code, ended.err) == (5, "")
    outcome = json.loads(ended.out)
    assert (outcome["moved_bytes"], outcome["left"]) == (92 * MIB, {"pinned": 8 * MIB})
    machine.story = [samples.ORDER, DONE]
    assert run(*MOVE, "--json").code == 0


def test_a_dry_run_moves_nothing(run: Run, machine: Machine) -> None:
    """It foretells bytes, seconds, stall and what would stay, and ends with nought."""
    ended = run(*MOVE, "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    for words in ("would move 1.0 GiB in about 1.5 s, longest stall about 2.5 ms", "it is old", "4.0 KiB  pinned"):
        assert words in ended.out
    assert json.loads(run(*MOVE, "--dry-run", "--json").out)["move_bytes"] == 1 << 30
    assert machine.by_hand == [(ACROSS, Policy(keep_interleave=False), 4711)] * 2
    assert machine.cancelled == {}


def test_nodes_as_people_name_them(run: Run, machine: Machine) -> None:
    """All others, all, home; by pid, cgroup and job."""
    machine.story = [samples.ORDER, DONE]
    for source in ((), ("--from", "all"), ("--from", "0")):
        assert run("move", "--cgroup", "/slurm/train", *source, "--to", "home").code == 0
    assert run("move", "--job", "train", "--to", "1").code == 0
    assert [asked[0] for asked in machine.by_hand] == [ACROSS] * 4
    assert [asked[2] for asked in machine.by_hand] == ["/slurm/train"] * 3 + ["train"]


def test_the_budget_is_the_policies(run: Run, machine: Machine) -> None:
    """The same options, read the same way."""
    run(
        *MOVE, "--pace", "500MB/s", "--stall-ms", "5", "--headroom", "1GiB", "--kinds", "anon, file",
        "--keep-interleave",
    )  # fmt: skip
    policy = Policy(kinds=frozenset({PageKind.ANON, PageKind.FILE}), budget=Budget(500_000_000, 5.0, 1 << 30))
    assert machine.by_hand == [(ACROSS, policy, 4711)]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (("--from", "0", "--to", "1"), "say whose pages"),
        (("--pid", "4711", "--job", "x", "--to", "1"), "say whose pages"),
        (("--pid", "4711", "--from", "0"), "say where to"),
        (("--pid", "4711", "--from", "0", "--to", "7"), "no node 7; it has 0-1"),
        (("--pid", "4711", "--from", "7", "--to", "1"), "no node 7; it has 0-1"),
        (("--pid", "4711", "--from", "0", "--to", ""), "--to: name at least one node"),
        (("--pid", "4711", "--from", "", "--to", "1"), "--from: name at least one node"),
        (("--pid", "4711", "--from", "1", "--to", "1"), "nothing would move"),
        (("--pid", "4711", "--from", "1", "--to", "0,1"), "nothing would move"),
        (("--pid", "4711", "--to", "0,1"), "none to move pages from"),
        (("--pid", "4711", "--from", "zero", "--to", "1"), "--from: not a list"),
        (("--pid", "4711", "--to", "1", "--pace", "0"), "--pace"),
        (("--pid", "4711", "--to", "1", "--kinds", "cats"), "'cats' is none of"),
        (("--pid", "0", "--to", "1"), "--pid"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_one_line_and_moves_nothing(
    run: Run, machine: Machine, wrong: tuple[str, ...], words: str
) -> None:
    """Wrong usage, before the agent is asked for a move."""
    ended = run("move", *wrong)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert machine.by_hand == []


def test_a_node_without_memory_is_no_target(run: Run, machine: Machine) -> None:
    """But pages may be moved from wherever."""
    host = machine.status.topology
    bare = replace(host, nodes=(host.nodes[0], replace(host.nodes[1], memory_bytes=0)))
    machine.status = replace(machine.status, topology=bare)
    ended = run(*MOVE)
    assert (ended.code, ended.err) == (2, "numaplace: --to: node 1 has no memory\n")


def test_a_task_without_a_home_cannot_be_moved_there(run: Run, machine: Machine) -> None:
    """All of its CPUs are offline."""
    shown = machine.shown[4711]
    machine.shown[4711] = replace(shown, task=replace(shown.task, home=Home(frozenset(), 1)))
    ended = run("move", "--pid", "4711", "--to", "home")
    assert (ended.code, machine.by_hand) == (1, [])
    assert "pid 4711 has no home" in ended.err


def test_what_the_agent_refuses_is_one_line(run: Run, machine: Machine) -> None:
    """Nothing of that name, a task that is being moved already."""
    assert run("move", "--pid", "5", "--from", "0", "--to", "1").code == 4
    machine.not_now = "it is being moved already, by hand-1: wait for its end, or cancel it"
    ended = run(*MOVE)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == f"numaplace: {machine.not_now}\n"


def test_an_agent_that_ends_in_mid_move_leaves_no_doubt(run: Run, machine: Machine) -> None:
    """How far it had come by its last word; the code of an agent that does not answer."""
    machine.story = [samples.ORDER, samples.PROGRESS]
    machine.cut = True
    ended = run(*MOVE)
    assert ended.code == 3
    assert "300.0 MiB had moved by its last word" in ended.err


def test_progress_is_a_line_at_each_tenth(run: Run, machine: Machine) -> None:
    """However often it is told."""
    steps = [MoveProgress(samples.ORDER.id, n * MIB, (100 - n) * MIB, 0.0, samples.PAGES) for n in range(0, 101, 2)]
    machine.story = [samples.ORDER, *steps, DONE]
    lines = run(*MOVE).err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "moved 10.0 MiB of 100.0 MiB at 0 B/s"


@pytest.fixture
def moving(machine: Machine, services_env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The real command in the middle of a move that ends only when it is cancelled."""
    machine.story = [samples.ORDER, samples.PROGRESS]
    with subprocess.Popen(
        [sys.executable, "-m", "numaplace.cli", *MOVE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **services_env},
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert process.stderr.readline().startswith("moved 300.0 MiB of 400.0 MiB")
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_cleanly_and_says_how_far_it_came(moving: subprocess.Popen[str], number: signal.Signals) -> None:
    """The first one cancels; the account still comes, and the code says why it is no whole one."""
    moving.send_signal(number)
    out, err = moving.communicate()
    assert moving.returncode == 130
    assert err == "stopping after the current batch; once more to leave at once\n"
    assert "cancelled: 0 B moved" in out
    assert "cancelled: as asked for" in out


def test_a_second_ctrl_c_leaves_at_once(machine: Machine, moving: subprocess.Popen[str]) -> None:
    """The stream ends with it, by which the agent knows; how far it had come is said."""
    machine.deaf = True
    assert moving.stderr is not None
    moving.send_signal(signal.SIGINT)
    assert "once more to leave at once" in moving.stderr.readline()
    moving.send_signal(signal.SIGINT)
    out, err = moving.communicate()
    assert (moving.returncode, out) == (130, "")
    assert "left while the move was ending; 300.0 MiB had moved by its last word" in err
    assert machine.cancelled[samples.ORDER.id].wait(10)
