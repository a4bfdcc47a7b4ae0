"""AutoNUMA on a stage: off, in such a hurry that it has marked all of a job's pages when a test looks, or slow."""

import contextlib
from collections.abc import Iterator, Mapping

from tests.harness.stage import Stage

BALANCING = "/proc/sys/kernel/numa_balancing"
SETTINGS = "/sys/kernel/debug/sched/numa_balancing"
SLOW = {"scan_delay_ms": "0", "scan_period_min_ms": "500", "scan_period_max_ms": "500", "scan_size_mb": "1"}
"""So slow that it takes a minute to look at all of a small job."""
HURRY = {"scan_delay_ms": "0", "scan_period_min_ms": "50", "scan_period_max_ms": "50"}


@contextlib.contextmanager
def autonuma(stage: Stage, *, on: bool, pace: Mapping[str, str] = HURRY) -> Iterator[None]:
    """Off, or on and as fast as told; afterwards as it was."""
    stage.run(["sh", "-c", "mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug"])
    wanted = {BALANCING: "1" if on else "0"} | {f"{SETTINGS}/{name}": value for name, value in pace.items() if on}
    found = {path: stage.read_text(path).strip() for path in wanted}
    try:
        for path, value in wanted.items():
            stage.write(path, value)
        yield
    finally:
        for path, value in found.items():
            stage.write(path, value)
