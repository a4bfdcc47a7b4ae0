"""The mover on the fake kernel: what moves, what stays and why, to the byte."""

import errno
from dataclasses import replace

import numpy as np
import pytest

from node_agent.core.facts import ProcessRef
from node_agent.core.strategy import KernelTraits
from node_agent.linux.residency import PROCESSES_OPEN_MAX, open_task
from node_agent.ports import MoveJob
from numaplace.kernel.errors import KernelCallError
from numaplace.model.ids import CpuId, NodeId
from numaplace.model.job import MemoryPolicy
from numaplace.model.move import LeftReason, MoveState, Strategy
from numaplace.model.policy import Budget, Policy
from numaplace.model.residency import Backing, PageKind
from tests.fakes.kernel import BASE, HUGE, MIB, FakeHost, FakeNode, FakeProcessMemory, Quirks
from tests.fakes.moves import SMALL, Control, check, move, mover_of, on, order


def test_all_pages_of_a_simple_job_come_home() -> None:
    """Anonymous base pages on the old node all move, and the account says so exactly."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 5000)
    outcome = move(host, [process])
    assert (outcome.state, outcome.moved_bytes, dict(outcome.left)) == (MoveState.COMPLETED, 5000 * BASE, {})
    assert outcome.counters.host.pgmigrate_success == 5000
    assert outcome.strategy is Strategy.MOVE_PAGES


def test_pages_at_home_are_not_sent() -> None:
    """Every entry that is in place would flush the kernel's batch: only misplaced pages are sent."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0, 1] * 600)
    outcome = move(host, [process], policy=Policy(budget=SMALL, keep_interleave=False))
    assert outcome.moved_bytes == 600 * BASE
    assert sum(host.calls) == 600


def test_first_batch_leaves_before_the_walk_is_over() -> None:
    """A large job's first pages move within one batch's time, whatever its size."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 60_000)
    outcome = move(host, [process])
    assert outcome.first_page_s is not None
    assert outcome.first_page_s < outcome.seconds / 10


def test_a_pinned_page_is_asked_once_and_remembered() -> None:
    """The kernel tries a held page ten times with an unmap each: it is asked once, and not again by the next move."""
    host = FakeHost.of_two()
    process = host.start()
    region = host.map(process, [0] * 4000)
    host.folios.pinned[region.folios[100:110]] = True
    mover = mover_of(host)
    outcome = move(host, [process], mover=mover)
    assert dict(outcome.left) == {LeftReason.PINNED: 10 * BASE}
    assert outcome.moved_bytes == 3990 * BASE
    assert len(process.tried) == 10
    assert mover.stuck([process.ref]) == {LeftReason.PINNED: 10 * BASE}
    again = move(host, [process], mover=mover)
    assert dict(again.left) == {LeftReason.PINNED: 10 * BASE}
    assert len(process.tried) == 10


def test_processes_beyond_those_looked_at_together_are_in_the_account() -> None:
    """A task of a thousand workers is never completed in silence about half of them."""
    host = FakeHost.of_two()
    processes = [host.start() for _ in range(PROCESSES_OPEN_MAX + 3)]
    for process in processes:
        host.map(process, [0] * 2)
    mover, job = mover_of(host), MoveJob(order(on(1), on(0)), host.task(processes), host.topology())
    outcome = mover.move(job, Control())
    assert (outcome.state, outcome.moved_bytes) == (MoveState.PARTIAL, 2 * PROCESSES_OPEN_MAX * BASE)
    assert dict(outcome.left) == {LeftReason.TOO_MANY_PROCESSES: 3 * 2 * BASE}
    assert f"3 of its {len(processes)} processes were not looked at" in outcome.words
    assert mover.predict(job).left == outcome.left
    host.end(processes[-1])
    assert mover.move(job, Control()).left == {LeftReason.TOO_MANY_PROCESSES: 2 * 2 * BASE}


def test_a_pin_is_forgotten_after_a_while() -> None:
    """Registrations end without a sign: after ten minutes the page is asked again."""
    host = FakeHost.of_two()
    process = host.start()
    region = host.map(process, [0] * 100)
    host.folios.pinned[region.folios[:4]] = True
    mover = mover_of(host)
    move(host, [process], mover=mover)
    host.folios.pinned[:] = False
    assert move(host, [process], mover=mover).moved_bytes == 0
    host.clock.advance(601)
    assert move(host, [process], mover=mover).moved_bytes == 4 * BASE


def test_a_busy_page_moves_in_the_next_pass() -> None:
    """EBUSY in the status is a page off its list for a moment: asked again, unlike a pinned one."""
    host = FakeHost.of_two()
    process = host.start()
    region = host.map(process, [0] * 3000)
    host.folios.busy[region.folios[500:1000]] = 1
    outcome = move(host, [process])
    assert outcome.moved_bytes == 3000 * BASE
    assert not outcome.left


def test_a_huge_page_is_one_address_and_stays_whole() -> None:
    """A THP goes by one address, at most eight a call."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 40, page_bytes=HUGE)
    outcome = move(host, [process])
    assert outcome.moved_bytes == 40 * HUGE
    assert max(host.calls) <= 8
    assert outcome.counters.host.thp_migration_success == 40


