"""Rules on whom numaplace shares the host with: cpusets, AutoNUMA, others that move or bind pages, its own agent."""

from collections.abc import Iterator, Mapping

from numaplace.doctor.facts import Cpusets
from numaplace.doctor.finding import Finding, State
from numaplace.doctor.rule import Rule, rule
from numaplace.model.session import Abilities

_LIBVIRT = ("libvirt pins guests and binds their memory (numatune)", "choose one of numatune and following")

RIVALS: Mapping[str, tuple[str, str]] = {
    "numad": ("numad binds and moves processes as it sees fit", "systemctl disable --now numad"),
    "memtierd": ("memtierd moves pages between nodes", "leave followed jobs out of its configuration, or stop it"),
    "kdamond": (
        "DAMON is at work: with a scheme (migrate_hot, migrate_cold) it moves pages",
        "look at /sys/kernel/mm/damon/admin/kdamonds/*/contexts/*/schemes/*/action",
    ),
    "kubelet": (
        "the kubelet rewrites cpuset.cpus of its pods, and owns their cpusets",
        "leave its cgroups out of owned_cpusets",
    ),
    "libvirtd": _LIBVIRT,
    "virtqemud": _LIBVIRT,
}
"""By the command's name: what it does to pages, and what to do about it. irqbalance moves interrupts, not pages."""

_BALANCES, _TIERS = 1, 2


def _cpusets(cpusets: Cpusets) -> Iterator[Finding]:
    if cpusets.version == 0:
        words = "no cgroup hierarchy is mounted: there are no cpusets to follow"
        yield Finding("cgroup", State.NOTE, words, "mount -t cgroup2 none /sys/fs/cgroup")
        return
    yield Finding("cgroup", State.GOOD, f"cpusets are on cgroup v{cpusets.version}")
    if not cpusets.available:
        words = "the cpuset controller is not in this hierarchy: only affinity says where tasks may run"
        yield Finding("cpuset", State.WARNING, words, "boot with CONFIG_CPUSETS, and without cgroup_disable=cpuset")
    elif cpusets.version == 1:
        yield _memory_migrate(on=cpusets.memory_migrate)
    elif not cpusets.given_on:
        words = "the root hands the cpuset controller to no cgroup: none has cpuset.cpus or cpuset.mems of its own"
        yield Finding("cpuset", State.NOTE, words, "echo +cpuset > /sys/fs/cgroup/cgroup.subtree_control")
    else:
        yield Finding("cpuset", State.GOOD, "cgroups have cpusets; a write to cpuset.mems moves pages at once, unpaced")


def _memory_migrate(*, on: bool) -> Finding:
    if on:
        words = "cpuset.memory_migrate is 1 at the root: the kernel itself moves pages when mems change, unpaced"
        return Finding("cpuset", State.NOTE, words)
    words = "cpuset.memory_migrate is 0 at the root: the kernel leaves pages where they are when mems change"
    return Finding("cpuset", State.GOOD, words)


def _numa_balancing(mode: int | None) -> Iterator[Finding]:
    if not mode:
        words = "AutoNUMA is off" if mode == 0 else "this kernel has no AutoNUMA"
        yield Finding("numa-balancing", State.GOOD, f"{words}: pages follow only if somebody moves them")
        return
    does = [
        words
        for bit, words in (
            (_BALANCES, "pages follow the CPUs that touch them often, never cold or bound ones"),
            (_TIERS, "hot pages are promoted from slower nodes"),
        )
        if mode & bit
    ]
    words = f"AutoNUMA is on ({mode}): {'; '.join(does)}; while it is at work, a task under no policy is left to it"
    remedy = "sysctl kernel.numa_balancing=0, where all that matters is followed"
    yield Finding("numa-balancing", State.NOTE, words, remedy)


def _rivals(commands: frozenset[str]) -> Iterator[Finding]:
    # DAMON's threads are kdamond.0, kdamond.1, …
    found = sorted({name.partition(".")[0] for name in commands} & set(RIVALS))
    for name in found:
        yield Finding(f"rival-{name}", State.NOTE, *RIVALS[name])
    if not found:
        yield Finding("rivals", State.GOOD, "nobody else is known to move or bind pages here")


def _agent(abilities: Abilities | None) -> Iterator[Finding]:
    if abilities is None:
        words = "no numaplace-agent answers here: commands start one of their own, and nothing follows by itself"
        yield Finding("agent", State.NOTE, words, "numaplace-agent run (packaging/systemd has a unit)")
        return
    can, state = ("can", State.GOOD) if abilities.can_move else ("cannot", State.WARNING)
    yield Finding("agent", state, f"numaplace-agent runs here, and {can} move pages")
    for remark in abilities.remarks:  # each says itself what to change
        yield Finding("agent-lacks", State.WARNING, remark)


RULES: tuple[Rule, ...] = (
    rule("cgroup", lambda facts: facts.cpusets, _cpusets),
    rule("numa-balancing", lambda facts: facts.numa_balancing, _numa_balancing),
    rule("rivals", lambda facts: facts.commands, _rivals),
    rule("agent", lambda facts: facts.agent, _agent),
)
