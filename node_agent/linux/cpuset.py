"""A task's own cpuset, for the hand-over: widen its mems, move the pages calmly, narrow them.

Only a cpuset that the agent's configuration names as ours is ever written: elsewhere kubelet, Slurm or systemd own
these files and would write them back.
"""

from dataclasses import dataclass

from node_agent.core.facts import TaskFacts
from numaplace.kernel.cgroups import Cgroup, Hierarchies, at_path, cgroup_of
from numaplace.kernel.cpusets import has_cpuset, read_effective_mems, write_mems
from numaplace.kernel.errors import KernelCallError
from numaplace.model.ids import Nodes


@dataclass(frozen=True, slots=True)
class LinuxCpuset:
    """A cpuset's mems, to be read and written."""

    cgroup: Cgroup

    def mems(self) -> Nodes:
        """The nodes that its tasks may use now."""
        return read_effective_mems(self.cgroup)

    def write_mems(self, mems: Nodes) -> None:
        """Allow these nodes and no others; blocks while the kernel moves what lies elsewhere."""
        write_mems(self.cgroup, mems)


def find_cpuset(hierarchies: Hierarchies, task: TaskFacts) -> LinuxCpuset | None:
    """The cpuset of a task's cgroup; None if it has none, as the root and cgroups without the controller."""
    mount = hierarchies.of_controller("cpuset")
    if mount is None:
        return None
    try:
        cgroup = at_path(mount, task.cgroup) if task.cgroup else None
        if cgroup is None and task.processes:
            cgroup = cgroup_of(mount, task.processes[0].pid)
    except KernelCallError:
        return None
    return LinuxCpuset(cgroup) if cgroup is not None and has_cpuset(cgroup) else None
