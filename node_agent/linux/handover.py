"""A cpuset that is ours goes along with the pages: widened to home, and narrowed to it when next to nothing is left.

The cpuset never shrinks back: narrowed to the old nodes it would make the kernel move everything back, unpaced. So a
move that ends early, or leaves much behind, leaves the cpuset wide and says so in the account.
"""

from collections.abc import Mapping

from node_agent.core.strategy import may_narrow
from node_agent.linux.memory import CpusetHandle
from numaplace.kernel.errors import KernelCallError
from numaplace.model.ids import Nodes
from numaplace.model.move import LeftReason


class Handover:
    """One hand-over; ``wide`` while the cpuset allows more than home. ``notes`` are for the account."""

    def __init__(self, cpuset: CpusetHandle | None, home: Nodes, mems: Nodes) -> None:
        """``cpuset`` is None if it is not ours; ``mems`` is what the task may use now."""
        self._cpuset, self._home, self._mems = cpuset, home, mems
        self.wide = False
        self.notes: list[str] = []

    @property
    def owned(self) -> bool:
        """Whether there is a cpuset that is ours."""
        return self._cpuset is not None

    def mems(self) -> Nodes:
        """What the task may use by now."""
        return self._mems if self._cpuset is None else self._cpuset.mems()

    def widen(self) -> Nodes:
        """Let the cpuset allow home too, if it is ours; returns what the task may use then."""
        if self._cpuset is None or self._home == self._mems:
            return self._mems
        try:
            self._cpuset.write_mems(self._cpuset.mems() | self._home)
            self.wide = True
            return self._cpuset.mems()
        except KernelCallError as error:
            self.notes.append(f"cpuset.mems could not be widened ({error})")
            return self._mems

    def narrow(self, left: Mapping[LeftReason, int], *, finished: bool) -> bool:
        """Let the cpuset allow home only, and block while the kernel moves what is left; returns whether it does now.

        ``finished``: no more than what is ``left`` lies elsewhere.
        """
        if self._cpuset is None or not finished or not may_narrow(left):
            self.notes.append("cpuset.mems still allows the old nodes, as pages are left there")
            return False
        try:
            self._cpuset.write_mems(self._home)
        except KernelCallError as error:
            self.notes.append(f"cpuset.mems could not be narrowed ({error})")
            return False
        self.wide = False
        return True

    def ended_early(self) -> None:
        """The move was cancelled: what there is to say of it."""
        if self.wide:
            self.notes.append("cpuset.mems still allows the old nodes, as the move ended early")