def test_huge_pages_are_not_sent_where_they_would_be_split() -> None:
    """Without free 2 MB blocks on the target the kernel would split them: they stay, and the account says why."""
    host = FakeHost.of_two()
    host.nodes[NodeId(1)].free_blocks = 14
    process = host.start()
    host.map(process, [0] * 40, page_bytes=HUGE)
    outcome = move(host, [process])
    assert outcome.counters.host.thp_migration_split == 0
    assert outcome.moved_bytes == 10 * HUGE
    assert dict(outcome.left) == {LeftReason.THP_WOULD_SPLIT: 30 * HUGE}


def test_the_first_split_stops_the_huge_pages() -> None:
    """Blocks that looked free were not: the counter tells, and no more huge pages are sent."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 40, page_bytes=HUGE)
    true_rooms = host.rooms
    host.rooms = lambda nodes: {n: replace(r, free_thp=1000) for n, r in true_rooms(nodes).items()}  # type: ignore[method-assign]
    host.nodes[NodeId(1)].free_blocks = 3
    outcome = move(host, [process])
    assert 0 < outcome.counters.host.thp_migration_split <= 8
    assert outcome.left[LeftReason.THP_WOULD_SPLIT] > 20 * HUGE
    assert "split" in outcome.words


def test_headroom_on_the_target_stays_free() -> None:
    """The target is never taken below its high watermark and the policy's headroom."""
    host = FakeHost.of_two(64)
    process = host.start()
    host.map(process, [0] * 12_000)
    host.nodes[NodeId(1)].used_pages = 8000
    outcome = move(host, [process], policy=Policy(budget=Budget(headroom_bytes=8 * MIB)))
    assert host.free_pages(NodeId(1)) >= 1024 + 8 * MIB // BASE
    assert outcome.left[LeftReason.TARGET_FULL] > 0
    assert outcome.moved_bytes > 0


def test_another_home_node_takes_what_the_first_cannot() -> None:
    """A full home node is no reason to stay remote while another home node has room."""
    host = FakeHost([FakeNode(NodeId(n), 20_000, frozenset({CpuId(n)})) for n in range(3)])
    host.nodes[NodeId(1)].used_pages = 18_500
    process = host.start()
    host.map(process, [0] * 5000)
    outcome = move(host, [process], on(1, 2), on(0, 2))
    assert not outcome.left
    assert outcome.residency.locality(on(1, 2)) == 1.0


def test_a_target_that_runs_dry_in_mid_call_is_told_as_full() -> None:
    """ENOMEM comes after a part has moved: that part is counted as moved, the rest as left."""
    host = FakeHost.of_two(64)
    process = host.start()
    host.map(process, [0] * 8000)

    def fill() -> None:
        host.nodes[NodeId(1)].used_pages = host.nodes[NodeId(1)].pages - 4000

    host.clock.at(0.012, fill)
    outcome = move(host, [process])
    assert outcome.left[LeftReason.TARGET_FULL] > 0
    assert outcome.moved_bytes > 0


def test_a_target_outside_the_cpuset_is_refused_with_its_reason() -> None:
    """The kernel refuses with EACCES what the cpuset forbids; the mover never leaves a cpuset."""
    host = FakeHost.of_two()
    process = host.start(on(0))
    host.map(process, [0] * 100)
    outcome = move(host, [process])
    assert dict(outcome.left) == {LeftReason.OUTSIDE_CPUSET: 100 * BASE}
    assert "cpuset.mems" in outcome.new_pages


