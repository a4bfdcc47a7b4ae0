"""``numaplace show``: what it prints of processes and pictures, with an agent's word and without, and how it ends."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from numaplace.cli import looked, once
from numaplace.cli.picture import picture
from numaplace.kernel.numa_maps import NumaMapping, read_numa_maps
from numaplace.kernel.procfs import read_identity
from numaplace.look import LookError, NotThere, Target, look
from numaplace.model.ids import CpuId, Cpus, JobId, NodeId, TaskId
from numaplace.model.move import LeftReason
from numaplace.model.picture import MappedPages, MappingKind, Picture, ShownProcess, ThreadPlace
from tests.fakes.services import Machine
from tests.unit.cli.conftest import Run

MB = 1 << 20
N0, N1 = NodeId(0), NodeId(1)
NO_AGENT = ("--socket", "/nowhere/agent.sock")
JOB = "import mmap; m = mmap.mmap(-1, 8 << 20); m.write(b'x' * (8 << 20)); print(flush=True); input()"


@pytest.fixture
def job() -> Iterator[int]:
    """The pid of a process with 8 MB of shared memory that does nothing."""
    with subprocess.Popen([sys.executable, "-c", JOB], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def by_node(lines: list[NumaMapping]) -> dict[str, int]:
    """What numa_maps adds up to, as JSON names nodes."""
    total: dict[str, int] = {}
    for line in lines:
        for node, size in line.bytes_by_node.items():
            total[str(node)] = total.get(str(node), 0) + size
    return total


def test_a_process_to_the_byte(run: Run, job: int) -> None:
    """The same pages as numa_maps: all of them, by node, and of each name."""
    for _ in range(20):
        before = read_numa_maps(job)
        shown = json.loads(run("show", str(job), "--json", *NO_AGENT).out)
        if by_node(read_numa_maps(job)) == by_node(before):
            break  # it has come to rest: what it touched on its way to input() is in both
    assert shown["by_node"] == by_node(before)
    assert shown["resident_bytes"] == sum(by_node(before).values())
    for name in ("/dev/zero", "[stack]"):
        (one,) = [mapping for mapping in shown["mappings"] if mapping["name"] == name]
        lines = [line for line in before if name in {line.file, "[stack]" if line.stack else None}]
        assert one["by_node"] == by_node(lines)
        assert one["dirty_bytes"] == sum(line.dirty * line.page_bytes for line in lines)
    assert (shown["processes"][0]["pid"], shown["task"], shown["job"]) == (job, None, None)


def test_a_process_for_people(run: Run, job: int) -> None:
    """Facts, a bar, kinds of memory, mappings and their sum, threads."""
    out = run("show", str(job), "--threads", *NO_AGENT).out
    for words in (f"process {job}", "1 process, 1 thread", "100 % at home", "█", "shared", "/dev/zero"):
        assert words in out
    lines = [line.split() for line in out.splitlines()]
    (total,) = [line for line in lines if line[:1] == ["total"]]
    assert total[1] != "-"
    assert any(line[:1] == [str(job)] and line[-2:] == ["100", "%"] for line in lines)


@pytest.mark.usefixtures("services_env")
def test_the_agents_word_is_added(run: Run, machine: Machine, job: int) -> None:
    """The job's name, its home, and what is known not to move."""
    machine.shown[job] = machine.shown[4711]
    shown = json.loads(run("show", str(job), "--json").out)
    assert (shown["task"], shown["job"], shown["home"]) == ("cgroup:/slurm/train", "train", [1])
    assert shown["stuck"] == {"pinned": 4 * MB}
    out = run("show", str(job)).out
    assert "0 % at home" in out
    assert "4.0 MiB  pinned" in out


@pytest.mark.usefixtures("services_env")
def test_an_agent_that_does_not_know_it_is_no_failure(run: Run, job: int) -> None:
    """The kernel is asked all the same."""
    assert json.loads(run("show", str(job), "--json").out)["task"] is None


