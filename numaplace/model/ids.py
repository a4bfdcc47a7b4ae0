"""A type for each identifier, so that a host is never taken for a job nor a node for an index.

Node and CPU ids are the kernel's numbers: they may have gaps, so they are keys, never positions.
"""

from typing import NewType

NodeId = NewType("NodeId", int)
"""A NUMA node's number on its host."""

CpuId = NewType("CpuId", int)
"""A logical CPU's number on its host."""

HostId = NewType("HostId", str)
"""A host's name, unique in the cluster."""

JobId = NewType("JobId", str)
"""What a batch system, or the host's own rules, call a job."""

TaskId = NewType("TaskId", str)
"""A job's part on one host: ``cgroup:/path`` or ``process:PID@START``. Unique there, and stable over agent restarts."""

MoveId = NewType("MoveId", str)
"""An order's id, chosen by whoever gives the order; an agent carries out each id once."""

ALONE_PREFIX = "alone-"
"""Ids of orders that an agent gave itself begin so; no scheduler waits for their outcomes."""

Cpus = frozenset[CpuId]
Nodes = frozenset[NodeId]
