"""What wakes the sweep: watchers of cpuset writes, of pinning calls, of processes and CPUs that come and go.

Each is optional. What cannot be opened is named in a remark, in plain words with what to change; the sweep finds
everything by itself, only later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from node_agent.linux.processes import Places
from node_agent.linux.watchers.cpuset_writes import FanotifyWatcher, InotifyWatcher
from node_agent.linux.watchers.hotplug import HotplugWatcher
from node_agent.linux.watchers.lifecycle import LifecycleWatcher
from node_agent.linux.watchers.pinning import PinningWatcher
from node_agent.ports import Watcher
from numaplace.kernel.cgroups import CgroupMount, read_hierarchies, read_mounts
from numaplace.kernel.errors import Denied, KernelFormatError
from numaplace.kernel.tracefs import find_tracefs, remove_stale_instances


@dataclass(frozen=True, slots=True)
class WatcherChoice:
    """Which watchers to open; ``execs`` only where a rule looks at commands, as every program start is an event."""

    fanotify: bool = True
    inotify: bool = True
    tracefs: bool = True
    lifecycle: bool = True
    hotplug: bool = True
    execs: bool = True


def open_watchers(choice: WatcherChoice | None = None) -> tuple[list[Watcher], list[str]]:
    """Open every watcher that this host and these capabilities allow.

    Returns:
        The watchers, to be closed by the caller, and a remark for each that is missing.

    Raises:
        KernelFormatError: /proc says in unknown words what is mounted.
    """
    wanted = choice or WatcherChoice()
    watchers: list[Watcher] = []
    remarks: list[str] = []
    _open_cpuset_writes(wanted, watchers, remarks)
    if wanted.tracefs:
        _open_traces(wanted, watchers, remarks)
    if wanted.hotplug:
        try:
            watchers.append(HotplugWatcher())
        except OSError as error:
            remarks.append(f"uevents cannot be heard ({error}): the sweep finds CPUs that come and go")
    return watchers, remarks


def see_everything(watchers: Sequence[Watcher]) -> bool:
    """Whether both ways to change a home are watched: otherwise the sweep's period is the time to notice one."""
    writes = any(isinstance(watcher, FanotifyWatcher | InotifyWatcher) for watcher in watchers)
    return writes and any(isinstance(watcher, PinningWatcher) for watcher in watchers)


def _open_cpuset_writes(wanted: WatcherChoice, watchers: list[Watcher], remarks: list[str]) -> None:
    mount = Places.among(read_hierarchies()).cpuset
    if mount is None:
        remarks.append("no cgroup hierarchy is mounted: there are no cpusets to watch")
        return
    if wanted.fanotify and _open_fanotify(mount, watchers, remarks):
        return
    if wanted.inotify:
        try:
            watchers.append(InotifyWatcher(mount))
        except OSError as error:
            remarks.append(f"inotify cannot watch {mount.directory} ({error}): the sweep finds cpuset writes")


def _open_fanotify(mount: CgroupMount, watchers: list[Watcher], remarks: list[str]) -> bool:
    try:
        watchers.append(FanotifyWatcher(mount))
    except Denied:
        remarks.append("fanotify needs CAP_SYS_ADMIN: who writes to a cpuset is not known")
    except OSError as error:
        remarks.append(f"fanotify cannot watch {mount.directory} ({error}): who writes to a cpuset is not known")
    else:
        return True
    return False


def _open_traces(wanted: WatcherChoice, watchers: list[Watcher], remarks: list[str]) -> None:
    tracefs = find_tracefs(read_mounts())
    if tracefs is None:
        remarks.append(
            "tracefs is not mounted (mount -t tracefs nodev /sys/kernel/tracing): the sweep finds sched_setaffinity"
        )
        return
    try:
        remove_stale_instances(tracefs)
        watchers.append(PinningWatcher(tracefs))
        if wanted.lifecycle:
            watchers.append(LifecycleWatcher(tracefs, execs=wanted.execs))
    except Denied:
        remarks.append(
            f"{tracefs} may not be written (it takes root, and no kernel lockdown): the sweep finds sched_setaffinity"
        )
    except (OSError, KernelFormatError) as error:
        remarks.append(f"{tracefs} cannot be used ({error}): the sweep finds sched_setaffinity and new processes")
