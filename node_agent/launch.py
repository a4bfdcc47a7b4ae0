"""From the command to the agent itself: the same process, begun anew without what only the command needs.

Reading a command line and checking a configuration takes libraries of 20 MB, which the agent would keep for as long as
it runs. So the command hands over what it has read, and executes :mod:`node_agent.daemon`: the process id, the terminal
and the service manager's view of it stay the same.

The allocator is told then as well, for it listens only at the start: the C library would make an arena of memory for
nearly every thread, and OpenBLAS, which comes with numpy and is never asked for anything, buffers for every CPU.
"""

import fcntl
import os
import sys
from typing import NoReturn

ALLOCATOR = {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"}
"""Unless the environment says otherwise."""


def become_agent(settings: str) -> NoReturn:
    """Go on as the agent with these settings. Raises OSError if that cannot be."""
    # -P: what lies in the current directory is not for root to import.
    arguments = [sys.executable, "-P", "-m", "node_agent.daemon", str(_handed_over(settings)), *sys.argv[1:]]
    os.execve(sys.executable, arguments, {**ALLOCATOR, **os.environ})  # noqa: S606 - no shell is wanted


def _handed_over(settings: str) -> int:
    """The reading end of a pipe that holds them all, and that outlives an exec."""
    content = settings.encode()
    reading, writing = os.pipe()
    if fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ) < len(content):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, len(content))
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(content)
    os.set_inheritable(reading, True)
    return reading


def take_settings(file: int) -> str:
    """What was handed over by :func:`become_agent`."""
    with os.fdopen(file, encoding="utf-8") as pipe:
        return pipe.read()
