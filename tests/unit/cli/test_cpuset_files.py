"""Cpusets as commands find, read and write them, on hosts as files."""

import shutil
from pathlib import Path

import pytest

from numaplace.cli import exits
from numaplace.cli.cpuset_files import CpusetFiles
from numaplace.kernel.errors import ProcessGone
from numaplace.kernel.procfs import ProcessId, read_identity
from numaplace.model.cpuset import parse_cpus
from numaplace.model.handover import Attach, Write, WriteCpus, WriteMems
from tests.fakes.samples import nodes

JOB = "/batch.slice/job 7"
PROCESS = 4242


@pytest.fixture
def hosts() -> Path:
    """The hosts as files of the kernel boundary's tests."""
    return Path(__file__).parents[1] / "kernel/hosts"


@pytest.fixture
def v2(hosts: Path, tmp_path: Path) -> Path:
    """A host on cgroup v2, to be written."""
    return Path(shutil.copytree(hosts / "two-nodes", tmp_path / "v2", symlinks=True))


@pytest.fixture
def v1(hosts: Path, tmp_path: Path) -> Path:
    """A host on cgroup v1, to be written."""
    return Path(shutil.copytree(hosts / "eight-nodes-with-gaps", tmp_path / "v1", symlinks=True))


def test_a_cpuset_is_found_by_its_path_and_by_its_directory(v2: Path) -> None:
    """What was written, what holds, and what its parent allows."""
    files = CpusetFiles.of_host(root=v2)
    job = files.find_own(JOB)
    assert job == files.find(str(v2 / "sys/fs/cgroup/batch.slice/job 7"))
    assert (job.path, job.mems, job.effective_mems, job.of_parent) == (JOB, nodes(0, 1), nodes(0, 1), nodes(0, 1))
    assert job.cpus == job.effective_cpus == parse_cpus("8-15,24-31")
    assert job.kernel_moves
    above = files.find_own("batch.slice")
    assert (above.mems, above.effective_mems) == (nodes(), nodes(0, 1))
    assert [each.path for each in files.below(above)] == [JOB]


def test_v1_says_whether_the_kernel_moves(v1: Path) -> None:
    """And the parent's nodes are those of the nearest ancestor with a cpuset."""
    files = CpusetFiles.of_host(root=v1)
    job = files.find_own("/slurm/uid_1000/job_7")
    assert (job.mems, job.kernel_moves) == (nodes(0, 4), True)
    assert job.of_parent == nodes(0, 1, 4, 5, 8, 9, 12, 13)
    assert files.of_process(PROCESS) == job
    assert not files.find("/").kernel_moves


def test_a_cgroup_without_a_cpuset_has_its_ancestors(v2: Path) -> None:
    """It can be attached to, and not be changed; nor can the top."""
    files = CpusetFiles.of_host(root=v2)
    bare = files.find("/system.slice")
    assert (bare.mems, bare.effective_mems, bare.of_parent) == (nodes(), nodes(0, 1), nodes(0, 1))
    for name, words in (("/system.slice", "+cpuset"), ("/", "for good"), ("/nowhere", "no cgroup")):
        with pytest.raises(exits.Failure) as failure:
            files.find_own(name)
        assert words in failure.value.words


def test_what_is_written_can_be_read_and_typed(v2: Path) -> None:
    """Each write as a shell would make it, with the path quoted."""
    process = read_identity(PROCESS, v2)
    files = CpusetFiles.of_host(process, v2)
    folder = v2 / "sys/fs/cgroup/batch.slice/job 7"
    typed: dict[Write, str] = {
        WriteMems(JOB, nodes(1)): f"echo 1 > '{folder}/cpuset.mems'",
        WriteCpus(JOB, parse_cpus("0-3")): f"echo 0-3 > '{folder}/cpuset.cpus'",
        Attach(JOB, PROCESS): f"echo 4242 > '{folder}/cgroup.procs'",
    }
    for write, line in typed.items():
        files.write(write)
        assert files.as_shell(write) == line
    assert files.mems(JOB) == files.read(JOB).mems == nodes(1)
    assert files.read(JOB).cpus == parse_cpus("0-3")
    assert files.longest_ms > 0
    files.write(WriteMems(JOB, nodes()))
    assert files.mems(JOB) == nodes()


def test_a_pid_that_is_somebody_elses_by_now_is_not_attached(v2: Path) -> None:
    """A pid alone is no process."""
    files = CpusetFiles.of_host(ProcessId(PROCESS, 1), v2)
    with pytest.raises(ProcessGone):
        files.write(Attach(JOB, PROCESS))
