"""Looking at where pages are, with nobody's help: root sees every process, others their own.

One look reads each process's numa_maps once, which is the only walk over all of its pages. What it does not tell is
read where it matters and nowhere else: who shares pages (`sharing`) in mappings that have a page mapped twice, huge
pages (`huge`) in mappings that have room for one. So the process waits for a look no longer than for `numastat -p`.
"""

from numaplace.look.errors import LookError, NotThere
from numaplace.look.looking import look
from numaplace.look.target import Target, cgroup, process, tree

__all__ = ["LookError", "NotThere", "Target", "cgroup", "look", "process", "tree"]
