"""Writes to the files of cpusets: who gets other CPUs or nodes, and who is put into another cgroup.

fanotify covers the whole hierarchy by one mark, and names the writer. Where it is not allowed, inotify watches each
directory, which it has to be told of, and names nobody. Neither sees what follows at a cgroup's descendants: a hint
about a cgroup is one about everything below it too.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from node_agent.core.facts import Hint
from node_agent.linux.watchers.actors import Lookups
from numaplace.kernel import fanotify, inotify
from numaplace.kernel.cgroups import CgroupMount
from numaplace.kernel.cpusets import WATCHED
from numaplace.kernel.errors import KernelCallError, NoSuchFile
from numaplace.model.job import ChangeSource

READINGS_MAX = 16
"""Readings in one draining; what is left keeps the descriptor readable."""
DIRECTORIES_MAX = 8192
"""Cgroups that inotify watches; what the kernel allows one user may be less."""

_MEMBERS = frozenset({"cgroup.procs", "cgroup.threads", "tasks"})
_RULES = (WATCHED - _MEMBERS) | {"cpuset.cpus.partition", "cpuset.cpus.exclusive", "cgroup.subtree_control"}


class FanotifyWatcher:
    """Every write to a file that matters, anywhere in one hierarchy, with the writer."""

    source = ChangeSource.FANOTIFY

    def __init__(self, mount: CgroupMount) -> None:
        """Mark the hierarchy. Raises as `fanotify.FanotifyWatch`."""
        self._mount = mount
        # Not CLOSE_WRITE as well: a writer that keeps the file open is heard at once, and nobody twice.
        self._watch = fanotify.FanotifyWatch(mount.directory, fanotify.MODIFY)

    def fileno(self) -> int:
        """See `Watcher`."""
        return self._watch.fileno()

    def close(self) -> None:
        """See `Watcher`."""
        self._watch.close()

    def drain(self) -> Sequence[Hint]:
        """See `Watcher`."""
        lookups = Lookups()
        hints: list[Hint] = []
        for _ in range(READINGS_MAX):
            writes = self._watch.read()
            if writes.lost:
                hints.append(Hint(self.source, structural=True))
            elif not writes.events:
                break
            told = (self._hint(event, lookups) for event in writes.events)
            hints.extend(hint for hint in told if hint is not None)
        return hints

    def _hint(self, event: fanotify.FileWritten, lookups: Lookups) -> Hint | None:
        directory, _, name = event.path.rpartition("/")
        if name not in _MEMBERS and name not in _RULES:
            return None
        actor = lookups.actor(event.pid)
        return Hint(self.source, actor, cgroup=_path_in(self._mount, directory), structural=name in _MEMBERS)


class InotifyWatcher:
    """Writes in each directory of one hierarchy, those that are made later included."""

    source = ChangeSource.INOTIFY
    _MASK = inotify.MODIFY | inotify.CREATE

    def __init__(self, mount: CgroupMount) -> None:
        """Watch every directory there is. Raises as `inotify.InotifyWatch`, but passes over what vanishes."""
        self._mount = mount
        self._count = 0
        self._watch = inotify.InotifyWatch()
        try:
            self._add_tree(mount.directory)
        except BaseException:
            self._watch.close()
            raise

    def fileno(self) -> int:
        """See `Watcher`."""
        return self._watch.fileno()

    def close(self) -> None:
        """See `Watcher`."""
        self._watch.close()

    def drain(self) -> Sequence[Hint]:
        """See `Watcher`."""
        hints: list[Hint] = []
        for _ in range(READINGS_MAX):
            events = self._watch.read()
            if events.lost:
                self._try_tree(self._mount.directory)
                hints.append(Hint(self.source, structural=True))
            elif not events.events:
                break
            told = (self._hint(event) for event in events.events)
            hints.extend(hint for hint in told if hint is not None)
        # An O_TRUNC and a write are two events of one change; without the writer they cannot be told from two writes.
        return list(dict.fromkeys(hints))

    def _hint(self, event: inotify.PathEvent) -> Hint | None:
        cgroup = _path_in(self._mount, str(event.path))
        if event.mask & inotify.CREATE and event.mask & inotify.IS_DIRECTORY:
            self._try_tree(event.path / event.name)
            # Somebody may have entered it before it was watched.
            return Hint(self.source, cgroup=cgroup, structural=True)
        if event.name in _MEMBERS or event.name in _RULES:
            return Hint(self.source, cgroup=cgroup, structural=event.name in _MEMBERS)
        return None

    def _try_tree(self, top: Path) -> None:
        try:
            self._add_tree(top)
        except KernelCallError:
            # The kernel allows no more watches: the sweep finds what happens there.
            self._count = DIRECTORIES_MAX

    def _add_tree(self, top: Path) -> None:
        known = self._watch.paths if self._count else frozenset()
        for directory, _, _ in os.walk(top):
            path = Path(directory)
            if self._count >= DIRECTORIES_MAX:
                return
            try:
                self._watch.add(path, self._MASK)
            except NoSuchFile:
                continue
            self._count += path not in known


def _path_in(mount: CgroupMount, directory: str) -> str | None:
    """The cgroup path of a directory; None, so anyone's, if it is seen from another mount namespace."""
    top = str(mount.directory)
    if directory != top and not directory.startswith(f"{top}/"):
        return None
    return mount.part.rstrip("/") + directory.removeprefix(top) or "/"
