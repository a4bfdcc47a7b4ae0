"""CPUs and memory that go offline and come back, from the kernel's uevents.

The sweep sees it by itself, as it compares which CPUs and nodes there are; this makes it look at once. Who did it is
not told, so what it explains is left to the sweep's own name.
"""

from collections.abc import Sequence

from node_agent.core.facts import Hint
from numaplace.kernel.uevents import UeventWatch
from numaplace.model.job import ChangeSource

_DEVICES = ("/devices/system/cpu/", "/devices/system/node/", "/devices/system/memory/")


class HotplugWatcher:
    """Wakes the sweep when CPUs, nodes or memory blocks come and go."""

    source = ChangeSource.SWEEP

    def __init__(self) -> None:
        """Open the socket. Raises as `UeventWatch`."""
        self._watch = UeventWatch()

    def fileno(self) -> int:
        """See `Watcher`."""
        return self._watch.fileno()

    def close(self) -> None:
        """See `Watcher`."""
        self._watch.close()

    def drain(self) -> Sequence[Hint]:
        """See `Watcher`; many devices at once are one hint."""
        reading = self._watch.read()
        changed = any(event.device.startswith(_DEVICES) for event in reading.events)
        return [Hint(self.source)] if changed or reading.lost else []
