"""Rules on what the kernel has and permits: each feature was tried, and its answer is looked up in a table.

MISSING is only what nothing works without. A feature that an older kernel lacks is a note: something else is done in
its place, which the words say.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from numaplace.doctor.facts import Answer, Attempt, Facts, Feature
from numaplace.doctor.finding import Finding, State

FILTER = "permit it in the seccomp profile or LSM policy that this process runs under"
NICE = "run as root, or grant CAP_SYS_NICE"
ADMIN = "run as root, or grant CAP_SYS_ADMIN"


@dataclass(frozen=True, slots=True)
class _Verdict:
    state: State
    words: str
    remedy: str = ""


_DENIED = _Verdict(State.NOTE, "is there, but may not be used", "run as root")


@dataclass(frozen=True, slots=True)
class _Case:
    """What a feature is good for, and what follows if the kernel does not have it, or the caller may not use it."""

    gives: str
    absent: _Verdict
    denied: _Verdict = field(default=_DENIED)


_CASES: Mapping[Feature, _Case] = {
    Feature.MOVE_PAGES: _Case(
        "move_pages is permitted: pages can be located and moved one by one",
        _Verdict(State.MISSING, "this kernel has no move_pages", "boot one with CONFIG_NUMA and CONFIG_MIGRATION"),
        _Verdict(State.MISSING, "move_pages is refused even for our own pages", FILTER),
    ),
    Feature.MOVE_ALL: _Case(
        "MPOL_MF_MOVE_ALL is permitted: what the processes of a task share moves with them",
        _Verdict(State.NOTE, "no MPOL_MF_MOVE_ALL, as there is no move_pages"),
        _Verdict(State.WARNING, "MPOL_MF_MOVE_ALL is refused: what processes share stays", NICE),
    ),
    Feature.MIGRATE_PAGES: _Case(
        "migrate_pages is permitted: whole processes can be moved by one call",
        _Verdict(State.WARNING, "this kernel has no migrate_pages: pages move in batches only"),
        _Verdict(State.WARNING, "migrate_pages is refused: pages move in batches only", FILTER),
    ),
    Feature.SET_MEMPOLICY: _Case(
        "set_mempolicy is permitted: numaplace run can place a program's memory",
        _Verdict(State.WARNING, "this kernel has no set_mempolicy", "boot one with CONFIG_NUMA"),
        _Verdict(State.WARNING, "set_mempolicy is refused: numaplace run cannot place memory", FILTER),
    ),
    Feature.MBIND: _Case(
        "mbind is permitted: programs can place buffers (numaplace.mempolicy)",
        _Verdict(State.WARNING, "this kernel has no mbind", "boot one with CONFIG_NUMA"),
        _Verdict(State.WARNING, "mbind is refused: programs cannot place their buffers", FILTER),
    ),
    Feature.HOME_NODE: _Case(
        "set_mempolicy_home_node is there",
        _Verdict(State.NOTE, "no set_mempolicy_home_node (Linux 5.17): a bound range has no preferred node"),
        _Verdict(State.NOTE, "set_mempolicy_home_node is refused", FILTER),
    ),
    Feature.PREFERRED_MANY: _Case(
        "MPOL_PREFERRED_MANY is there",
        _Verdict(State.NOTE, "no MPOL_PREFERRED_MANY (Linux 5.15): --preferred-many is refused"),
        _Verdict(State.NOTE, "MPOL_PREFERRED_MANY is refused", FILTER),
    ),
    Feature.WEIGHTED_INTERLEAVE: _Case(
        "MPOL_WEIGHTED_INTERLEAVE is there",
        _Verdict(State.NOTE, "no MPOL_WEIGHTED_INTERLEAVE (Linux 6.9): --weighted-interleave is refused"),
        _Verdict(State.NOTE, "MPOL_WEIGHTED_INTERLEAVE is refused", FILTER),
    ),
    Feature.PAGEMAP_FRAMES: _Case(
        "frames in /proc/PID/pagemap can be seen: locating pages costs least",
        _Verdict(State.NOTE, "no /proc/PID/pagemap (CONFIG_PROC_PAGE_MONITOR): pages are located by move_pages"),
        _Verdict(State.WARNING, "frames in pagemap are hidden: locating pages is several times slower", ADMIN),
    ),
    Feature.PAGEMAP_SCAN: _Case(
        "PAGEMAP_SCAN is there: huge pages are found by one call",
        _Verdict(State.NOTE, "no PAGEMAP_SCAN (Linux 6.7): huge pages are found by their frames"),
    ),
    Feature.SOFT_DIRTY: _Case(
        "soft-dirty bits are there: what a process writes can be profiled",
        _Verdict(State.NOTE, "no soft-dirty bits (CONFIG_MEM_SOFT_DIRTY): writes are profiled in other ways"),
    ),
    Feature.USERFAULTFD: _Case(
        "userfaultfd is there",
        _Verdict(State.NOTE, "no userfaultfd (CONFIG_USERFAULTFD)"),
        _Verdict(State.NOTE, "userfaultfd is refused", FILTER),
    ),
    Feature.TRACEFS: _Case(
        "tracefs can be used: affinity calls are noticed at once, our migrations told from others'",
        _Verdict(
            State.WARNING,
            "tracefs is not mounted: affinity calls are found by the sweep, migrations are not attributed",
            "mount -t tracefs nodev /sys/kernel/tracing",
        ),
        _Verdict(
            State.WARNING,
            "tracefs may not be written: affinity calls are found by the sweep, migrations are not attributed",
            "run as root, without kernel lockdown",
        ),
    ),
    Feature.FANOTIFY: _Case(
        "fanotify can watch the cgroup file system: writes to cpusets are noticed at once, with the writer",
        _Verdict(State.NOTE, "fanotify cannot watch cpusets here (cgroup v1, or built without): inotify does"),
        _Verdict(State.WARNING, "fanotify is refused: who writes to a cpuset is not known", ADMIN),
    ),
    Feature.IDLE_PAGES: _Case(
        "idle page tracking is there: what a process uses can be profiled",
        _Verdict(State.NOTE, "no idle page tracking (CONFIG_IDLE_PAGE_TRACKING)"),
    ),
    Feature.DAMON: _Case(
        "DAMON is there: what a process uses can be sampled",
        _Verdict(State.NOTE, "no DAMON (CONFIG_DAMON_SYSFS)"),
    ),
}  # fmt: skip


def findings(facts: Facts) -> Iterator[Finding]:
    """A finding for every feature."""
    for feature in Feature:
        attempt = facts.tried.get(feature)
        if attempt is None:
            yield Finding(feature.value, State.NOTE, "not looked at: it was not tried")
        else:
            yield _finding(feature, attempt)


def _finding(feature: Feature, attempt: Attempt) -> Finding:
    case = _CASES[feature]
    if attempt.answer is Answer.YES:
        return Finding(feature.value, State.GOOD, case.gives)
    verdict = case.absent if attempt.answer is Answer.ABSENT else case.denied
    words = f"{feature.value} {verdict.words}" if verdict is _DENIED else verdict.words
    why = f" ({attempt.why})" if attempt.answer is Answer.DENIED and attempt.why else ""
    return Finding(feature.value, verdict.state, f"{words}{why}", verdict.remedy)
