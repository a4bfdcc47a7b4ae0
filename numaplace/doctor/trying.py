"""Trying what this kernel has and permits, each feature once and on this process alone; nothing is changed."""

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from numaplace.doctor.facts import Answer, Attempt, Feature
from numaplace.kernel import trials
from numaplace.kernel.arch import UnsupportedArchitecture
from numaplace.kernel.cgroups import read_hierarchies, read_mounts
from numaplace.kernel.errors import Denied, KernelCallError, KernelFormatError, NoSuchFile, Unsupported
from numaplace.kernel.fanotify import FanotifyWatch
from numaplace.kernel.policy import PolicyMode
from numaplace.kernel.tracefs import find_tracefs

_IDLE_BITMAP = Path("/sys/kernel/mm/page_idle/bitmap")
_DAMON = Path("/sys/kernel/mm/damon/admin/kdamonds")


def try_all() -> dict[Feature, Attempt]:
    """Try every feature; never fails."""
    return {feature: _attempt(trial) for feature, trial in _TRIALS.items()}


def _attempt(trial: Callable[[], object]) -> Attempt:
    try:
        trial()
    except (Unsupported, UnsupportedArchitecture) as error:
        return Attempt(Answer.ABSENT, str(error))
    except KernelCallError as error:
        return Attempt(Answer.DENIED, str(error.strerror))
    except (KernelFormatError, OSError) as error:
        return Attempt(Answer.DENIED, str(error))
    return Attempt(Answer.YES)


def _use_tracefs() -> None:
    found = find_tracefs(read_mounts())
    if found is None:
        raise NoSuchFile("finding tracefs", errno.ENOENT)
    _demand(found / "instances", os.W_OK)


def _watch_cgroups() -> None:
    mount = read_hierarchies().v2
    if mount is None:
        raise NoSuchFile("finding cgroup v2", errno.ENOENT)
    FanotifyWatch(mount.directory).close()


def _demand(path: Path, mode: int) -> None:
    """Raise NoSuchFile or Denied unless the file may be used so."""
    if not path.exists():
        raise NoSuchFile(f"looking for {path}", errno.ENOENT)
    if not os.access(path, mode):
        raise Denied(f"using {path}", errno.EACCES)


_TRIALS: Mapping[Feature, Callable[[], object]] = {
    Feature.MOVE_PAGES: trials.move_own_page,
    Feature.MOVE_ALL: lambda: trials.move_own_page(move_all=True),
    Feature.MIGRATE_PAGES: trials.migrate_own_pages,
    Feature.SET_MEMPOLICY: trials.set_own_policy,
    Feature.MBIND: trials.bind_own_page,
    Feature.HOME_NODE: trials.set_own_home_node,
    Feature.PREFERRED_MANY: lambda: trials.bind_own_page(PolicyMode.PREFERRED_MANY),
    Feature.WEIGHTED_INTERLEAVE: lambda: trials.bind_own_page(PolicyMode.WEIGHTED_INTERLEAVE),
    Feature.PAGEMAP_FRAMES: trials.see_own_frame,
    Feature.PAGEMAP_SCAN: trials.scan_own_page,
    Feature.SOFT_DIRTY: trials.see_own_write,
    Feature.USERFAULTFD: trials.open_userfaultfd,
    Feature.TRACEFS: _use_tracefs,
    Feature.FANOTIFY: _watch_cgroups,
    Feature.IDLE_PAGES: lambda: _demand(_IDLE_BITMAP, os.R_OK | os.W_OK),
    Feature.DAMON: lambda: _demand(_DAMON, os.W_OK),
}
