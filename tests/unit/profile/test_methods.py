"""How votes come of what the kernel told, when rounds begin, and which method is chosen."""

import os
import subprocess
import sys
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace.kernel.errors import ProcessGone
from numaplace.kernel.pagemap import PAGE_BYTES
from numaplace.kernel.procfs import ProcessId
from numaplace.model.ids import CpuId, NodeId, Nodes
from numaplace.model.topology import Node, Topology
from numaplace.profile import choose
from numaplace.profile.faults import COST_SHARE, FAULT_S, ROUND_S_MIN, FaultMethod, Faults, Rounds
from numaplace.profile.method import Progress, Usage
from numaplace.profile.one_home import OneHome, Regions, spread
from numaplace.profile.resident import _common, present_pages, written_pages
from numaplace.profile.target import Target, read_target
from numaplace.profile.tracing import Watch, ending_early

TOPOLOGY = Topology(
    tuple(Node(NodeId(n), frozenset({CpuId(2 * n), CpuId(2 * n + 1)}), 1 << 30, {NodeId(1 - n): 20}) for n in (0, 1))
)
FIRST, BOTH = frozenset({NodeId(0)}), frozenset({NodeId(0), NodeId(1)})


def target(home: Nodes) -> Target:
    """A process with this home."""
    return Target(ProcessId(4711, 1), "work", frozenset({4711}), TOPOLOGY, home)


def fault(cpu: int, address: int) -> bytes:
    """A line of the trace."""
    return b"%16s-4711     [%03d] d....    21.224907: page_fault_user: address=0x%x ip=0x1 error_code=0x7" % (
        b"work",
        cpu,
        address,
    )


def test_each_fault_is_a_vote_for_the_node_of_its_cpu() -> None:
    """By page; what came from an unknown CPU, or hit a kernel address, is none; what was lost is told."""
    faults = Faults(TOPOLOGY.memory_of_cpu)
    page = 7 * PAGE_BYTES
    faults.take([fault(0, page), fault(1, page + 9), fault(3, page), fault(9, page), fault(0, 1 << 63)])
    faults.take([b"CPU:1 [LOST 12 EVENTS]", b"?"])
    assert faults.votes == {(page, 0): 2.0, (page, 1): 1.0}
    assert faults.remarks() == [
        "5 faults seen",
        "12 faults came too fast to be read",
        "1 lines of the trace were not understood",
    ]


class BusyTrace:
    """A trace on a host where somebody faults at each step: it records from its start, and whomever it was not told."""

    def __init__(self) -> None:
        self._recording, self._threads = True, frozenset[int]()
        self._lines: list[bytes] = []

    def _somebody_faults(self) -> None:
        if self._recording:
            own = bool(self._threads)
            self._lines.append(fault(0, PAGE_BYTES if own else 9 * PAGE_BYTES))

    def enable(self, event: str) -> None:
        """From now on."""
        assert event
        self._somebody_faults()

    def only_threads(self, tids: list[int]) -> None:
        """The list before goes first."""
        self._threads = frozenset()
        self._somebody_faults()
        self._threads = frozenset(tids)

    def record(self, *, on: bool) -> None:
        """Or not."""
        self._recording = on
        self._somebody_faults()

    def read_lines(self) -> list[bytes]:
        """All of them."""
        lines, self._lines = self._lines, []
        return lines


def test_only_the_process_votes_even_while_its_trace_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the host faults before the kernel knows whose faults are wanted is not taken for the process's."""
    monkeypatch.setattr("numaplace.profile.faults.instance", lambda _cpus: nullcontext(BusyTrace()))
    usage = FaultMethod(rounds=False).run(target(BOTH), 0.0, lambda _part, _words: None)
    assert usage.votes == {(PAGE_BYTES, NodeId(0)): 1.0}


@given(
    st.lists(st.tuples(st.floats(0, 0.5), st.lists(st.integers(0, 100_000), max_size=4)), min_size=1, max_size=10),
)
def test_rounds_cost_no_more_than_their_share(rounds_seen: list[tuple[float, list[int]]]) -> None:
    """However long the passes and however many faults: up to the next round their cost is the agreed share at most."""
    rounds, now_s = Rounds(), 0.0
    for halt_s, faults in rounds_seen:
        assert now_s >= rounds.next_s
        rounds.began(now_s, halt_s)
        for number in faults:
            rounds.saw(number)
        length_s = rounds.next_s - now_s
        assert length_s >= ROUND_S_MIN * 0.999
        assert halt_s + FAULT_S * sum(faults) <= COST_SHARE * length_s * 1.001
        now_s = rounds.next_s
    assert rounds.number == len(rounds_seen)
    assert rounds.halt_s_max == max(halt_s for halt_s, _ in rounds_seen)


ranges = st.tuples(st.integers(1, 40), st.integers(1, 10), st.integers(0, 5)).map(
    lambda r: (r[0] * PAGE_BYTES, (r[0] + r[1]) * PAGE_BYTES, r[2])
)


