"""The probe: what it concludes from a child's answers, and that no child keeps it, or the agent, waiting."""

import io
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from node_agent.core.facts import ProcessRef
from node_agent.core.pages import Pages, Region
from node_agent.core.strategy import KernelTraits
from node_agent.linux import probe as probe_module
from node_agent.linux.probe import BATCH_PAGES, PROBE_BYTES, ROUNDS, THREADS_TRIED, TraitsProbe, probe
from numaplace.model.ids import NodeId
from numaplace.model.residency import Backing
from tests.fakes.kernel import BASE, HUGE

NODES = (NodeId(0), NodeId(1))
CALL_S = 0.1
AREA = 1 << 30
"""Where the child's memory is."""


class FakeMemory:
    """A child's memory; a whole-process call takes its time, a batch takes more where several threads call at once."""

    def __init__(self, host: "ProbedHost") -> None:
        self._host = host

    def regions(self) -> Sequence[Region]:
        """The area and a huge one, and two that are larger: a library, and what malloc has set aside for a thread."""
        library = Region(1 << 40, (1 << 40) + 2 * PROBE_BYTES, Backing.FILE, name="/lib/libc.so")
        arena = Region(1 << 35, (1 << 35) + 4 * PROBE_BYTES, Backing.PRIVATE)
        huge = Region(1 << 32, (1 << 32) + 2 * HUGE, Backing.PRIVATE)
        return [library, Region(AREA, AREA + PROBE_BYTES, Backing.PRIVATE), huge, arena]

    def pages(self, start: int, end: int) -> Pages:
        """Base pages in the area, huge ones in the huge one, and one page in what is set aside."""
        size = HUGE if end - start == 2 * HUGE else BASE
        addresses = np.arange(start, end if end - start <= PROBE_BYTES else start + BASE, size, dtype=np.uint64)
        count = len(addresses)
        nothing = np.zeros(count, np.uint8)
        sizes = np.full(count, size, np.int64)
        return Pages(addresses, np.zeros(count, np.int32), sizes, nothing, np.zeros(count, np.uint64), nothing)

    def migrate(self, source: NodeId, target: NodeId) -> int:
        """A whole-process call."""
        assert {source, target} == set(NODES)
        self._host.time_s += CALL_S
        return 0

    def move(self, addresses: Any, nodes: Any, *_: object, **__: object) -> int:  # noqa: ANN401 - arrays
        """A batch: one thread takes pages to node 0, several to node 1."""
        assert all(AREA <= int(a) < AREA + PROBE_BYTES for a in addresses[:1]) or len(addresses) == 2
        with self._host.lock:
            self._host.time_s += 0.001 * (self._host.several_cost if nodes[0] else 1.0)
        return 0

    def close(self) -> None:
        """Nothing is held."""


class ProbedHost:
    """A host whose clock only calls move."""

    base_bytes = 4096

    def __init__(self, several_cost: float = 0.4) -> None:
        self.time_s = 0.0
        self.several_cost = several_cost
        self.lock = threading.Lock()
        self.opened: list[ProcessRef] = []

    def now_s(self) -> float:
        """The clock."""
        return self.time_s

    def open(self, process: ProcessRef) -> FakeMemory:
        """A child's memory."""
        self.opened.append(process)
        return FakeMemory(self)


def host(**told: float) -> Any:  # noqa: ANN401 - stands in for a HostMemory, of which the probe asks little
    """A host to probe."""
    return ProbedHost(**told)


def found(shares: Sequence[float], monkeypatch: pytest.MonkeyPatch, several_cost: float = 0.4) -> KernelTraits:
    """What is concluded if the child's longest waits were these shares of the calls."""
    monkeypatch.setattr("os.cpu_count", lambda: 8)

    def answers() -> Iterator[str]:
        for share in shares:
            yield "123\n"  # of the time before the call
            yield f"{int(share * CALL_S * 1e9)}\n"
        yield "123\n"  # once it has mapped huge pages

    on = host(several_cost=several_cost)
    heard = io.StringIO("".join(answers()))
    return probe_module._Probing(on, on.open(ProcessRef(1, 1)), (io.StringIO(), heard), NODES).traits()


@pytest.mark.parametrize(
    ("shares", "holds"), [([1, 1, 1], True), ([0.01, 0.02, 0.01], False), ([1, 0.01, 0.9], True), ([1, 0.1, 0], False)]
)
def test_the_lock_is_judged_by_most_of_the_calls(
    shares: list[float], monkeypatch: pytest.MonkeyPatch, *, holds: bool
) -> None:
    """A CPU that somebody else had makes one call look otherwise, not most of them."""
    assert len(shares) == ROUNDS
    traits = found(shares, monkeypatch)
    assert traits.migrate_holds_lock is holds
    assert traits.migrate_bytes_per_s == pytest.approx(PROBE_BYTES / CALL_S)


