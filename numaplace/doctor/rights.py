"""Rules on what the caller may do: capabilities, filters of system calls, the limits that Yama sets.

They hold for whoever asks. The agent has rights of its own, and says itself what it lacks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from numaplace.doctor.finding import Finding, State
from numaplace.doctor.rule import Rule, both, rule
from numaplace.kernel.status import Capability, Privileges, Seccomp

GRANT = "run as root, or grant it: the agent's systemd unit does (packaging/systemd), a container asks for it by name"


@dataclass(frozen=True, slots=True)
class _Right:
    """What a capability is good for, and what becomes of those without it."""

    gives: str
    without: str


_RIGHTS: Mapping[Capability, _Right] = {
    Capability.SYS_NICE: _Right(
        "pages that several processes map can be moved",
        "pages that several processes of a task share stay where they are",
    ),
    Capability.SYS_PTRACE: _Right(
        "other users' processes can be looked at and moved",
        "only processes of your own can be looked at and moved",
    ),
    Capability.SYS_ADMIN: _Right(
        "page frames can be seen and cpuset writers known",
        "page frames are hidden (locating pages is several times slower) and who writes to cpusets is not known",
    ),
    Capability.DAC_READ_SEARCH: _Right(
        "other users' files in /proc can be read",
        "files of other users' processes stay closed",
    ),
}


def _capabilities(privileges: Privileges) -> Iterator[Finding]:
    for capability, right in _RIGHTS.items():
        word = f"cap-{capability.name.lower().replace('_', '-')}"
        if privileges.has(capability):
            yield Finding(word, State.GOOD, f"CAP_{capability.name}: {right.gives}")
        else:
            yield Finding(word, State.WARNING, f"no CAP_{capability.name}: {right.without}", GRANT)
    yield _seccomp(privileges.seccomp)


def _seccomp(mode: Seccomp) -> Finding:
    if mode is Seccomp.OFF:
        return Finding("seccomp", State.GOOD, "system calls of this process are not filtered")
    words = "system calls of this process are filtered (a container?): what is permitted was tried, see below"
    return Finding("seccomp", State.NOTE, words)


_ATTACH_BY_ROOT_MAX = 2


def _ptrace_scope(told: tuple[int | None, Privileges]) -> Iterator[Finding]:
    scope, privileges = told
    if not scope:
        yield Finding("ptrace-scope", State.GOOD, "Yama does not limit who may attach to processes of their own user")
    elif scope <= _ATTACH_BY_ROOT_MAX and privileges.has(Capability.SYS_PTRACE):
        yield Finding("ptrace-scope", State.GOOD, f"{scope}: Yama lets you attach, as you have CAP_SYS_PTRACE")
    else:
        # Yama looks at attaching only, and moving pages takes no more than reading (PTRACE_MODE_READ_REALCREDS).
        words = f"{scope}: moving needs no attaching, but pages that AutoNUMA hides (6.1 to 6.4) cannot be revealed"
        remedy = "sysctl kernel.yama.ptrace_scope=0, where AutoNUMA is on and the kernel is that old"
        yield Finding("ptrace-scope", State.NOTE, words, remedy)


RULES: tuple[Rule, ...] = (
    rule("capabilities", lambda facts: facts.privileges, _capabilities),
    rule("ptrace-scope", lambda facts: both(facts.ptrace_scope, facts.privileges), _ptrace_scope),
)
