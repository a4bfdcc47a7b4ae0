"""`numaplace cpuset` on a host as files, its pages moved by a fake agent: what is written, told, and how it ends."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from numaplace.cli import cpuset
from numaplace.model.hand import Prediction, Transfer
from numaplace.model.ids import MoveId
from numaplace.model.move import LeftReason, MoveState
from numaplace.model.policy import MIB, Budget, Policy
from tests.fakes import samples
from tests.fakes.samples import nodes
from tests.fakes.services import Machine
from tests.unit.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("services_env")

JOB = "/batch.slice/job 7"
PID = 4242
DONE = replace(samples.OUTCOME, state=MoveState.COMPLETED, left={}, words="moved 92.0 MB")
HALF = replace(DONE, state=MoveState.CANCELLED, words="cancelled: moved 92.0 MB")


@pytest.fixture
def machine() -> Machine:
    """What the fake agent knows: a job's cgroup, its process, and a move that leaves nothing."""
    machine = samples.machine()
    machine.shown[JOB] = machine.shown[PID] = machine.shown[4711]
    machine.story = [samples.ORDER, DONE]
    return machine


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The job's cgroup, of a host as files: it may use node 0, and its parent both."""
    hosts = Path(__file__).parents[1] / "kernel/hosts"
    root = Path(shutil.copytree(hosts / "two-nodes", tmp_path / "host", symlinks=True))
    monkeypatch.setattr(cpuset, "_ROOT", root)
    folder = root / "sys/fs/cgroup/batch.slice/job 7"
    for name in ("cpuset.mems", "cpuset.mems.effective"):
        (folder / name).write_text("0\n")
    for name in ("cpuset.cpus", "cpuset.cpus.effective"):
        (folder / name).write_text("0-1\n")
    return folder


@pytest.fixture
def wider(folder: Path) -> Path:
    """Another cgroup beside it, of node 1 and its CPUs."""
    other = folder.parent / "b"
    shutil.copytree(folder, other)
    for name in ("cpuset.mems", "cpuset.mems.effective"):
        (other / name).write_text("1\n")
    for name in ("cpuset.cpus", "cpuset.cpus.effective"):
        (other / name).write_text("2-3\n")
    (other / "cgroup.procs").write_text("")
    return other


def mems(folder: Path) -> str:
    """What is written as its nodes."""
    return (folder / "cpuset.mems").read_text().strip()


def test_nodes_change_and_the_pages_follow(run: Run, machine: Machine, folder: Path) -> None:
    """All pages of the cgroup, from the old nodes to the new ones, with the budget that was given."""
    ended = run("cpuset", "mems", JOB, "1", "--pace", "100M")
    assert (ended.code, ended.err) == (0, "")
    assert mems(folder) == "1"
    policy = Policy(keep_interleave=False, budget=Budget(pace_bytes_per_s=100 * MIB))
    assert machine.by_hand == [(Transfer(nodes(0), nodes(1)), policy, JOB)]
    assert "completed: 92.0 MiB moved" in ended.out
    assert f"{JOB}: cpus 0-1, mems 0 (written: 1); longest write" in ended.out


def test_cpus_change_and_the_pages_follow_as_far_as_they_may(run: Run, machine: Machine, folder: Path) -> None:
    """What the nodes do not allow is said; with --mems both change."""
    ended = run("cpuset", "cpus", JOB, "2-3")
    assert ended.code == 0
    assert machine.by_hand == []
    assert "CPUs 2-3 are at home on node 1, and pages follow as far as nodes 0 go; --mems changes both" in ended.out
    (folder / "cpuset.cpus").write_text("0-1\n")
    assert run("cpuset", "cpus", JOB, "2-3", "--mems", "1").code == 0
    assert ((folder / "cpuset.cpus").read_text(), mems(folder)) == ("2-3\n", "1")
    assert machine.by_hand[0][0] == Transfer(nodes(0), nodes(1))


def test_a_process_moves_to_another_cpuset(run: Run, machine: Machine, wider: Path) -> None:
    """It is attached, its pages follow, and the cpuset has its own nodes in the end."""
    ended = run("cpuset", "move", str(PID), "/batch.slice/b")
    assert ended.code == 0
    assert ((wider / "cgroup.procs").read_text(), mems(wider)) == (str(PID), "1")
    assert machine.by_hand[0][::2] == (Transfer(nodes(0), nodes(1)), PID)
    assert "while pages move, tasks of /batch.slice/b may use nodes 0-1" in ended.out


