"""Lets AutoNUMA mark all of a job's pages, on a machine however busy.

A thread marks its process's pages itself, now and then as it runs, and rests afterwards for 32 times as long as that
took: minutes, in a guest whose CPUs others have too. Each thread rests for itself only, so a fresh one is next.
"""

import re
import threading
import time
from pathlib import Path

WITHIN_S = 120.0
BURN_S = 0.25
"""More than a new thread has to run before its first scan, if AutoNUMA is in a hurry (tests.harness.autonuma)."""
WHOLE_SCANS = 2
"""The first to end may have begun before anybody waited."""


def scans() -> int:
    """How often AutoNUMA has gone through all of this process's memory."""
    found = re.search(r"^mm->numa_scan_seq *: *([0-9]+)$", Path("/proc/self/sched").read_text(), re.MULTILINE)
    assert found is not None, "this kernel has no AutoNUMA"
    return int(found[1])


def be_marked() -> dict[str, object]:
    """Run, touching nothing of the job's memory, until all of it has been gone through; raises TimeoutError."""
    until_s, before = time.monotonic() + WITHIN_S, scans()
    while scans() < before + WHOLE_SCANS:
        if time.monotonic() > until_s:
            raise TimeoutError(f"{scans() - before} scans in {WITHIN_S} s; is AutoNUMA on?")
        thread = threading.Thread(target=_burn)
        thread.start()
        thread.join()
    return {"scans": scans() - before}


def _burn() -> None:
    until_s = time.thread_time() + BURN_S
    while time.thread_time() < until_s:
        pass
