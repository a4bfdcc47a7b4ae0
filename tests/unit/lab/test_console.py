"""Whose fault a guest's end was is told by the first fault on its console."""

import pytest

from tests.lab.console import Fault, FaultKind, first_fault, tail

PANIC = "[    9.1] Kernel panic - not syncing: Fatal exception in interrupt"


@pytest.mark.parametrize(
    "oops", ["[    9.0] int3: 0000 [#1] PREEMPT SMP NOPTI", "[ 9.0] Oops: int3: 0000 [#1] PREEMPT SMP"]
)
def test_an_int3_oops_is_the_emulations(oops: str) -> None:
    """Both kernels' wording of it, and the panic that always follows does not count."""
    fault = first_fault(f"[    1.0] lab: ready\n{oops}\n{PANIC}\n")
    assert fault == Fault(FaultKind.EMULATION, oops)


@pytest.mark.parametrize(
    "line",
    [
        "[    9.0] Kernel panic - not syncing: sysrq triggered crash",
        "[    9.0] BUG: kernel NULL pointer dereference, address: 0000000000000000",
        "[    9.0] Oops: 0000 [#1] PREEMPT SMP NOPTI",
        "[    9.0] Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
        "[    9.0] invalid opcode: 0000 [#1] PREEMPT SMP NOPTI",
        "[   80.0] watchdog: BUG: soft lockup - CPU#1 stuck for 61s! [python:99]",
        "[   80.0] rcu: INFO: rcu_preempt self-detected stall on CPU",
        "[  200.0] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
    ],
)
def test_any_other_fault_is_real(line: str) -> None:
    """A fault that is not the emulation's own is never excused, even if an int3 oops follows it."""
    assert first_fault(f"{line}\n[ 9.9] int3: 0000 [#2] SMP\n{PANIC}") == Fault(FaultKind.KERNEL, line)


@pytest.mark.parametrize("line", ["lab: init failed: mount 9p", "[ 3.0] lab: the server failed: 1"])
def test_a_failure_of_init_is_told_apart(line: str) -> None:
    """The lab's own failures are no kernel's."""
    assert first_fault(line) == Fault(FaultKind.INIT, line)


@pytest.mark.parametrize(
    "console",
    [
        "",
        "[    3.5] lab: ready",
        "[ 3.4] lab: this kernel has no v1 controller cpuset",
        "job: debugging int3: it is fine",
    ],
)
def test_harmless_lines_are_no_fault(console: str) -> None:
    """What is normal on a console, or was written there by a test, is none."""
    assert first_fault(console) is None


def test_the_tail_is_the_end() -> None:
    """The last lines, in their order."""
    assert tail("a\nb\nc\n", 2) == "b\nc"