def test_json_tells_all_of_it(run: Run, machine: Machine) -> None:
    """How it ended, the outcome, what the files say, the longest write; and nothing else is written."""
    ended = run("cpuset", "mems", JOB, "1", "--json")
    found = json.loads(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert (found["handed"]["state"], found["cpuset"]["mems"]) == ("done", [1])
    assert found["handed"]["moved"]["outcome"]["moved_bytes"] == 92 * MIB
    assert found["write_ms_max"] > 0
    assert machine.by_hand


def test_a_dry_run_writes_and_moves_nothing(run: Run, machine: Machine, folder: Path) -> None:
    """It names the writes as a shell would make them."""
    ended = run("cpuset", "mems", JOB, "1", "--dry-run")
    assert (ended.code, mems(folder), machine.cancelled) == (0, "0", {})
    assert f"would write: echo 0-1 > '{folder}/cpuset.mems'" in ended.out
    assert f"would then write: echo 1 > '{folder}/cpuset.mems'" in ended.out
    assert json.loads(run("cpuset", "mems", JOB, "1", "--dry-run", "--json").out)["move"]["targets"] == [1]


def test_a_dry_run_foretells_what_the_wider_nodes_will_let_go(run: Run, machine: Machine) -> None:
    """As it is, the cpuset forbids the very nodes that it is about to have."""
    left = {LeftReason.OUTSIDE_CPUSET: 90 * MIB, LeftReason.PINNED: MIB}
    machine.prediction = Prediction(10 * MIB, 0.5, 2.0, left)
    ended = run("cpuset", "mems", JOB, "1", "--dry-run")
    assert "would move 100.0 MiB in about 5.0 s, longest stall about 2.0 ms" in ended.out
    assert "outside-cpuset" not in ended.out
    assert "1.0 MiB  pinned" in ended.out
    machine.prediction = Prediction(0, 0.0, 0.0, left)
    assert (
        "would move 90.0 MiB in a time that cannot be told before" in run("cpuset", "mems", JOB, "1", "--dry-run").out
    )
    told = json.loads(run("cpuset", "mems", JOB, "1", "--dry-run", "--json").out)
    assert (told["prediction"]["move_bytes"], told["prediction"]["seconds"]) == (90 * MIB, None)


def test_a_move_that_stopped_half_way_is_told_with_both_ways_out(run: Run, machine: Machine, folder: Path) -> None:
    """The nodes stay wide; the commands name this very cgroup, quoted."""
    machine.story = [samples.ORDER, HALF]
    ended = run("cpuset", "mems", JOB, "1")
    assert (ended.code, mems(folder)) == (1, "0-1")
    for line in (
        "to finish:\n  numaplace move --cgroup '/batch.slice/job 7' --from 0 --to 1\n  echo 1 > ",
        "to go back:\n  numaplace move --cgroup '/batch.slice/job 7' --from 1 --to 0\n  echo 0 > ",
    ):
        assert line in ended.out


def test_where_nothing_moved_all_is_as_it_was(run: Run, machine: Machine, folder: Path, wider: Path) -> None:
    """The process is back, and what was written is written again."""
    machine.story = [samples.ORDER, replace(HALF, moved_bytes=0)]
    ended = run("cpuset", "move", str(PID), "/batch.slice/b")
    assert ended.code == 1
    assert "all is as it was" in ended.out
    assert (mems(wider), (folder / "cgroup.procs").read_text()) == ("1", str(PID))


def test_what_stayed_has_a_code_of_its_own(run: Run, machine: Machine, folder: Path) -> None:
    """The cpuset is as asked, and pinned pages lie outside of it."""
    machine.story = [samples.ORDER, replace(DONE, state=MoveState.PARTIAL, left={LeftReason.PINNED: 8 * MIB})]
    ended = run("cpuset", "mems", JOB, "1")
    assert (ended.code, mems(folder)) == (5, "1")
    assert "8.0 MiB  pinned" in ended.out


def test_an_agent_that_is_quicker_is_waited_for(
    run: Run, machine: Machine, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """It follows the CPUs on its own: its move is shown, and ours takes what is left."""
    (folder / "cpuset.mems.effective").write_text("0-1\n")
    machine.not_now = "it is being moved already, by alone-1"
    followed = replace(DONE, move=MoveId("alone-1"), moved_bytes=70 * MIB)

    def end_of_the_agents_move(_: float) -> None:
        machine.not_now = ""
        machine.ended.append(followed)

    monkeypatch.setattr("time.sleep", end_of_the_agents_move)
    ended = run("cpuset", "cpus", JOB, "2-3")
    assert ended.code == 0
    assert "by alone-1; waiting for its end" in ended.err
    assert "the agent followed on its own:\ncompleted: 70.0 MiB moved" in ended.out


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        (("mems", JOB, "7"), 2, "no node 7; it has 0-1"),
        (("mems", JOB, ""), 2, "name at least one node"),
        (("mems", JOB, "one"), 2, "not a list"),
        (("mems", "/nowhere", "1"), 4, "no cgroup /nowhere"),
        (("mems", "/", "1"), 2, "for good"),
        (("mems", "/system.slice", "1"), 1, "+cpuset"),
        (("mems", "/batch.slice", "1"), 2, "below it has nodes of its own"),
        (("cpus", JOB, ""), 2, "name at least one CPU"),
        (("cpus", JOB, "99"), 2, "CPU 99 is not online here"),
        (("cpus", JOB, "2", "--mems", "9"), 2, "no node 9"),
        (("move", "99999", JOB), 4, "process"),
        (("move", str(PID), "/nowhere"), 4, "no cgroup /nowhere"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_line_and_changes_nothing(
    run: Run, machine: Machine, folder: Path, *, wrong: tuple[str, ...], code: int, words: str
) -> None:
    """Before anything is written."""
    ended = run("cpuset", *wrong)
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err
    assert ended.err.count("\n") == 1
    assert (mems(folder), machine.by_hand) == ("0", [])


def test_what_is_there_already_needs_nothing(run: Run, machine: Machine) -> None:
    """It is said, and ends with nought."""
    for asked in (("mems", JOB, "0"), ("move", str(PID), JOB)):
        ended = run("cpuset", *asked)
        assert ended.code == 0
        assert "already" in ended.out
    assert machine.by_hand == []
