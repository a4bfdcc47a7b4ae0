"""Processes that fork, exec and exit, so that new tasks and ends of tasks are seen at once on a quiet host.

A busy host starts thousands of processes a second, and nobody needs to hear of each. So after a number of events the
instance records nothing for some seconds: then the periodic structural sweep finds what came and went, at its own pace
and cost. Nothing here wakes by itself to record again: the next draining does, and a runtime drains before each sweep.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from node_agent.core.facts import Hint
from node_agent.linux.watchers.actors import Lookups
from numaplace.kernel.trace_events import Executed, Exited, Forked, TraceEvent
from numaplace.kernel.tracefs import EXEC, EXIT, FORK, TraceInstance
from numaplace.model.job import ChangeSource

READINGS_MAX = 4
BUFFER_KB_PER_CPU = 16
WINDOW_S = 1.0
EVENTS_MAX = 40
"""Events in a window that are listened to."""
MUTE_S = 8.0


class LifecycleWatcher:
    """Forks and ends of processes by their pid, and program starts as anyone's."""

    source = ChangeSource.TRACEFS

    def __init__(self, tracefs: Path, *, execs: bool = True, now_s: Callable[[], float] = time.monotonic) -> None:
        """Make an instance and enable the events. Raises as `TraceInstance`."""
        self._now_s = now_s
        self._window_s = now_s()
        self._heard = 0
        self._muted_s: float | None = None
        self._instance = TraceInstance(tracefs, BUFFER_KB_PER_CPU, purpose="lifecycle")
        try:
            for event in (FORK, EXIT, EXEC) if execs else (FORK, EXIT):
                self._instance.enable(event)
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
        now_s = self._now_s()
        self._listen_again(now_s)
        lookups = Lookups()
        hints: dict[Hint, None] = {}
        for _ in range(READINGS_MAX):
            reading = self._instance.read()
            if reading.lost or reading.unreadable:
                hints[Hint(self.source, structural=True)] = None
            elif not reading.events:
                break
            if self._heard <= EVENTS_MAX:
                hints.update(dict.fromkeys(hint for event in reading.events for hint in self._hints(event, lookups)))
            self._heard += len(reading.events) + reading.lost
        if self._heard > EVENTS_MAX and self._muted_s is None:
            self._instance.record(on=False)
            self._muted_s = now_s
        return list(hints)

    def _listen_again(self, now_s: float) -> None:
        if self._muted_s is not None:
            if now_s < self._muted_s + MUTE_S:
                return
            self._instance.record(on=True)
            self._muted_s = None
        elif now_s < self._window_s + WINDOW_S:
            return
        self._window_s, self._heard = now_s, 0

    def _hints(self, event: TraceEvent, lookups: Lookups) -> Iterator[Hint]:
        match event:
            case Forked():
                yield Hint(self.source, pid=lookups.process_of(event.parent_tid), structural=True)
            case Executed():
                # Whoever it was until now, it may match a rule from now on.
                yield Hint(self.source, structural=True)
            case Exited(process_ended=False):
                pass
            case Exited():
                yield Hint(self.source, pid=event.tid, structural=True)
            case _:
                pass
