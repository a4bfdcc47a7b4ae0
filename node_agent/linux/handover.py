"""A cpuset that is ours goes along with its task's pages: widened before they move, narrowed once they are home.

The kernel moves what a narrowed cpuset no longer allows, in its own unpaced way: so it is narrowed only when next to
nothing is left to move.
"""

from node_agent.linux.memory import CpusetHandle, HostMemory
from numaplace.kernel.errors import KernelCallError
from numaplace.model.ids import Nodes


class CpusetHandover:
    """The hand-over of one task's cpuset to a new home; does nothing where the cpuset is not ours."""

    def __init__(self, host: HostMemory, cpuset: CpusetHandle | None, home: Nodes, mems: Nodes) -> None:
        """``mems`` are what the task's cpuset was last seen to allow."""
        self._host, self._cpuset, self._home, self._mems = host, cpuset, home, mems
        self.widened = False
        self.notes: list[str] = []

    @property
    def ours(self) -> bool:
        """Whether there is a cpuset to hand over."""
        return self._cpuset is not None

    def mems(self) -> Nodes:
        """What the cpuset allows now."""
        return self._mems if self._cpuset is None else self._cpuset.mems()

    def widen(self) -> Nodes:
        """Let the cpuset allow home too; returns what it allows then."""
        if self._cpuset is None or self._home == self._mems:
            return self._mems
        try:
            self._cpuset.write_mems(self._cpuset.mems() | self._home)
        except KernelCallError as error:
            self.notes.append(f"cpuset.mems could not be widened ({error})")
            return self._mems
        self.widened = True
        return self._cpuset.mems()

    def narrow(self, keep: str | None) -> float:
        """Let the cpuset allow home only, unless there is a reason to keep it wide; the ms that the write took."""
        if self._cpuset is None or not self.widened:
            return 0.0
        if keep is not None:
            self.notes.append(f"cpuset.mems still allows the old nodes, as {keep}")
            return 0.0
        began_s = self._host.now_s()
        try:
            self._cpuset.write_mems(self._home)
        except KernelCallError as error:
            self.notes.append(f"cpuset.mems could not be narrowed ({error})")
        return 1000 * (self._host.now_s() - began_s)