def test_a_cpuset_that_shrinks_in_mid_move_is_told() -> None:
    """The task's facts may be old: what the kernel says counts."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 9000)

    def shrink() -> None:
        process.mems = on(0)

    host.clock.at(0.03, shrink)
    outcome = move(host, [process])
    assert outcome.left[LeftReason.OUTSIDE_CPUSET] > 0
    assert outcome.moved_bytes > 0


def test_pages_that_strangers_map_stay() -> None:
    """What another task maps too is as much theirs: it is left, and said to be shared."""
    host = FakeHost.of_two()
    process, stranger = host.start(), host.start()
    shared = host.map(process, [0] * 300, backing=Backing.FILE)
    host.share(stranger, shared)
    host.map(process, [0] * 700)
    outcome = move(host, [process])
    assert dict(outcome.left) == {LeftReason.SHARED: 300 * BASE}
    assert outcome.moved_bytes == 700 * BASE
    assert host.bytes_by_node([stranger]) == {NodeId(0): 300 * BASE}


@pytest.mark.parametrize("backing", [Backing.PRIVATE, Backing.FILE, Backing.SHARED])
def test_pages_that_only_the_tasks_own_processes_map_move(backing: Backing) -> None:
    """Copy-on-write after fork, shared memory and files of the task's own processes move, counted once."""
    host = FakeHost.of_two()
    parent = host.start()
    host.map(parent, [0] * 2000, backing=backing)
    child = host.fork(parent)
    host.map(child, [0] * 100)
    outcome = move(host, [parent, child])
    assert outcome.moved_bytes == 2100 * BASE
    assert not outcome.left