@pytest.mark.parametrize(
    ("share", "several_cost", "threads"),
    [(0, 1.8, THREADS_TRIED), (0, 2.2, 1), (1, 0.6, THREADS_TRIED), (1, 0.8, 1)],
)
def test_threads_must_gain_where_the_lock_is_held_and_else_not_lose(
    share: float, several_cost: float, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an old kernel several threads are dear; on a new one they pay unless the CPUs were taken."""
    assert found([share] * ROUNDS, monkeypatch, several_cost).threads_pay == threads


def test_slow_batches_are_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow host a round tells as much as three, and the probe is not to be felt for long."""
    tried: list[int] = []
    move = probe_module._Probing._move

    def counted(probing: Any, target: NodeId, threads: int) -> float:  # noqa: ANN401 - the class is not public
        tried.append(threads)
        return move(probing, target, threads)

    monkeypatch.setattr(probe_module._Probing, "_move", counted)
    for seconds, rounds in ((0.001, 1), (1000.0, ROUNDS)):
        monkeypatch.setattr(probe_module, "ROUNDS_S_MAX", seconds)
        tried.clear()
        assert found([0] * ROUNDS, monkeypatch).threads_pay == THREADS_TRIED
        assert tried == [1, *[1, THREADS_TRIED] * rounds]


def test_speeds_are_those_of_one_of_the_threads_that_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Base pages by as many threads as pay, a thousandth of a second a call; two huge pages in one call."""
    batches = PROBE_BYTES // BASE // BATCH_PAGES
    one = found([0] * ROUNDS, monkeypatch, several_cost=2.2)
    assert one.base_bytes_per_s == pytest.approx(PROBE_BYTES / (batches * 0.001))
    several = found([0] * ROUNDS, monkeypatch, several_cost=0.4)
    assert several.base_bytes_per_s == pytest.approx(PROBE_BYTES / (batches * 0.0004) / THREADS_TRIED)
    assert several.huge_bytes_per_s == pytest.approx(2 * HUGE / 0.0004)


@pytest.mark.parametrize("answer", ["", "12", "9" * 100 + "\n", "many\n"])
def test_an_answer_that_is_none_ends_the_probe(answer: str) -> None:
    """Cut, overlong, or no number."""
    on = host()
    probing = probe_module._Probing(on, on.open(ProcessRef(1, 1)), (io.StringIO(), io.StringIO(answer)), NODES)
    with pytest.raises(ValueError, match=r"child|invalid"):
        probing.traits()


def test_a_real_child_answers() -> None:
    """The child's own words are understood, and it is asked about under its own identity."""
    on = host()
    traits = probe(on, NODES)
    assert traits.migrate_bytes_per_s == pytest.approx(PROBE_BYTES / CALL_S)
    assert len(on.opened) == 1


@pytest.mark.parametrize(
    "child",
    [
        "import time; time.sleep(1000)",
        "import time; print('ready', flush=True); time.sleep(1000)",
        "import sys; sys.stdout.write('x' * 1000000); sys.stdout.flush()",
        "print('ready')",
        "",
    ],
)
def test_no_child_keeps_the_probe(child: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent, endless or dead: the probe ends, and says what it lacks."""
    monkeypatch.setattr(probe_module, "_CHILD", child)
    monkeypatch.setattr(probe_module, "CHILD_S_MAX", 0.3)
    with pytest.raises((ValueError, OSError)):
        probe(host(), NODES)


def test_who_starts_the_agent_does_not_wait_for_a_slow_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The careful assumption holds until the probe is done; a failed one keeps it, with the reason."""
    let_go = threading.Event()

    def slow(*_: object) -> KernelTraits:
        let_go.wait(60)
        raise ValueError("in vain")

    monkeypatch.setattr(probe_module, "probe", slow)
    probing = TraitsProbe(host(), NODES)
    probing.start()
    assert probing.wait(0.01) == probing.traits() == KernelTraits()
    assert probing.failure is None
    let_go.set()
    assert probing.wait(60) == KernelTraits()
    assert probing.failure == "in vain"


def test_one_node_is_not_probed() -> None:
    """There is nothing to take pages to."""
    probing = TraitsProbe(host(), NODES[:1])
    probing.start()
    assert probing.wait(60) == KernelTraits()