@given(st.lists(ranges, max_size=20), st.sets(st.integers(0, 60)))
def test_regions_are_summed_where_they_overlap(seen: list[tuple[int, int, int]], there: set[int]) -> None:
    """Each page that is there weighs the sum of all regions that held it; none of no weight is told."""
    regions = Regions()
    line = "%16s-231     [003] .....    31.000907: damon_aggregated: target_id=0 nr_regions=11 %d-%d: %d 17"
    regions.take([(line % ("kdamond.0", *region)).encode() for region in seen])
    votes = spread(regions.summed(), [(page * PAGE_BYTES, 0) for page in sorted(there)], NodeId(1))
    expected = {
        (page * PAGE_BYTES, 1): sum(weight for start, end, weight in seen if start <= page * PAGE_BYTES < end)
        for page in there
    }
    assert votes == {vote: weight for vote, weight in expected.items() if weight}


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_common_ranges_are_what_is_in_both(mapped: set[int], wanted: set[int]) -> None:
    """Page by page."""
    as_ranges = [[(p * PAGE_BYTES, (p + 1) * PAGE_BYTES) for p in sorted(pages)] for pages in (mapped, wanted)]
    found = list(_common(as_ranges[0], as_ranges[1]))
    assert {p // PAGE_BYTES for start, end in found for p in range(start, end, PAGE_BYTES)} == mapped & wanted
    assert found == sorted(found)


def test_what_sees_no_who_fits_a_process_with_one_home_only() -> None:
    """With several, or none, the refusal names what would do."""
    assert OneHome.unfit(target(FIRST)) is None
    assert "(0-1): use write-faults" in str(OneHome.unfit(target(BOTH)))
    assert "(none): use write-faults" in str(OneHome.unfit(target(frozenset())))


class FakeMethod:
    """A method that is there or not."""

    def __init__(self, name: str, lacking: str | None) -> None:
        self.name = name
        self.tells = f"what {name} tells"
        self._lacking = lacking

    def missing(self) -> str | None:
        """As told."""
        return self._lacking

    def unfit(self, target: Target) -> str | None:
        """Never."""
        del target
        return None

    def run(self, target: Target, seconds: float, progress: Progress) -> Usage:
        """Not in these tests."""
        raise NotImplementedError


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """What each method lacks; nothing at first."""
    found: dict[str, str | None] = dict.fromkeys(choose.METHODS)

    class Looked(FakeMethod):
        def missing(self) -> str | None:
            return found[self.name]

    monkeypatch.setattr(choose, "METHODS", {name: Looked(name, None) for name in choose.METHODS})
    return found


def chosen(home: Nodes) -> tuple[str, str]:
    """The chosen method's name, and why; or nothing, and why not."""
    best = choose.choose(target(home))
    return ("", best) if isinstance(best, str) else (best.method.name, best.reason)


def test_with_several_homes_only_what_sees_who_is_chosen(lacking: dict[str, str | None]) -> None:
    """Write faults, else AutoNUMA's, else none, however much else there is; with the reasons."""
    assert chosen(BOTH) == ("write-faults", "its CPUs are on several nodes; it tells what write-faults tells")
    lacking["write-faults"] = "no tracefs"
    name, why = chosen(BOTH)
    assert name == "hint-faults"
    assert why.endswith("; no write-faults: no tracefs")
    lacking["hint-faults"] = "AutoNUMA is off"
    assert chosen(BOTH) == (
        "",
        "no method can profile here: no write-faults: no tracefs; no hint-faults: AutoNUMA is off",
    )


def test_with_one_home_what_sees_reads_comes_first(lacking: dict[str, str | None]) -> None:
    """DAMON and idle tracking before writes, and those before nothing."""
    for name in ("damon", "idle", "write-faults", "written", "hint-faults"):
        assert chosen(FIRST)[0] == name
        lacking[name] = "gone"
    assert chosen(FIRST)[0] == ""


def test_a_process_and_its_threads_are_read() -> None:
    """This very process: its threads, and a home on this host; one that is gone is told as such."""
    found = read_target(os.getpid())
    assert os.getpid() in found.threads
    assert found.home <= found.topology.with_memory
    assert found.place.pid == os.getpid()
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    with pytest.raises(ProcessGone):
        read_target(child.pid)


def test_pages_of_this_process_are_found_present_and_written() -> None:
    """What was written is present, within the ranges asked for; a written page is one of the present."""
    present = [page for page, _ in present_pages(os.getpid())]
    assert present == sorted(set(present))
    some = present[len(present) // 2]
    assert [page for page, _ in present_pages(os.getpid(), [(some, some + PAGE_BYTES)])] == [some]
    assert next(written_pages(os.getpid()), some) % PAGE_BYTES == 0


def test_an_end_before_the_time_keeps_what_was_seen() -> None:
    """Ctrl-C and the process's end are told, other failures are not held back."""
    usage = Usage({(0, NodeId(0)): 1.0})
    with ending_early(usage, 4711):
        raise KeyboardInterrupt
    assert usage.ended_early == "interrupted"
    with ending_early(usage, 4711):
        raise ProcessGone("reading pagemap", 3, 4711)
    assert usage.ended_early == "process 4711 has ended"
    with pytest.raises(ZeroDivisionError), ending_early(usage, 4711):
        raise ZeroDivisionError


def test_a_watch_ends_when_its_time_is_over() -> None:
    """It sleeps no longer than that either."""
    turns = 0
    for watch in Watch(0.05).turns():
        watch.sleep(60)
        turns += 1
        assert watch.part <= 1.0
    assert turns >= 1