def test_an_agent_that_is_gone_is_no_failure(run: Run, job: int, tmp_path: Path) -> None:
    """Nor is a socket's file that nobody listens at, or something else of its name."""
    (tmp_path / "a").touch()
    assert run("show", str(job), "--socket", str(tmp_path / "a")).code == 0


@pytest.mark.usefixtures("services_env")
def test_a_job_is_found_by_the_agent_and_read_from_the_kernel(run: Run, machine: Machine, job: int) -> None:
    """A job that was adopted by a pid is that process and its descendants."""
    task = TaskId(f"process:{job}@{read_identity(job).start_ticks}")
    shown = machine.shown["train"]
    machine.shown["mine"] = replace(shown, task=replace(shown.task, id=task, job=JobId("mine"), cgroup=""))
    found = json.loads(run("show", "mine", "--json").out)
    assert (found["job"], [process["pid"] for process in found["processes"]]) == ("mine", [job])
    assert [p["pid"] for p in json.loads(run("show", task, "--json", *NO_AGENT).out)["processes"]] == [job]


@pytest.mark.usefixtures("services_env")
def test_a_job_that_is_a_cgroup_is_read_there(run: Run) -> None:
    """The agent's path is that of the hierarchy, and this host has no such cgroup."""
    ended = run("show", "train")
    assert (ended.code, ended.err) == (4, "numaplace: there is no cgroup /slurm/train\n")


@pytest.mark.usefixtures("services_env")
@pytest.mark.parametrize(
    ("target", "code"),
    [("0", 4), ("99999999999", 4), ("9" * 5000, 4), ("nobody", 4), ("/nowhere", 4), ("cgroup:/nowhere", 4),
     ("process:1@1", 4), ("process:x", 2), ("process:1", 2), ("-1", 2), ("", 4), ("²", 4)],
)  # fmt: skip
def test_what_is_not_there_is_one_clear_line(run: Run, target: str, code: int) -> None:
    """And a documented code."""
    ended = run("show", target)
    assert (ended.code, ended.out) == (code, "")
    assert "Traceback" not in ended.err
    if target != "-1":
        assert ended.err.startswith("numaplace: ")
        assert ended.err.count("\n") == 1
        assert len(ended.err) < 300


def test_a_job_needs_an_agent(run: Run) -> None:
    """Code 3, and what to do instead."""
    ended = run("show", "train", *NO_AGENT)
    assert (ended.code, ended.out) == (3, "")
    assert "name a pid or a cgroup's path instead" in ended.err


@pytest.mark.parametrize(("error", "code"), [(NotThere("gone away"), 4), (LookError("not yours"), 1)])
def test_a_look_that_fails_is_one_line(
    run: Run, job: int, monkeypatch: pytest.MonkeyPatch, error: LookError, code: int
) -> None:
    """What has ended is not found; anything else is a failure."""

    def failing(_target: Target, *, threads: bool) -> Picture:
        assert not threads
        raise error

    monkeypatch.setattr(looked, "look", failing)
    ended = run("show", str(job), *NO_AGENT)
    assert (ended.code, ended.out, ended.err) == (code, "", f"numaplace: {error.words}\n")


