"""Calls of sched_setaffinity and entries into another cgroup, from the kernel's trace events, with who did it.

The call's entry names the target, its exit says whether it was done; the kernel writes both from the calling thread,
so the two are joined by it. The new mask is not in them: it must be read. Entries into cgroups are traced after they
happened.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from node_agent.core.facts import Hint
from node_agent.linux.watchers.actors import Lookups
from numaplace.kernel.errors import NoSuchFile
from numaplace.kernel.trace_events import AffinityCalled, AffinityReturned, CgroupAttached, Context, TraceEvent
from numaplace.kernel.tracefs import AFFINITY_CALL, AFFINITY_RETURN, CGROUP_ATTACH, TraceInstance
from numaplace.model.job import Actor, ChangeSource

READINGS_MAX = 16
BUFFER_KB_PER_CPU = 64
CALLS_MAX = 1024
"""Calls whose exit is awaited; more threads than CPUs are never in this short call for long."""


class PinningWatcher:
    """Who pinned whom, and who was put into another cgroup."""

    source = ChangeSource.TRACEFS

    def __init__(self, tracefs: Path) -> None:
        """Make an instance and enable the events.

        Raises:
            NoSuchFile: this kernel does not trace system calls (CONFIG_FTRACE_SYSCALLS).
            KernelCallError: see `TraceInstance`.
        """
        self._targets: dict[int, int] = {}
        self._instance = TraceInstance(tracefs, BUFFER_KB_PER_CPU, purpose="pinning")
        try:
            self._instance.enable(AFFINITY_CALL)
            self._instance.enable(AFFINITY_RETURN)
            _enable_if_known(self._instance, CGROUP_ATTACH)
        except BaseException:
            self._instance.close()
            raise

    def fileno(self) -> int:
        """See `Watcher`."""
        return self._instance.fileno()

    def close(self) -> None:
        """See `Watcher`."""
        self._instance.close()

    def drain(self) -> Sequence[Hint]:
        """See `Watcher`."""
        lookups = Lookups()
        hints: list[Hint] = []
        for _ in range(READINGS_MAX):
            reading = self._instance.read()
            if reading.lost or reading.unreadable:
                hints.append(Hint(self.source))
            elif not reading.events:
                break
            for event in reading.events:
                hints.extend(self._hints(event, lookups))
        return hints

    def _hints(self, event: TraceEvent, lookups: Lookups) -> Iterator[Hint]:
        match event:
            case AffinityCalled(context, target):
                self._targets[context.actor_tid] = target
                while len(self._targets) > CALLS_MAX:
                    del self._targets[next(iter(self._targets))]
            case AffinityReturned(context, 0):
                # The entry may be lost, or older than we are: then the target is anyone. Our own threads' are nobody's.
                tid = self._targets.pop(context.actor_tid, None)
                pid = None if tid is None else lookups.process_of(tid)
                if pid != os.getpid():
                    yield Hint(self.source, _actor(context, lookups), pid=pid)
            case AffinityReturned(context):
                self._targets.pop(context.actor_tid, None)
            case CgroupAttached(context):
                pid = lookups.process_of(event.tid)
                yield Hint(self.source, _actor(context, lookups), pid=pid, structural=True)
            case _:
                pass


def _actor(context: Context, lookups: Lookups) -> Actor | None:
    # The tracer keeps the commands of recent threads only; for all others it writes <...>.
    command = "" if context.actor_comm == "<...>" else context.actor_comm
    return lookups.actor(lookups.process_of(context.actor_tid), command)


def _enable_if_known(instance: TraceInstance, event: str) -> None:
    """Enable an event that older kernels lack; fanotify sees the same in another way."""
    try:
        instance.enable(event)
    except NoSuchFile:
        return
