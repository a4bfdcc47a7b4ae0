"""An order to bring a task's pages home, its life, and the honest account of what moved and what did not, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from numaplace.model.ids import MoveId, Nodes, TaskId
from numaplace.model.policy import Policy
from numaplace.model.residency import Residency


class LeftReason(Enum):
    """Why bytes stayed where they were. Every reason has a remedy in plain words, see :data:`REMEDY`."""

    PINNED = "pinned"
    SHARED = "shared"
    TARGET_FULL = "target-full"
    OUTSIDE_CPUSET = "outside-cpuset"
    VANISHED = "vanished"
    UNMOVABLE_MAPPING = "unmovable-mapping"
    ZERO_PAGE = "zero-page"
    BUSY = "busy"
    HUGETLB_POOL = "hugetlb-pool"
    THP_WOULD_SPLIT = "thp-would-split"
    KEPT_BY_POLICY = "kept-by-policy"
    DENIED = "denied"
    NOT_REACHED = "not-reached"
    TOO_MANY_PROCESSES = "too-many-processes"


REMEDY: Mapping[LeftReason, str] = {
    LeftReason.PINNED: "A device or io_uring holds these pages in place; they move only after the job releases the"
    " registration (RDMA, vfio, fixed buffers, pinned GPU host memory).",
    LeftReason.SHARED: "Strangers map these pages too (libraries, another job's shared memory), and they may be at home"
    " there; put the sharers into one task, or leave them.",
    LeftReason.TARGET_FULL: "The home node has no room above its watermark and headroom; free memory there, lower"
    " headroom_bytes, or give the task another home.",
    LeftReason.OUTSIDE_CPUSET: "The task's cpuset.mems does not allow its home node; write the home nodes to"
    " cpuset.mems, or let numaplace own the cpuset.",
    LeftReason.VANISHED: "The pages were freed, or the process ended, before they were moved; nothing to do.",
    LeftReason.UNMOVABLE_MAPPING: "Device memory, DAX or a kernel mapping: no kernel moves it.",
    LeftReason.ZERO_PAGE: "The kernel's shared page of zeros: it costs no memory and moves with the first write.",
    LeftReason.BUSY: "The pages were under write-back or in use at each of our attempts; they are tried again with"
    " the next move.",
    LeftReason.HUGETLB_POOL: "The home node has no free huge page; raise its nr_hugepages or nr_overcommit_hugepages.",
    LeftReason.THP_WOULD_SPLIT: "The home node has no free 2 MB block, so the kernel would split the page; compact"
    " memory there (/proc/sys/vm/compact_memory) and run the move again.",
    LeftReason.KEPT_BY_POLICY: "The policy leaves these pages where they are (page kind, or memory interleaved on"
    " purpose); change it with numaplace policy set.",
    LeftReason.DENIED: "The agent may not move this process's pages; it needs CAP_SYS_NICE and CAP_SYS_PTRACE, and"
    " no LSM or seccomp filter in the way.",
    LeftReason.NOT_REACHED: "The move ended before these pages were tried (cancelled, superseded, or the agent"
    " stopped); the next move takes them.",
    LeftReason.TOO_MANY_PROCESSES: "The task has more processes than are looked at together, and the last started ones"
    " were not: this is all that they have resident, wherever it lies. Make several tasks of it (a cgroup or an adopted"
    " process each).",
}


class Strategy(Enum):
    """How pages are brought home."""

    MIGRATE_PAGES = "migrate_pages"
    MOVE_PAGES = "move_pages"
    CPUSET_HANDOVER = "cpuset-handover"
    VERIFY_AND_FINISH = "verify-and-finish"


class MoveState(Enum):
    """The life of an order: on its way to its host until the host says that it has it. All but four are final."""

    ON_ITS_WAY = "on-its-way"
    ACCEPTED = "accepted"
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    PARTIAL = "partial"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    REFUSED = "refused"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return self not in _UNDER_WAY


_UNDER_WAY = (MoveState.ON_ITS_WAY, MoveState.ACCEPTED, MoveState.RUNNING, MoveState.CANCELLING)


@dataclass(frozen=True, slots=True)
class MoveOrder:
    """Bring the task's pages to ``home``.

    ``home_version`` is the version of the home that the decision was made on: an agent whose task has another home
    by now ends the order as superseded. ``previous_home`` gives the relative positions.
    """

    id: MoveId
    task: TaskId
    home: Nodes
    previous_home: Nodes
    home_version: int
    policy: Policy


@dataclass(frozen=True, slots=True)
class MigrationCounters:
    """The kernel's five migration counters, in base pages (pgmigrate) and in huge pages (thp); see vmstat."""

    pgmigrate_success: int = 0
    pgmigrate_fail: int = 0
    thp_migration_success: int = 0
    thp_migration_fail: int = 0
    thp_migration_split: int = 0


@dataclass(frozen=True, slots=True)
class CounterAccount:
    """The counters' growth on the host during a move, and the part of it that the trace attributes to us.

    ``ours`` is None where tracefs is missing, or lost events during the move: then only the host's sum is known.
    """

    host: MigrationCounters = MigrationCounters()
    ours: MigrationCounters | None = None


@dataclass(frozen=True, slots=True)
class MoveProgress:
    """Where a running move stands.

    ``todo_bytes`` has not moved yet, what will stay (``left``) included; ``pace_bytes_per_s`` is over the last second
    or so.
    """

    move: MoveId
    moved_bytes: int
    todo_bytes: int
    pace_bytes_per_s: float
    residency: Residency
    left: Mapping[LeftReason, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MoveOutcome:
    """How an order ended: exactly one per order, repeated until acknowledged.

    Bytes everywhere. ``call_ms_max`` is our longest system call; ``stall_ms_max`` the longest wait that the job can
    have felt from us (a batch, or the lock hold of a whole-process call). ``words`` says in plain words why the
    order ended as it did; ``new_pages`` where the job's next pages will land if that is not home, and what to change.
    """

    move: MoveId
    task: TaskId
    state: MoveState
    words: str
    strategy: Strategy | None = None
    strategy_reason: str = ""
    moved_bytes: int = 0
    left: Mapping[LeftReason, int] = field(default_factory=dict)
    seconds: float = 0.0
    first_page_s: float | None = None
    call_ms_max: float = 0.0
    stall_ms_max: float = 0.0
    calls: int = 0
    counters: CounterAccount = CounterAccount()
    residency: Residency = field(default_factory=Residency)
    new_pages: str = ""

    def __post_init__(self) -> None:
        if not self.state.final:
            raise ValueError(f"an outcome is final; {self.state} is not")

    @property
    def left_bytes(self) -> int:
        """All bytes that stayed, whatever the reason."""
        return sum(self.left.values())
