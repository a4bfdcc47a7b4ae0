"""What the agent says that it can do here, and what to change; and the one capability that it lays down for a call."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node_agent.core.strategy import KernelTraits
from node_agent.linux import open_mover as open_mover_module
from node_agent.linux.attribution import NoAttribution, TraceAttribution
from node_agent.linux.open_mover import find_abilities
from node_agent.linux.privilege import CAP_SYS_NICE, CAP_SYS_PTRACE, has_capability, without_nice
from numaplace.model.session import Abilities


def abilities(
    patch: pytest.MonkeyPatch,
    *,
    ptrace: bool = True,
    shared: bool = True,
    frames: bool = True,
    one_node: bool = False,
    traced: bool = True,
    failure: str | None = None,
) -> Abilities:
    """What is found on such a host."""
    patch.setattr(open_mover_module, "has_capability", lambda number: ptrace and number == CAP_SYS_PTRACE)
    patch.setattr(open_mover_module, "_may_move_shared", lambda: shared)
    host: Any = SimpleNamespace(sees_frames=frames)
    probe: Any = SimpleNamespace(failure=failure, wait=lambda: KernelTraits(migrate_holds_lock=True))
    no_events: Any = None
    attributes = TraceAttribution(no_events) if traced else NoAttribution()
    return find_abilities(host, probe, one_node=one_node, attributes=attributes)


def test_an_agent_that_lacks_nothing_remarks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was probed is told."""
    found = abilities(monkeypatch)
    assert (found.can_move, found.sees_pagemap, found.migrate_holds_lock) == (True, True, True)
    assert found.remarks == ()


@pytest.mark.parametrize(
    ("lacks", "can_move", "words"),
    [
        ({"ptrace": False}, False, "CAP_SYS_PTRACE"),
        ({"one_node": True}, False, "nowhere to move"),
        ({"shared": False}, True, "CAP_SYS_NICE"),
        ({"frames": False}, True, "CAP_SYS_ADMIN"),
        ({"traced": False}, True, "tracefs"),
        ({"failure": "no memory"}, True, "no memory"),
    ],
)
def test_what_is_lacking_is_said_with_what_to_change(
    monkeypatch: pytest.MonkeyPatch, lacks: dict[str, Any], words: str, *, can_move: bool
) -> None:
    """One remark for each lack, and only what makes moving impossible denies it."""
    found = abilities(monkeypatch, **lacks)
    assert found.can_move is can_move
    (remark,) = found.remarks
    assert words in remark


def _look_without_nice(other: ThreadPoolExecutor) -> None:
    """See what this thread and another one have, and break."""
    with without_nice():
        seen = has_capability(CAP_SYS_NICE), other.submit(has_capability, CAP_SYS_NICE).result()
        raise LookupError(seen)


def test_a_capability_is_laid_down_by_one_thread_and_taken_up_again() -> None:
    """No other thread notices, and a fault in the block leaves nothing laid down."""
    had = has_capability(CAP_SYS_NICE)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(has_capability, CAP_SYS_NICE).result() is had  # a thread begins with its maker's
        with pytest.raises(LookupError) as caught:
            _look_without_nice(other)
    assert caught.value.args == ((False, had),)
    assert has_capability(CAP_SYS_NICE) is had


@pytest.mark.parametrize("number", [CAP_SYS_PTRACE, CAP_SYS_NICE])
def test_a_capability_is_what_the_kernel_says_of_the_thread(number: int) -> None:
    """The same bit as in its status file."""
    status = Path("/proc/thread-self/status").read_text()
    (effective,) = (line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    assert has_capability(number) is bool(int(effective, 16) >> number & 1)