def test_large_shared_memory_is_compared_place_by_place() -> None:
    """Regions of 64 MB and more are laid side by side, in parts; strangers' parts stay."""
    host = FakeHost.of_two()
    a, b, stranger = host.start(), host.start(), host.start()
    region = host.map(a, [0] * (80 * MIB // BASE), backing=Backing.SHARED)
    host.share(b, region)
    theirs = host.map(stranger, [-1] * len(region.folios), backing=Backing.SHARED)
    theirs.folios[:100] = region.folios[:100]
    host.folios.mapped[region.folios[:100]] += 1
    outcome = move(host, [a, b])
    assert dict(outcome.left) == {LeftReason.SHARED: 100 * BASE}
    assert outcome.moved_bytes == 80 * MIB - 100 * BASE


def test_without_frames_every_sharer_is_a_stranger() -> None:
    """Without CAP_SYS_ADMIN nobody can tell whose pages they are: they stay."""
    host = FakeHost.of_two(sees_frames=False)
    parent = host.start()
    host.map(parent, [0] * 200)
    child = host.fork(parent)
    host.map(parent, [0] * 300)
    task = host.task([parent, child])
    outcome = mover_of(host).move(MoveJob(order(on(1), on(0)), task, host.topology()), Control())
    assert outcome.moved_bytes == 300 * BASE
    assert outcome.left[LeftReason.SHARED] == 2 * 200 * BASE


def test_kinds_that_the_policy_leaves_out_stay() -> None:
    """A policy for anonymous memory only leaves file pages, and the account says that it was the policy."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 100, backing=Backing.FILE)
    host.map(process, [0] * 50)
    outcome = move(host, [process], policy=Policy(kinds=frozenset({PageKind.ANON}), budget=SMALL))
    assert dict(outcome.left) == {LeftReason.KEPT_BY_POLICY: 100 * BASE}
    assert outcome.state is MoveState.COMPLETED


def test_interleaved_memory_keeps_its_spread() -> None:
    """Memory that was spread on purpose is not gathered on one node unless the policy says so."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0, 1] * 1000, policy=MemoryPolicy.INTERLEAVE, policy_nodes=on(0, 1))
    outcome = move(host, [process])
    assert dict(outcome.left) == {LeftReason.KEPT_BY_POLICY: 1000 * BASE}
    assert outcome.moved_bytes == 0
    assert "interleave" in outcome.new_pages


def test_interleaved_memory_moves_where_its_spread_survives() -> None:
    """From {0,1} to {2,3} every node's pages go to one other: the spread stays what it was."""
    host = FakeHost([FakeNode(NodeId(n), 20_000, frozenset({CpuId(n)})) for n in range(4)])
    process = host.start()
    host.map(process, [0, 1] * 1000, policy=MemoryPolicy.INTERLEAVE, policy_nodes=on(0, 1))
    outcome = move(host, [process], on(2, 3), on(0, 1))
    assert dict(outcome.residency.by_node) == {NodeId(2): 1000 * BASE, NodeId(3): 1000 * BASE}


def test_relative_position_is_kept() -> None:
    """Nodes {0,1} to {2,3}: node 0's pages go to 2, node 1's to 3."""
    host = FakeHost([FakeNode(NodeId(n), 20_000, frozenset({CpuId(n)})) for n in range(4)])
    process = host.start()
    host.map(process, [0] * 700 + [1] * 300)
    outcome = move(host, [process], on(2, 3), on(0, 1))
    assert dict(outcome.residency.by_node) == {NodeId(2): 700 * BASE, NodeId(3): 300 * BASE}


def test_sets_of_unequal_size_are_spread() -> None:
    """One node's pages to two: spread over both, by what is free."""
    host = FakeHost([FakeNode(NodeId(n), 20_000, frozenset({CpuId(n)})) for n in range(3)])
    process = host.start()
    host.map(process, [0] * 4000)
    outcome = move(host, [process], on(1, 2), on(0))
    assert outcome.moved_bytes == 4000 * BASE
    assert min(outcome.residency.by_node.values()) > 1500 * BASE


def test_hugetlb_without_a_pool_page_says_so() -> None:
    """A hugetlb page needs a page of the target's pool."""
    host = FakeHost.of_two()
    host.nodes[NodeId(1)].hugetlb_free = 2
    process = host.start()
    host.map(process, [0] * 5, page_bytes=HUGE, hugetlb=True)
    outcome = move(host, [process])
    assert outcome.moved_bytes == 2 * HUGE
    assert dict(outcome.left) == {LeftReason.HUGETLB_POOL: 3 * HUGE}


def test_a_process_that_dies_in_mid_move_vanishes() -> None:
    """Nothing is left of it, and what had not moved is told as vanished."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 20_000)
    mover = mover_of(host)
    mover.measure([process.ref])
    host.clock.at(0.1, lambda: host.end(process))
    outcome = move(host, [process], mover=mover)
    assert outcome.state is MoveState.PARTIAL
    assert set(outcome.left) == {LeftReason.VANISHED}
    assert outcome.moved_bytes + outcome.left[LeftReason.VANISHED] == 20_000 * BASE


def test_a_reused_pid_is_not_touched() -> None:
    """Another process with the same pid and another start is nobody of ours."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 100)
    task = host.task([process])
    stale = replace(task, processes=(replace(process.ref, start_ticks=1),))
    outcome = mover_of(host).move(MoveJob(order(on(1), on(0)), stale, host.topology()), Control())
    assert outcome.moved_bytes == 0
    assert host.bytes_by_node([process]) == {NodeId(0): 100 * BASE}


def test_pages_freed_in_mid_move_vanish() -> None:
    """A page that the job gave back is neither moved nor left."""
    host = FakeHost.of_two()
    process = host.start()
    region = host.map(process, [0] * 8000)
    host.clock.at(0.025, lambda: host.free(region, slice(6000, 8000)))
    outcome = move(host, [process])
    assert outcome.left.get(LeftReason.VANISHED) == 2000 * BASE
    assert outcome.moved_bytes == 6000 * BASE


@pytest.mark.parametrize("page_bytes", [BASE, HUGE])
@pytest.mark.parametrize("sees_frames", [True, False])
def test_pages_that_autonuma_has_marked_come_home(page_bytes: int, sees_frames: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """An old kernel does not find marked pages: they are read, and moved with the others; none is said to vanish."""
    host = FakeHost.of_two(quirks=Quirks(old=True), sees_frames=sees_frames)
    process = host.start()
    region = host.map(process, [0] * 60, page_bytes=page_bytes)
    host.mark(region, slice(10, 40))
    outcome = move(host, [process])
    assert (outcome.state, outcome.moved_bytes, dict(outcome.left)) == (MoveState.COMPLETED, 60 * page_bytes, {})


def test_marked_pages_that_cannot_be_read_are_left_and_have_not_vanished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where reading is not allowed marked pages stay, counted once, as what they are: there, and not reached."""
    monkeypatch.setattr(FakeProcessMemory, "reveal", lambda _, addresses: np.zeros(len(addresses), np.bool_))
    host = FakeHost.of_two(quirks=Quirks(old=True))
    process = host.start()
    host.mark(host.map(process, [0] * 3000), slice(1000, 2000))
    outcome = move(host, [process])
    assert (outcome.moved_bytes, dict(outcome.left)) == (2000 * BASE, {LeftReason.NOT_REACHED: 1000 * BASE})


def test_reading_marked_pages_brings_none_back_that_was_freed() -> None:
    """Pages that are gone are not touched: they vanish, and the host has no more pages than before."""
    host = FakeHost.of_two(quirks=Quirks(old=False))
    process = host.start()
    region = host.map(process, [0] * 8000)
    host.mark(region)
    host.clock.at(0.025, lambda: host.free(region, slice(6000, 8000)))
    outcome = move(host, [process])
    assert outcome.left == {LeftReason.VANISHED: 2000 * BASE}
    assert host.bytes_by_node([process]) == {NodeId(1): 6000 * BASE}


def test_pages_touched_in_mid_move_are_found_by_the_next_pass() -> None:
    """A job goes on while it is moved: new pages on the old node are moved too."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 8000)

    def touch_more() -> None:
        host.map(process, [0] * 2000)

    host.clock.at(0.03, touch_more)
    outcome = move(host, [process])
    assert outcome.moved_bytes == 10_000 * BASE


@pytest.mark.parametrize(
    ("reason", "state"),
    [("cancelled: by hand", MoveState.CANCELLED), ("superseded: a newer home", MoveState.SUPERSEDED)],
)
def test_a_cancelled_move_ends_between_two_calls(reason: str, state: MoveState) -> None:
    """What was moved stays moved, what was not reached is told so."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 30_000)
    control = Control(cancel_when=lambda: reason if host.now_s() > 0.1 else None)
    outcome = move(host, [process], control=control)
    assert outcome.state is state
    assert outcome.seconds < 0.25
    assert outcome.left == {LeftReason.NOT_REACHED: 30_000 * BASE - outcome.moved_bytes}
    assert reason in outcome.words


def test_a_pace_limit_holds() -> None:
    """With a limit of bytes a second the move takes as long as that says, and hears of a cancel meanwhile."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 10_240)
    policy = Policy(budget=Budget(pace_bytes_per_s=10 * MIB, headroom_bytes=0))
    outcome = move(host, [process], policy=policy)
    assert 3.5 <= outcome.seconds <= 4.6


def test_progress_is_reported_some_times_a_second() -> None:
    """Ten reports a second at most, each with what is moved, what is to do, and what it makes of the residency."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 50_000)
    control = Control()
    outcome = move(host, [process], control=control)
    assert 1 <= len(control.reported) <= outcome.seconds * 10 + 1
    last = control.reported[-1]
    assert 0 < last.moved_bytes <= outcome.moved_bytes
    assert {report.moved_bytes + report.todo_bytes for report in control.reported} == {50_000 * BASE}
    assert last.residency.by_node[NodeId(1)] == last.moved_bytes


def test_a_pressed_job_slows_the_mover() -> None:
    """When the job's memory pressure rises with our calls, and only then, batches shrink and pauses grow."""
    host = FakeHost.of_two(quirks=Quirks(page_s=50e-6))
    process = host.start()
    host.map(process, [0] * 60_000)
    calm = move(host, [process], cgroup="/job")
    host.pressure_us = lambda _: 1000 * sum(host.calls)
    pressed = move(host, [process], on(0), on(1), cgroup="/job")
    assert pressed.moved_bytes == calm.moved_bytes
    assert pressed.seconds > 1.5 * calm.seconds


def test_pressure_of_the_jobs_own_making_does_not_slow_the_mover() -> None:
    """A job that waits as much while we do nothing is not helped by going slowly."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 60_000)
    calm = move(host, [process], cgroup="/job")
    host.pressure_us = lambda now: int(0.5e6 * now)
    other = move(host, [process], on(0), on(1), cgroup="/job")
    assert other.seconds < calm.seconds + 0.2


LOCKS = KernelTraits(migrate_holds_lock=True, migrate_bytes_per_s=400e6)
"""A kernel before 6.7, as probing finds it."""


def test_the_whole_process_goes_at_once_where_the_policy_allows_the_stall() -> None:
    """On a kernel that holds the lock, migrate_pages only if the predicted stall is within the policy's."""
    host = FakeHost.of_two(quirks=Quirks(old=True))
    process = host.start()
    host.map(process, [0] * 20_000)
    mover = mover_of(host, LOCKS)
    policy = Policy(budget=Budget(stall_ms_max=5000, headroom_bytes=0))
    outcome = move(host, [process], mover=mover, policy=policy)
    assert outcome.strategy is Strategy.MIGRATE_PAGES
    assert outcome.moved_bytes == 20_000 * BASE
    assert outcome.stall_ms_max >= 190
    assert process.lock_held_s > 0


def test_the_whole_process_does_not_go_at_once_otherwise() -> None:
    """The default policy's 50 ms are less than a whole process takes."""
    host = FakeHost.of_two(quirks=Quirks(old=True))
    process = host.start()
    host.map(process, [0] * 20_000)
    mover = mover_of(host, LOCKS)
    mover.measure([process.ref])
    outcome = move(host, [process], mover=mover)
    assert outcome.strategy is Strategy.MOVE_PAGES
    assert process.lock_held_s == 0
    assert "stall" in outcome.strategy_reason


def test_a_whole_process_call_does_not_take_strangers_pages_along() -> None:
    """What the whole-process call must leave, and the task's own shared pages, are seen to afterwards."""
    host = FakeHost.of_two(quirks=Quirks(old=True))
    parent, stranger = host.start(), host.start()
    host.share(stranger, host.map(parent, [0] * 40, backing=Backing.FILE))
    host.map(parent, [0] * 500)
    child = host.fork(parent)
    host.map(child, [0] * 5000)
    policy = Policy(budget=Budget(stall_ms_max=5000, headroom_bytes=0))
    outcome = move(host, [parent, child], mover=mover_of(host, LOCKS), policy=policy)
    assert outcome.strategy is Strategy.MIGRATE_PAGES
    assert dict(outcome.left) == {LeftReason.SHARED: 40 * BASE}
    assert outcome.moved_bytes == 5500 * BASE


def test_our_own_cpuset_is_handed_over() -> None:
    """Widen, move calmly, narrow: the kernel has nothing left to move in its unpaced way."""
    host = FakeHost.of_two()
    process = host.start(on(0))
    host.map(process, [0] * 6000)
    cpuset = host.cpuset("/ours", [process])
    outcome = move(host, [process], mover=mover_of(host, owned="/ours"), cgroup="/ours")
    assert outcome.strategy is Strategy.CPUSET_HANDOVER
    assert cpuset.writes == [on(0, 1), on(1)]
    assert outcome.moved_bytes == 6000 * BASE
    assert process.lock_held_s < 0.003
    assert outcome.new_pages == ""


def test_what_strangers_share_goes_along_when_our_cpuset_is_narrowed() -> None:
    """The kernel takes it: then it is not left, was not moved by us, and the account says how much it was."""
    host = FakeHost.of_two()
    process = host.start(on(0))
    host.map(process, [0] * 6000)
    host.share(host.start(), host.map(process, [0] * 500, backing=Backing.FILE))
    cpuset = host.cpuset("/ours", [process])
    outcome = move(host, [process], mover=mover_of(host, owned="/ours"), cgroup="/ours")
    assert cpuset.writes == [on(0, 1), on(1)]
    assert (outcome.state, outcome.moved_bytes, dict(outcome.left)) == (MoveState.COMPLETED, 6000 * BASE, {})
    assert "the kernel took 2.0 MB more along" in outcome.words


def test_a_cancelled_hand_over_leaves_the_cpuset_wide() -> None:
    """Narrowing it to the old nodes would make the kernel move everything back; the account says that it is wide."""
    host = FakeHost.of_two()
    process = host.start(on(0))
    host.map(process, [0] * 30_000)
    cpuset = host.cpuset("/ours", [process])
    control = Control(cancel_when=lambda: "cancelled: by hand" if host.now_s() > 0.1 else None)
    outcome = move(host, [process], mover=mover_of(host, owned="/ours"), cgroup="/ours", control=control)
    assert outcome.state is MoveState.CANCELLED
    assert cpuset.writes == [on(0, 1)]
    assert "cpuset.mems still allows the old nodes" in outcome.words


def test_what_the_kernel_moved_itself_is_verified_and_finished() -> None:
    """After a write to cpuset.mems the kernel did it; the rest is found and moved."""
    host = FakeHost.of_two()
    process = host.start(on(0))
    region = host.map(process, [0] * 3000)
    host.cpuset("/theirs", [process]).write_mems(on(1))
    host.folios.node[region.folios[:50]] = 0
    host.nodes[NodeId(0)].resident_pages += 50
    host.nodes[NodeId(1)].resident_pages -= 50
    outcome = move(host, [process], cgroup="/theirs")
    assert outcome.strategy is Strategy.VERIFY_AND_FINISH
    assert outcome.moved_bytes == 50 * BASE


def test_a_bound_task_is_told_where_its_new_pages_will_land() -> None:
    """Pages follow, the policy does not: the account says what to change."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 500, policy=MemoryPolicy.BIND, policy_nodes=on(0))
    outcome = move(host, [process])
    assert outcome.moved_bytes == 500 * BASE
    assert "MPOL_BIND" in outcome.new_pages
    assert "numactl --membind=1" in outcome.new_pages


def test_too_few_descriptors_leave_the_rest_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are others' doing as well as ours: what can be opened is located, and nothing fails."""
    host = FakeHost.of_two()
    processes = [host.start() for _ in range(3)]
    for process in processes:
        host.map(process, [0] * 4)
    opened = host.open
    refused = KernelCallError("pidfd_open", errno.EMFILE)

    def scarce(process: ProcessRef, owner: int | None = None) -> FakeProcessMemory:
        if process == processes[1].ref:
            raise refused
        return opened(process, owner)

    monkeypatch.setattr(host, "open", scarce)
    with open_task(host, [process.ref for process in processes]) as (views, denied):
        assert len(views) == 2
        assert denied


def test_a_task_that_nobody_may_look_at_is_denied() -> None:
    """No ptrace access: the order fails with what is missing."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 10)
    process.denied = True
    task = host.task([process])
    outcome = mover_of(host).move(MoveJob(order(on(1), on(0)), task, host.topology()), Control())
    assert outcome.state is MoveState.FAILED
    assert "CAP_SYS_PTRACE" in outcome.words


def test_device_memory_is_not_tried() -> None:
    """A device's mapping is told as unmovable, without asking the kernel."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 64, backing=Backing.DEVICE)
    task = host.task([process])
    outcome = mover_of(host).move(MoveJob(order(on(1), on(0)), task, host.topology()), Control())
    assert dict(outcome.left) == {LeftReason.UNMOVABLE_MAPPING: 64 * BASE}
    assert host.calls == []


def test_others_migrations_are_told_from_ours() -> None:
    """The host's load counts what AutoNUMA and others move, without what we moved."""
    host = FakeHost.of_two()
    process = host.start()
    host.map(process, [0] * 10_000)
    mover = mover_of(host)
    mover.load()
    move(host, [process], mover=mover)
    host.clock.advance(1.0)
    assert mover.load().others_pages_per_s == 0
    host.migrate_all(process, NodeId(1), NodeId(0), shared=True)
    host.clock.advance(1.0)
    assert mover.load().others_pages_per_s == pytest.approx(10_000, rel=0.2)


def test_any_mixture_is_accounted_to_the_byte() -> None:
    """Random jobs, random troubles: every byte away from home is explained, and the residency is the host's."""
    rng = np.random.default_rng(11)
    for _ in range(25):
        host = FakeHost.of_two(128, quirks=Quirks(old=bool(rng.integers(2))))
        host.nodes[NodeId(1)].used_pages = int(rng.integers(0, 30_000))
        processes = [host.start() for _ in range(int(rng.integers(1, 4)))]
        for process in processes:
            nodes = rng.choice([-1, 0, 0, 0, 1], int(rng.integers(1, 4000)))
            region = host.map(process, nodes.tolist(), backing=Backing.FILE if rng.integers(2) else Backing.PRIVATE)
            host.map(process, [0] * int(rng.integers(0, 6)), page_bytes=HUGE)
            present = region.folios[region.folios >= 0]
            host.folios.pinned[rng.choice(present, len(present) // 50)] = True
            host.folios.busy[rng.choice(present, len(present) // 30)] = 1
            if rng.integers(2):
                host.share(host.start(), region)
        if rng.integers(2):
            processes.append(host.fork(processes[0]))
        outcome = move(host, processes, policy=Policy(budget=SMALL, keep_interleave=False))
        check(host, processes, on(1), outcome)