def test_watching_looks_again_until_it_has_ended(run: Run, job: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of JSON, or a picture, for each look; a process that ends is an end with words."""
    left = [2, 2]

    def watched(target: Target, *, threads: bool) -> Picture:
        if not left[-1]:
            left.pop()
            raise NotThere(f"{target.title} has ended")
        left[-1] -= 1
        return look(target, threads=threads)

    monkeypatch.setattr(looked, "look", watched)
    monkeypatch.setattr("time.sleep", lambda _: None)
    ended = run("show", str(job), "--watch", "--json", *NO_AGENT)
    assert (ended.code, ended.err) == (4, f"numaplace: process {job} has ended\n")
    assert [json.loads(line)["target"] for line in ended.out.splitlines()] == [f"process {job}"] * 2
    assert run("show", str(job), "-w", *NO_AGENT).out.count("MAPPING") == 2


def test_the_plainest_form_needs_no_parser(job: int) -> None:
    """It is most of what there is to load; nor are rich, if nothing is drawn, and gRPC, if no agent is there."""
    code = (
        "import sys\n"
        "from numaplace.cli import main\n"
        f"try:\n    main(['show', '{job}', '--json'])\n"
        "finally:\n"
        "    slow = {'typer', 'rich', 'grpc', 'pydantic', 'google.protobuf', 'numpy', 'structlog', 'asyncio'}\n"
        "    sys.stderr.write(repr(sorted(slow & set(sys.modules))))\n"
    )
    env = {key: value for key, value in os.environ.items() if "NUMAPLACE" not in key}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert (ended.stderr, json.loads(ended.stdout)["processes"][0]["pid"]) == ("[]", job)


def test_without_the_parser_the_same_is_shown(run: Run, job: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its flags are the parser's, in any order, and what it does not know it leaves to the parser."""
    for name in [name for name in os.environ if "NUMAPLACE" in name]:
        monkeypatch.delenv(name)
    assert once.PLAIN_FLAGS.keys() < set(run("show", "--help").out.replace(",", " ").split())
    plain = run("show", "--all", str(job), "-t").out
    assert [line.split()[0] for line in plain.splitlines() if line] == [
        line.split()[0] for line in run("show", str(job), "-a", "--threads", *NO_AGENT).out.splitlines() if line
    ]
    for words in ([], ["show"], ["show", "1", "2"], ["show", "-h"], ["--json", "show", "1"], ["hosts", "1"]):
        assert not once.shown_plainly(words)
    monkeypatch.setenv("NUMAPLACE_SOCKET", "/nowhere")
    assert not once.shown_plainly(["show", str(job)])


def cpus(*numbers: int) -> Cpus:
    """A set of CPUs."""
    return frozenset(map(CpuId, numbers))


TRAIN = Picture(
    "process 7",
    (ShownProcess(7, 1, "train", 0, 2, 3, 61.0),),
    cpus(2, 3),
    frozenset({N0, N1}),
    frozenset({N1}),
    (
        MappedPages("7f00", MappingKind.ANON, "bind:0", 4096, {N0: 300 * MB, N1: 100 * MB}, thp_bytes=128 * MB),
        MappedPages(
            "/usr/lib/a/very/long/path/to/a/library/that/has/no/end/libtorch_cuda.so", MappingKind.FILE, "default",
            4096, {N0: 40 * MB, N1: 40 * MB}, shared_bytes=60 * MB, shared_by_node=None, thp_bytes=None, deleted=True,
        ),
        MappedPages("/dev/hugepages/x", MappingKind.HUGETLB, "default", 2 * MB, {N0: 8 * MB}, processes=2),
        MappedPages("/dev/nvidia0", MappingKind.DEVICE, "default", 4096, {N0: 2 * MB}),
    ),
    (ThreadPlace(7, 7, "main", cpus(2), frozenset({N1})), ThreadPlace(7, 8, "io", cpus(), frozenset())),
    denied=1,
    free_huge={2 * MB: {N1: 4 * MB}},
    stuck={LeftReason.PINNED: 16 * MB},
    task=TaskId("cgroup:/train"),
    job=JobId("train"),
)  # fmt: skip


def drawn(found: Picture, columns: int, *, every: bool = False) -> list[str]:
    """A picture as lines of text."""
    to = Console(width=columns, record=True, file=io.StringIO(), highlight=False)
    to.print(picture(found, columns=columns, every=every))
    return to.export_text().splitlines()


def test_a_picture_in_full() -> None:
    """What is remote, what of it could move, what stays and why, and what nobody knows."""
    lines = drawn(TRAIN, 200)
    text = "\n".join(lines)
    for words in (
        "policy    bind:0", "3 children not shown", "job       train",
        "350.0 MiB remote: 288.0 MiB could move, 20.0 MiB shared, 4.0 MiB hugetlb-pool, 2.0 MiB unmovable-mapping, ",
        "16.0 MiB pinned, 20.0 MiB not known",
        "1 process is another user's", "hugetlb, 2.0 MiB", "(bind:0)", "(2 processes)", "(deleted)",
    ):  # fmt: skip
        assert words in text
    (head,) = [line for line in lines if line.startswith("MAPPING")]
    assert head.split() == [
        "MAPPING", "NODE", "0", "NODE", "1", "TOTAL", "REMOTE", "MOVABLE", "HUGE", "SHARED", "DIRTY", "ACTIVE",
    ]  # fmt: skip
    (library,) = [line for line in lines if "libtorch" in line]
    assert library.endswith(
        "40.0 MiB   40.0 MiB   80.0 MiB   40.0 MiB   ≤ 20.0 MiB          ?  60.0 MiB      -       -"
    )
    assert [line.split() for line in lines if line.lstrip().startswith(("7  main", "8  io"))] == [
        ["7", "main", "2", "1", "29", "%"], ["8", "io", "none", "nowhere", "0", "%"],
    ]  # fmt: skip


@pytest.mark.parametrize("columns", [60, 80, 100, 132])
def test_a_picture_fits_a_terminal(columns: int) -> None:
    """No table is wider, no cell is cut, and the end of a path is kept."""
    lines = drawn(TRAIN, columns)
    tables = lines[next(at for at, line in enumerate(lines) if line.startswith("MEMORY")) :]
    assert all(len(line.rstrip()) <= columns for line in lines)
    (head,) = [line for line in tables if line.startswith("MAPPING")]
    assert "REMOTE" in head
    assert ("NODE 0" in head) == (columns > 60)
    (library,) = [line for line in tables if "_cuda.so" in line]
    assert library.startswith("…")


def test_many_mappings_are_summed_up() -> None:
    """The largest are named, the others counted; the sum is of all of them."""
    many = tuple(MappedPages(f"{n:x}", MappingKind.ANON, "default", 4096, {N0: (60 - n) * MB}) for n in range(40))
    lines = drawn(replace(TRAIN, mappings=many, stuck={}), 120)
    assert any(line.startswith("25 smaller ones (--all)") for line in lines)
    assert any(
        line.startswith("total") and f"{sum(60 - n for n in range(40)) / 1024:.1f} GiB" in line for line in lines
    )
    assert len(drawn(replace(TRAIN, mappings=many), 120, every=True)) > len(lines) + 20


def test_a_task_without_a_home() -> None:
    """All of its CPUs are offline: everything is remote, and that is said."""
    lines = drawn(replace(TRAIN, home=frozenset(), cpus=frozenset()), 200)
    assert any("nowhere: none of its CPUs is online" in line for line in lines)
    assert any("0 % at home" in line for line in lines)


def test_several_processes_are_named_and_the_rest_counted() -> None:
    """A job of a thousand processes fits the screen."""
    crowd = tuple(replace(TRAIN.processes[0], pid=pid) for pid in range(20))
    text = "\n".join(drawn(replace(TRAIN, processes=crowd), 120))
    assert "20 processes, 40 threads" in text
    assert "and 12 processes more" in text
    assert "PID" in text


def test_names_of_any_bytes_can_be_shown(run: Run, job: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and processes are called what their owners like: no name ends the command, or reaches the terminal raw."""
    odd = replace(TRAIN.mappings[0], name="/opt/\udcff\x1b[31m\u2603")
    process = replace(TRAIN.processes[0], command="\u2603" * 200)
    monkeypatch.setattr(looked, "look", lambda *_, **__: replace(TRAIN, mappings=(odd,), processes=(process,)))
    shown = json.loads(run("show", str(job), "--json", *NO_AGENT).out)
    assert shown["mappings"][0]["name"] == odd.name
    out = run("show", str(job), *NO_AGENT).out
    assert "/opt/??[31m\u2603" in out
    assert "\x1b" not in out
    lines = Console(file=io.StringIO(), width=100, record=True)
    lines.print(picture(replace(TRAIN, processes=(process,)), columns=100, ascii_only=True))
    assert lines.export_text().isascii()
