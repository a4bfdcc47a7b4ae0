"""Hand-overs carried out on files that keep what is written: the end, and the state in which each fault leaves them."""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from numaplace.cli.handover import NEXT_TO_NOTHING_BYTES, Commands, Handed, State, hand_over
from numaplace.cli.interrupts import Interrupts
from numaplace.cli.moving import Lost, Moved
from numaplace.client import NotAllowed, NotNow
from numaplace.kernel.errors import Denied, KernelCallError
from numaplace.model.hand import Transfer
from numaplace.model.handover import (
    Attach,
    Cpuset,
    Handover,
    Write,
    WriteCpus,
    WriteMems,
    plan_attach,
    plan_cpus,
    plan_mems,
)
from numaplace.model.ids import CpuId, Cpus, MoveId, Nodes, TaskId
from numaplace.model.move import LeftReason, MoveOutcome, MoveState
from tests.fakes import samples
from tests.fakes.samples import nodes

COMMANDS = Commands("move on", "move back")
OUTCOME = MoveOutcome(MoveId("hand-1"), TaskId("cgroup:/a"), MoveState.COMPLETED, "moved 9 MB", moved_bytes=9 << 20)


@dataclass
class FakeFiles:
    """Cpusets in memory; ``fails`` are the writes (by position) that the kernel refuses."""

    held: dict[str, Nodes]
    fails: dict[int, KernelCallError] = field(default_factory=dict)
    written: list[Write] = field(default_factory=list)
    attempts: int = 0
    held_cpus: dict[str, Cpus] = field(default_factory=dict)

    def mems(self, path: str) -> Nodes:
        """What was written."""
        return self.held[path]

    def cpus(self, path: str) -> Cpus:
        """The same of CPUs."""
        return self.held_cpus[path]

    def write(self, write: Write) -> None:
        """Keep it."""
        self.attempts += 1
        if self.attempts in self.fails:
            raise self.fails[self.attempts]
        self.written.append(write)
        if isinstance(write, WriteMems):
            self.held[write.path] = write.mems
        if isinstance(write, WriteCpus):
            self.held_cpus[write.path] = write.cpus

    def as_shell(self, write: Write) -> str:
        """Short words for it."""
        match write:
            case WriteMems():
                return f"mems {sorted(write.mems)} {write.path}"
            case WriteCpus():
                return f"cpus {sorted(write.cpus)} {write.path}"
            case Attach():
                return f"attach {write.pid} {write.path}"


def cpuset(path: str, mems: Nodes) -> Cpuset:
    """A cpuset whose words hold."""
    return Cpuset(path, frozenset(samples.HOST.by_id[samples.N0].cpus), mems, frozenset({0}), mems, nodes(0, 1))  # type: ignore[arg-type]  # a CPU's number


def plan_of_mems() -> Handover:
    """From node 0 to node 1."""
    plan = plan_mems(cpuset("/a", nodes(0)), nodes(1), ())
    assert isinstance(plan, Handover)
    return plan


def plan_of_attach() -> Handover:
    """From /a on node 0 to /b on node 1."""
    plan = plan_attach(7, cpuset("/a", nodes(0)), cpuset("/b", nodes(1)), samples.HOST)
    assert isinstance(plan, Handover)
    return plan


def run(
    plan: Handover,
    files: FakeFiles,
    move: Callable[[Transfer], Moved] = lambda _: Moved(OUTCOME),
    interrupts: Interrupts | None = None,
    *,
    gone: bool = False,
) -> Handed:
    """Carry it out."""
    return hand_over(plan, files, move, interrupts or Interrupts(), commands=COMMANDS, gone=lambda: gone)


def test_it_is_done_in_the_order_of_the_plan() -> None:
    """Wide while the pages move, and as asked in the end."""
    files = FakeFiles({"/a": nodes(0)})
    seen: list[Nodes] = []

    def move(_: Transfer) -> Moved:
        seen.append(files.held["/a"])
        return Moved(OUTCOME)

    handed = run(plan_of_mems(), files, move)
    assert (handed.state, handed.words, handed.finish, handed.undo) == (State.DONE, "", (), ())
    assert seen == [nodes(0, 1)]
    assert files.held["/a"] == nodes(1)


def test_a_write_that_is_refused_takes_back_those_before_it() -> None:
    """The attach fails after the widening: the cpuset is as it was, and nothing was moved."""
    files = FakeFiles({"/a": nodes(0), "/b": nodes(1)}, {2: Denied("attaching", errno.EACCES)})
    handed = run(plan_of_attach(), files, lambda _: pytest.fail("no page may move"))
    assert handed.state is State.UNDONE
    assert "run it as root" in handed.words
    assert handed.words.endswith("all is as it was")
    assert files.held["/b"] == nodes(1)


@pytest.mark.parametrize("state", [MoveState.CANCELLED, MoveState.FAILED, MoveState.REFUSED])
def test_where_nothing_moved_all_is_put_back(state: MoveState) -> None:
    """The process goes back to its old cpuset before the new one is narrowed: the kernel moves nothing."""
    files = FakeFiles({"/a": nodes(0), "/b": nodes(1)})
    ended = replace(OUTCOME, state=state, moved_bytes=0, words="why")
    handed = run(plan_of_attach(), files, lambda _: Moved(ended))
    assert (handed.state, handed.words) == (State.UNDONE, "why; all is as it was")
    assert files.written[-2:] == list(plan_of_attach().undo)


def test_a_move_that_did_not_begin_is_put_back() -> None:
    """Not allowed, or the agent is not there."""

    def move(_: Transfer) -> Moved:
        raise NotAllowed("some of its processes belong to another user")

    files = FakeFiles({"/a": nodes(0)})
    handed = run(plan_of_mems(), files, move)
    assert (handed.state, files.held["/a"]) == (State.UNDONE, nodes(0))
    assert "another user" in handed.words


