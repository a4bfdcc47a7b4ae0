"""The mover of this host with all it needs, and what it can do here in plain words."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from node_agent.core.batches import fresh_status
from node_agent.linux.attribution import NoAttribution, TraceAttribution, open_attribution
from node_agent.linux.host_memory import LinuxHostMemory
from node_agent.linux.mover import MemoryMover
from node_agent.linux.privilege import CAP_SYS_PTRACE, has_capability
from node_agent.linux.probe import TraitsProbe
from numaplace.kernel.errors import KernelCallError, Unsupported
from numaplace.kernel.syscalls import move_pages
from numaplace.kernel.topology import read_topology
from numaplace.model.session import Abilities


@dataclass(frozen=True, slots=True)
class OpenMover:
    """A mover and what must be let go of with it."""

    mover: MemoryMover
    probe: TraitsProbe
    attribution: TraceAttribution | NoAttribution

    def close(self) -> None:
        """Let the threads end and remove the trace instance."""
        self.mover.close()
        if isinstance(self.attribution, TraceAttribution):
            self.attribution.close()


def open_mover(owns_cpuset: Callable[[str], bool] = lambda _: False, *, at_once: bool = False) -> OpenMover:
    """Open this host's memory and begin to probe its kernel in the background.

    Args:
        owns_cpuset: whether the cpuset of a cgroup path is numaplace's own to write.
        at_once: tell the abilities without waiting for the probe; then a move waits for it, as long as it may.
    """
    host = LinuxHostMemory()
    nodes = sorted(read_topology().with_memory)
    one_node = len(nodes) < 2  # noqa: PLR2004 - two nodes to move between
    probe = TraitsProbe(host, nodes)
    attribution = open_attribution()
    mover = MemoryMover(
        host,
        nodes,
        probe.wait if at_once else probe.traits,
        abilities=lambda: find_abilities(host, probe, one_node=one_node, attributes=attribution, at_once=at_once),
        owns_cpuset=owns_cpuset,
        attribution=attribution,
    )
    probe.start()
    return OpenMover(mover, probe, attribution)


def find_abilities(
    host: LinuxHostMemory,
    probe: TraitsProbe,
    *,
    one_node: bool,
    attributes: TraceAttribution | NoAttribution,
    at_once: bool = False,
) -> Abilities:
    """What this kernel and these capabilities allow, and what to change, found by trying."""
    remarks = []
    shared = _may_move_shared()
    others = has_capability(CAP_SYS_PTRACE)
    if one_node:
        remarks.append("This host has one NUMA node with memory: there is nowhere to move pages to.")
    if not others:
        remarks.append("Other users' processes cannot be looked at: give the agent CAP_SYS_PTRACE, or run it as root.")
    if not shared:
        remarks.append("Pages that several processes of a task share cannot be moved: give the agent CAP_SYS_NICE.")
    if not host.sees_frames:
        remarks.append(
            "Page frames are hidden: residency is measured several times slower and shared pages are left alone;"
            " give the agent CAP_SYS_ADMIN."
        )
    if isinstance(attributes, NoAttribution):
        remarks.append("tracefs is not available: our migrations cannot be told from those of others in the counters.")
    traits = probe.traits() if at_once else probe.wait()
    if probe.failure is not None:
        remarks.append(f"The kernel could not be probed ({probe.failure}): pages are moved in batches by one thread.")
    return Abilities(
        can_move=others and not one_node,
        sees_pagemap=host.sees_frames,
        migrate_holds_lock=traits.migrate_holds_lock,
        kernel=os.uname().release,
        remarks=tuple(remarks),
    )


def _may_move_shared() -> bool:
    """Whether MOVE_ALL is allowed: asked for a page of our own, to where it lies."""
    page = np.zeros(1, np.int64)
    address = np.array([page.ctypes.data], np.uint64)
    status = fresh_status(1)
    try:
        move_pages(0, address.data, None, status.data)
        node = np.maximum(status, 0)
        move_pages(0, address.data, node.data, status.data, move_all=True)
    except Unsupported:
        return False
    except KernelCallError as error:
        return error.errno not in {1, 13}
    return True
