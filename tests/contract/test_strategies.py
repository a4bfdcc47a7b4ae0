"""The ways to bring pages home that are not the rule, the same on the fake kernel and on real ones; see test_memory."""

import pytest

from numaplace.model.ids import NodeId
from numaplace.model.move import LeftReason, Strategy
from tests.contract.worlds import HOLDS_THE_LOCK, NEW, OLD, PATIENT, Job, Part, World, settled


def test_our_own_cpuset_goes_along_with_the_pages(world: World) -> None:
    """Widened, the pages moved by us, narrowed: in the end it allows home alone, and nothing lies elsewhere."""
    job = world.job("base")
    cpuset = world.cpuset(job, OLD, ours=True)
    outcome = world.move(job)
    settled(job, outcome)
    assert (outcome.strategy, "ours" in outcome.strategy_reason) == (Strategy.CPUSET_HANDOVER, True)
    assert cpuset.mems() == NEW
    assert outcome.moved_bytes >= job.size_bytes, "by us, before the kernel had to"
    assert job.bytes_on(NodeId(1)) == job.size_bytes
    assert outcome.new_pages == ""


def test_our_cpuset_stays_wide_while_pages_are_pinned_elsewhere(world: World) -> None:
    """Narrowed, it would make the kernel try each of them ten times while the writer waits; the account says so."""
    job = world.job("pinned", 4)
    cpuset = world.cpuset(job, OLD, ours=True)
    outcome = world.move(job)
    settled(job, outcome, LeftReason.PINNED)
    assert outcome.strategy is Strategy.CPUSET_HANDOVER
    assert cpuset.mems() == OLD | NEW
    assert "cpuset.mems still allows the old nodes" in outcome.words
    assert job.bytes_on(NodeId(0)) == pytest.approx(job.size_bytes // 2, rel=0.02)


def test_pages_leave_no_cpuset_that_is_not_ours(world: World) -> None:
    """Its owner has said where they may lie: they stay, for that reason, and the account says where new ones land."""
    job = world.job("base", 4)
    cpuset = world.cpuset(job, OLD)
    outcome = world.move(job)
    settled(job, outcome, LeftReason.OUTSIDE_CPUSET)
    assert outcome.moved_bytes == 0
    assert outcome.left[LeftReason.OUTSIDE_CPUSET] >= job.size_bytes
    assert "cpuset.mems allows no other" in outcome.new_pages
    assert cpuset.mems() == OLD


def test_what_the_kernel_moved_is_verified_and_what_it_left_is_finished(world: World) -> None:
    """A write to cpuset.mems moves what it can; what was pinned just then, and no more, is left to us."""
    job = world.job("pinned", 4)
    cpuset = world.cpuset(job, OLD)
    cpuset.write_mems(NEW)
    left_bytes = job.bytes_on(NodeId(0))
    assert left_bytes == pytest.approx(job.size_bytes // 2, rel=0.02)
    job.release()
    outcome = world.move(job)
    settled(job, outcome)
    assert outcome.strategy is Strategy.VERIFY_AND_FINISH
    assert "the kernel moved the pages itself" in outcome.strategy_reason
    assert left_bytes <= outcome.moved_bytes < job.size_bytes, "the rest was moved by the kernel, and is not ours"
    assert job.bytes_on(NodeId(1)) == job.size_bytes
    assert cpuset.mems() == NEW


def test_the_whole_process_moves_at_once_where_that_is_allowed(world: World) -> None:
    """On a kernel that holds the lock, for a policy that allows the stall: one call, and the account is as exact."""
    world.traits = HOLDS_THE_LOCK
    job = world.job("base")
    outcome = world.move(job, PATIENT)
    settled(job, outcome)
    assert (outcome.strategy, "stall" in outcome.strategy_reason) == (Strategy.MIGRATE_PAGES, True)
    assert outcome.moved_bytes >= job.size_bytes
    assert outcome.stall_ms_max == pytest.approx(outcome.call_ms_max)
    assert job.bytes_on(NodeId(1)) == job.size_bytes


def test_the_whole_process_takes_no_strangers_pages_along(world: World) -> None:
    """A privileged caller of migrate_pages would: memory that another process maps stays."""
    world.traits = HOLDS_THE_LOCK
    job: Job = Part(world.job("shm"))
    outcome = world.move(job, PATIENT)
    assert outcome.strategy is Strategy.MIGRATE_PAGES
    assert job.bytes_on(NodeId(0)) == job.size_bytes
    assert outcome.left[LeftReason.SHARED] >= job.size_bytes
    assert job.unchanged()
