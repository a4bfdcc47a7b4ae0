"""The threads that call: never more at once than a move may have, nobody starved, every answer given."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from typing import cast

import numpy as np
import pytest

from node_agent.core.pages import Run
from node_agent.core.strategy import ANYWHERE, Place
from node_agent.linux import crew as crew_module
from node_agent.linux.calls import Answer
from node_agent.linux.crew import THREADS_MAX, Crew, Hands
from node_agent.linux.memory import HostMemory, ProcessMemory
from numaplace.model.ids import CpuId, Cpus

WITHIN_S = 60.0
HERE = frozenset({CpuId(3)})
NO_VERDICTS = np.empty(0, np.int8)


class Host:
    """A host where threads may call at once; ``queued_s`` is what each call waits for a CPU."""

    concurrent = True

    def __init__(self) -> None:
        self.places: list[Cpus] = []
        self.queued_s = 0.0
        self._waited = threading.local()

    def run_on(self, cpus: Cpus) -> None:
        """Where a thread went."""
        self.places.append(cpus)

    def own_delay_s(self) -> float:
        """More at each question."""
        self._waited.s = getattr(self._waited, "s", 0.0) + self.queued_s
        return cast("float", self._waited.s)


class Kernel:
    """Calls of a second each that end when they are let; ``called`` are those that began, in order."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.begun, self.gate = threading.Semaphore(0), threading.Semaphore(0)
        self.at_once = self.at_once_max = 0
        self._lock = threading.Lock()

    def call(self, host: HostMemory, memory: ProcessMemory, run: Run) -> Answer:
        """A call; runs are names here."""
        del host, memory
        with self._lock:
            self.called.append(str(run))
            self.at_once += 1
            self.at_once_max = max(self.at_once_max, self.at_once)
        self.begun.release()
        assert self.gate.acquire(timeout=WITHIN_S)
        with self._lock:
            self.at_once -= 1
        if "fails" in str(run):
            raise MemoryError(str(run))
        return Answer(run, NO_VERDICTS, 0.0, 1.0)

    def let(self, calls: int) -> None:
        """So many may end."""
        self.gate.release(calls)

    def wait_begun(self, calls: int) -> None:
        """Until so many more have begun."""
        for _ in range(calls):
            assert self.begun.acquire(timeout=WITHIN_S)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """What the crew calls."""
    made = Kernel()
    monkeypatch.setattr(crew_module, "call", made.call)
    return made


@pytest.fixture
def host() -> Host:
    """Where they run."""
    return Host()


@pytest.fixture
def crew(host: Host, kernel: Kernel) -> Iterator[Crew]:
    """Its threads end with the test."""
    made = Crew(cast("HostMemory", host), lambda: None)
    yield made
    kernel.let(1000)
    made.close()


def ask(hands: Hands, name: str) -> Future[Answer]:
    """A call by this name."""
    return hands.call(cast("ProcessMemory", None), cast("Run", name))


def test_a_move_has_its_threads_and_no_more_and_calls_go_in_order(crew: Crew, kernel: Kernel) -> None:
    """What waits is taken up as soon as a thread is free."""
    hands = crew.hands(Place(), 2)
    answers = [ask(hands, f"call {number}") for number in range(6)]
    kernel.wait_begun(2)
    assert not kernel.begun.acquire(timeout=0.05)
    kernel.let(6)
    assert [str(answer.result(WITHIN_S).run) for answer in answers] == [f"call {number}" for number in range(6)]
    assert kernel.at_once_max == 2
    assert sorted(kernel.called) == [f"call {number}" for number in range(6)]


def test_a_call_that_was_called_back_is_never_made(crew: Crew, kernel: Kernel) -> None:
    """The one in the kernel ends as it will; those behind the one called back are made."""
    hands = crew.hands(Place(), 1)
    first, second, third = (ask(hands, name) for name in ("first", "second", "third"))
    kernel.wait_begun(1)
    assert not first.cancel()
    assert second.cancel()
    kernel.let(2)
    assert first.result(WITHIN_S)
    assert third.result(WITHIN_S)
    with pytest.raises(CancelledError):
        second.result(WITHIN_S)
    assert kernel.called == ["first", "third"]


def test_a_fault_reaches_who_asked_and_nobody_else(crew: Crew, kernel: Kernel) -> None:
    """The thread goes on with the next call."""
    hands = crew.hands(Place(), 1)
    bad, good = ask(hands, "fails"), ask(hands, "good")
    kernel.let(2)
    with pytest.raises(MemoryError):
        bad.result(WITHIN_S)
    assert good.result(WITHIN_S)


def test_a_thread_that_cannot_be_made_known_says_so_and_tries_again(host: Host, kernel: Kernel) -> None:
    """One failure must not break the crew for the moves to come."""
    failures = [MemoryError("no memory")]

    def enrol() -> None:
        if failures:
            raise failures.pop()

    crew = Crew(cast("HostMemory", host), enrol)
    hands = crew.hands(Place(), 1)
    kernel.let(2)
    with pytest.raises(MemoryError):
        ask(hands, "first").result(WITHIN_S)
    assert ask(hands, "second").result(WITHIN_S)
    crew.close()


def test_many_moves_share_the_threads(crew: Crew, kernel: Kernel) -> None:
    """More moves than threads: each call ends a turn, so a move that came late has its own in between."""
    busy = [crew.hands(Place(), 4) for _ in range(THREADS_MAX // 4)]
    for number, hands in enumerate(busy):
        for call in range(8):
            ask(hands, f"busy {number} {call}")
    kernel.wait_begun(THREADS_MAX)
    late = ask(crew.hands(Place(), 4), "late")
    kernel.let(1)
    kernel.wait_begun(1)
    assert kernel.called[-1] == "late"
    kernel.let(1000)
    assert late.result(WITHIN_S)


def test_a_crowded_place_is_given_up_for_the_rest_of_the_move(crew: Crew, kernel: Kernel, host: Host) -> None:
    """And only for this move: the next one begins where it wants to."""
    hands = crew.hands(Place(HERE, queued_share_max=0.2), 1)
    kernel.let(10)
    ask(hands, "free").result(WITHIN_S)
    host.queued_s = 0.5
    ask(hands, "crowded").result(WITHIN_S)
    ask(hands, "elsewhere").result(WITHIN_S)
    assert host.places == [HERE, ANYWHERE]
    ask(crew.hands(Place(HERE, queued_share_max=0.9), 1), "another move").result(WITHIN_S)
    assert host.places == [HERE, ANYWHERE, HERE]


def test_without_a_thread_the_call_fails_and_leaves_nothing_behind(crew: Crew, kernel: Kernel) -> None:
    """Whoever waits behind it would wait for ever."""
    hands = crew.hands(Place(), 1)
    crew.close()
    for _ in range(2):
        with pytest.raises(RuntimeError):
            ask(hands, "too late")
    assert kernel.called == []