@pytest.mark.parametrize(
    "ended",
    [
        replace(OUTCOME, state=MoveState.CANCELLED, words="cancelled; moved 9 MB"),
        replace(OUTCOME, state=MoveState.PARTIAL, left={LeftReason.TARGET_FULL: NEXT_TO_NOTHING_BYTES + 1}),
    ],
)
def test_where_some_moved_the_nodes_stay_wide_and_both_ways_are_named(ended: MoveOutcome) -> None:
    """No task is without nodes, the kernel is not made to move the rest at once, and the user has the commands."""
    files = FakeFiles({"/a": nodes(0)})
    handed = run(plan_of_mems(), files, lambda _: Moved(ended))
    assert (handed.state, files.held["/a"]) == (State.HALFWAY, nodes(0, 1))
    assert handed.finish == ("move on", "mems [1] /a")
    assert handed.undo == ("move back", "mems [0] /a")


def test_an_account_that_did_not_come_leaves_the_nodes_wide() -> None:
    """Nobody knows what moved since its last word."""

    def move(_: Transfer) -> Moved:
        raise Lost("the agent went away", 1 << 20, abandoned=False)

    files = FakeFiles({"/a": nodes(0)})
    handed = run(plan_of_mems(), files, move)
    assert (handed.state, files.held["/a"]) == (State.HALFWAY, nodes(0, 1))
    assert "1.0 MiB had moved by its last word" in handed.words


def test_what_stays_in_any_case_does_not_keep_the_nodes_wide() -> None:
    """Pinned pages the kernel will not move either; a little of anything is soon moved."""
    left = {LeftReason.PINNED: 1 << 40, LeftReason.BUSY: NEXT_TO_NOTHING_BYTES}
    files = FakeFiles({"/a": nodes(0)})
    handed = run(plan_of_mems(), files, lambda _: Moved(replace(OUTCOME, state=MoveState.PARTIAL, left=left)))
    assert (handed.state, files.held["/a"]) == (State.DONE, nodes(1))


def test_what_somebody_else_wrote_meanwhile_stays() -> None:
    """Before the first write nothing is done at all; before the last the file is left as it is."""
    files = FakeFiles({"/a": nodes(1)})
    handed = run(plan_of_mems(), files, lambda _: pytest.fail("no page may move"))
    assert (handed.state, files.written) == (State.UNDONE, [])

    def meanwhile(_: Transfer) -> Moved:
        files.held["/a"] = nodes(0)
        return Moved(OUTCOME)

    files = FakeFiles({"/a": nodes(0)})
    handed = run(plan_of_mems(), files, meanwhile)
    assert (handed.state, files.held["/a"]) == (State.HALFWAY, nodes(0))
    assert "somebody else wrote 0 to the nodes of /a" in handed.words


def test_cpus_that_somebody_else_wrote_meanwhile_stay() -> None:
    """As a kubelet does: neither overwritten nor put back."""
    present = cpuset("/a", nodes(0))
    elsewhere = frozenset(samples.HOST.by_id[samples.N1].cpus)
    plan = plan_cpus(present, elsewhere, nodes(1), (), samples.HOST)
    assert isinstance(plan, Handover)
    files = FakeFiles({"/a": nodes(0)}, held_cpus={"/a": elsewhere})
    handed = run(plan, files, lambda _: pytest.fail("no page may move"))
    assert (handed.state, files.held["/a"]) == (State.UNDONE, nodes(0))

    def meanwhile(_: Transfer) -> Moved:
        files.held_cpus["/a"] = frozenset({CpuId(1)})
        raise NotNow("busy")

    files = FakeFiles({"/a": nodes(0)}, held_cpus={"/a": present.cpus})
    handed = run(plan, files, meanwhile)
    assert (handed.state, files.held_cpus["/a"]) == (State.HALFWAY, frozenset({CpuId(1)}))
    assert "somebody else wrote 1 to the CPUs of /a" in handed.words


def test_an_interrupt_before_the_move_puts_all_back() -> None:
    """Between two writes it is only counted, so that none is broken off."""
    interrupts = Interrupts()
    interrupts.interrupt()
    files = FakeFiles({"/a": nodes(0)})
    handed = run(plan_of_mems(), files, lambda _: pytest.fail("no page may move"), interrupts)
    assert (handed.state, files.written) == (State.UNDONE, [])
    assert handed.words == "interrupted before anything moved; all is as it was"


def test_a_process_that_ended_leaves_nothing_behind() -> None:
    """Its pages are gone, so the new cpuset is narrowed whatever the move says."""
    files = FakeFiles({"/a": nodes(0), "/b": nodes(1)})
    ended = replace(OUTCOME, state=MoveState.FAILED, words="process 7 has ended")
    handed = run(plan_of_attach(), files, lambda _: Moved(ended), gone=True)
    assert (handed.state, handed.words) == (State.DONE, "process 7 has ended")
    assert files.held["/b"] == nodes(1)


def test_what_cannot_be_put_back_is_said_with_the_commands_for_it() -> None:
    """The kernel refuses the undoing too: half-way, and what is left to do by hand."""
    files = FakeFiles({"/a": nodes(0), "/b": nodes(1)}, {3: KernelCallError("attaching", errno.EBUSY)})
    ended = replace(OUTCOME, state=MoveState.FAILED, moved_bytes=0, words="why")
    handed = run(plan_of_attach(), files, lambda _: Moved(ended))
    assert handed.state is State.HALFWAY
    assert "it cannot be put back as it was: attaching: Device or resource busy" in handed.words
    assert handed.undo == ("attach 7 /a", "mems [1] /b")
