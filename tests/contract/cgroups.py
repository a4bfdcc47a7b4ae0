"""Cpusets for the contract suites, in whichever hierarchy of this host has the controller."""

import errno
import time
from pathlib import Path

from numaplace.kernel.cgroups import Cgroup, read_hierarchies
from numaplace.kernel.cpusets import write_cpus, write_mems
from numaplace.model.cpuset import parse_cpus
from numaplace.model.ids import Cpus, Nodes

GONE_WITHIN_S = 30.0


def make_cpuset(name: str, parent: Cgroup | None = None, *, cpus: Cpus | None = None, mems: Nodes) -> Cgroup:
    """Make a cpuset below a parent or the root: all CPUs unless told; an empty set is not written."""
    mount = read_hierarchies().of_controller("cpuset")
    assert mount is not None
    above = parent or Cgroup(mount.directory, mount.version, "/")
    if above.version == 2:
        (above.directory / "cgroup.subtree_control").write_text("+cpuset")
    cgroup = Cgroup(above.directory / name, above.version, f"{above.path.rstrip('/')}/{name}")
    cgroup.directory.mkdir()
    if cpus is None:
        cpus = parse_cpus(Path("/sys/devices/system/cpu/online").read_text())
    if cpus:
        write_cpus(cgroup, cpus)
    if mems:
        write_mems(cgroup, mems)
    return cgroup


def remove_cgroup(directory: Path) -> None:
    """Remove a cgroup once its last process is gone, which takes the kernel a moment."""
    deadline_s = time.monotonic() + GONE_WITHIN_S
    while True:
        try:
            directory.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)
        else:
            return
