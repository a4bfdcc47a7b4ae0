"""Which pages go where, and what a call's answer means."""

import errno

import numpy as np

from node_agent.core.batches import (
    UNWRITTEN,
    Verdict,
    assign_targets,
    failing_run,
    judge,
    known,
    looks_interleaved,
)
from node_agent.core.pages import Ints
from numaplace.model.ids import NodeId
from numaplace.model.route import Share

ONE = NodeId(1)


def ints(*values: int) -> Ints:
    """An array of the kernel's ints."""
    return np.array(values, np.int32)


def verdicts(*expected: Verdict) -> list[int]:
    """What a judgement is compared with."""
    return [int(v) for v in expected]


def test_a_call_that_returned_zero_is_believed() -> None:
    """Each page's status is its node or a reason."""
    status = ints(1, -errno.EACCES, -errno.EBUSY, -errno.ENOENT, -errno.EFAULT, 0)
    assert judge(status, ONE, None).tolist() == verdicts(
        Verdict.MOVED, Verdict.SHARED, Verdict.BUSY, Verdict.GONE, Verdict.GONE, Verdict.REFUSED
    )


def test_the_last_run_failed_if_nothing_is_written_after_it() -> None:
    """4096 pages of which some are pinned: the status is untouched, and those that stayed were tried."""
    status = np.full(6, UNWRITTEN, np.int32)
    assert judge(status, ONE, ints(1, 1, 0, 1, 0, 1)).tolist() == verdicts(
        Verdict.MOVED, Verdict.MOVED, Verdict.REFUSED, Verdict.MOVED, Verdict.REFUSED, Verdict.MOVED
    )


def test_pages_after_the_failing_run_were_never_tried() -> None:
    """An entry that could not be queued flushed the run before it, which failed; the call ended there."""
    status = ints(UNWRITTEN, UNWRITTEN, -errno.ENOENT, UNWRITTEN, UNWRITTEN)
    assert failing_run(status).tolist() == [True, True, False, False, False]
    assert judge(status, ONE, ints(1, 0, -errno.ENOENT, 0, 0)).tolist() == verdicts(
        Verdict.MOVED, Verdict.REFUSED, Verdict.GONE, Verdict.UNTRIED, Verdict.UNTRIED
    )


def test_what_the_call_said_of_a_page_is_kept() -> None:
    """A query says only where a page is; that it is shared or busy the call itself had said."""
    status = ints(-errno.EACCES, UNWRITTEN, -errno.EBUSY, UNWRITTEN)
    now = ints(0, 0, 0, 0)
    assert judge(status, ONE, now).tolist() == verdicts(Verdict.SHARED, Verdict.REFUSED, Verdict.BUSY, Verdict.UNTRIED)


def test_what_a_query_finds_is_not_gone() -> None:
    """A page that was absent for the call and is found afterwards, in its old place, is asked for once more."""
    status, now = ints(-errno.ENOENT, -errno.EFAULT, UNWRITTEN), ints(0, 0, 1)
    assert judge(status, ONE, now).tolist() == verdicts(Verdict.UNTRIED, Verdict.UNTRIED, Verdict.MOVED)


def test_shares_become_runs() -> None:
    """A source's pages for two targets are two runs, by bytes: never a page here and a page there."""
    routes = {NodeId(0): (Share(NodeId(1), 0.25), Share(NodeId(2), 0.75))}
    targets = assign_targets(np.zeros(100, np.int32), np.full(100, 4096, np.int64), routes)
    assert targets.tolist() == [1] * 25 + [2] * 75


def test_no_route_is_no_target() -> None:
    """A source that no route leads away from stays."""
    assert assign_targets(ints(3, 0), np.array([4096, 4096]), {NodeId(0): (Share(ONE, 1.0),)}).tolist() == [-1, 1]


def test_interleaving_is_told_from_what_moves_leave() -> None:
    """Neighbours on different nodes nearly always; a half-done move has two long runs."""
    assert looks_interleaved(np.tile(ints(0, 1), 50))
    assert looks_interleaved(np.tile(ints(0, 0, 1), 50))
    assert not looks_interleaved(np.repeat(ints(0, 1), 50))
    assert not looks_interleaved(ints(0, 1, 0, 1))


def test_remembered_addresses_are_found() -> None:
    """By binary search in a sorted list, which may be empty."""
    remembered = np.array([10, 20, 30], np.uint64)
    assert known(np.array([5, 20, 31, 30], np.uint64), remembered).tolist() == [False, True, False, True]
    assert not known(np.array([5], np.uint64), remembered[:0]).any()
