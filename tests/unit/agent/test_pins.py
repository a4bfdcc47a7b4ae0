"""What is remembered of pages held in place: the page and not its address, for a while, and not without end."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.core.facts import ProcessRef
from node_agent.core.pages import Pages
from node_agent.linux import pins as pins_module
from node_agent.linux.pins import FORGET_S, StuckPages
from numaplace.model.move import LeftReason

BASE = 4096
P, Q = ProcessRef(1, 10), ProcessRef(2, 20)

held = st.dictionaries(st.integers(1, 12), st.integers(1, 3), max_size=8)
"""Pages by number, each with its frame."""


def pages(frames: Mapping[int, int]) -> Pages:
    """Base pages in address order."""
    numbers = sorted(frames)
    return replace(
        Pages.none(),
        addresses=np.array(numbers, np.uint64) * np.uint64(BASE),
        frames=np.array([frames[number] for number in numbers], np.uint64),
        sizes=np.full(len(numbers), BASE, np.int64),
    )


@given(rounds=st.lists(st.tuples(st.sampled_from((P, Q)), held), max_size=6), asked=held)
def test_exactly_what_was_refused_last_is_known(
    rounds: list[tuple[ProcessRef, dict[int, int]]], asked: dict[int, int]
) -> None:
    """Each process's own pages, at the address and with the frame of the last refusal."""
    stuck = StuckPages()
    known: dict[ProcessRef, dict[int, int]] = {P: {}, Q: {}}
    for process, refused in rounds:
        stuck.remember(process, pages(refused), 0.0)
        known[process] |= refused
    for process, by_number in known.items():
        expected = [by_number.get(number) == asked[number] for number in sorted(asked)]
        assert stuck.among(process, pages(asked), FORGET_S).tolist() == expected
        assert stuck.knows([process]) is bool(by_number)


def test_a_page_is_asked_again_after_a_while_even_if_others_were_refused_since() -> None:
    """What is found held later does not keep what was found first remembered for good."""
    stuck = StuckPages()
    stuck.remember(P, pages({1: 1}), 0.0)
    stuck.remember(P, pages({2: 2}), FORGET_S)
    assert stuck.among(P, pages({1: 1, 2: 2}), FORGET_S).all()
    assert not stuck.among(P, pages({1: 1, 2: 2}), FORGET_S + 1).any()
    assert not stuck.knows([P])


def test_nothing_is_remembered_of_nothing() -> None:
    """No page refused is no memory of the process."""
    stuck = StuckPages()
    stuck.remember(P, pages({}), 0.0)
    assert not stuck.knows([P, Q])
    assert stuck.left([P], 0.0) == {}


def test_memory_is_bounded_oldest_process_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose every page is registered costs no more than that."""
    monkeypatch.setattr(pins_module, "PAGES_MAX", 5)
    stuck = StuckPages()
    for pid in range(1, 5):
        stuck.remember(ProcessRef(pid, 1), pages({1: pid, 2: pid}), 0.0)
    assert [stuck.knows([ProcessRef(pid, 1)]) for pid in range(1, 5)] == [False, False, True, True]


def test_what_a_task_left_is_known_by_any_of_its_processes_until_it_is_asked_again() -> None:
    """A task that forked, or lost a process, is the same one; a move that left nothing ends it."""
    stuck = StuckPages()
    left = {LeftReason.PINNED: 3 * BASE}
    stuck.settle([P, Q], left, 5.0)
    assert stuck.left([Q, ProcessRef(3, 30)], 5.0 + FORGET_S) == left
    assert stuck.left([ProcessRef(3, 30)], 5.0) == {}
    assert stuck.left([P], 6.0 + FORGET_S) == {}
    stuck.settle([P, Q], {}, 7.0)
    assert stuck.left([P, Q], 8.0) == {}
