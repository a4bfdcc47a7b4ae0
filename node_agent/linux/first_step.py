"""What some strategies do before pages are sent in batches: a call for the whole process, or a wait for the kernel.

What a whole-process call moved it does not say: it is measured.
"""

from collections.abc import Callable

from node_agent.linux.courier import Cancelled
from node_agent.linux.memory import HostMemory
from node_agent.linux.quest import REST_BYTES
from node_agent.linux.residency import residency_of
from node_agent.linux.room import RoomGuard
from node_agent.linux.underway import UnderWay
from numaplace.kernel.errors import KernelCallError, TargetFull
from numaplace.model.ids import Nodes
from numaplace.model.route import Routes

KERNEL_WAIT_S = 2.0
KERNEL_LOOK_S = 0.05


def migrate_whole(
    host: HostMemory,
    state: UnderWay,
    routes: Routes,
    guard: RoomGuard,
    between: Callable[[], str | None],
) -> None:
    """migrate_pages(2), one source node and one process at a time. Raises Cancelled between them."""
    tally, ledger, sources = state.tally, state.ledger, frozenset(routes)
    before = residency_of(host, state.views)
    for view in state.views:
        for source, (share, *_) in routes.items():
            if reason := between():
                raise Cancelled(reason)
            began_s = host.now_s()
            try:
                view.memory.migrate(source, share.target)
            except TargetFull:
                guard.run_dry(share.target)
            except KernelCallError as error:
                state.notes.append(f"migrate_pages: {error}")
            ended_s = host.now_s()
            tally.calls += 1
            tally.call_ms_max = max(tally.call_ms_max, 1000 * (ended_s - began_s))
            tally.first_page_s = tally.first_page_s or ended_s
            state.stall_ms = max(state.stall_ms, 1000 * (ended_s - began_s))
    after = residency_of(host, state.views)
    ledger.cells = dict(after.cells)
    ledger.moved_bytes += max(0, before.bytes_on(sources) - after.bytes_on(sources))


def wait_for_kernel(host: HostMemory, state: UnderWay, sources: Nodes, between: Callable[[], str | None]) -> None:
    """Give way while the kernel itself is moving: until what is away no longer shrinks. Raises Cancelled."""
    until_s = host.now_s() + KERNEL_WAIT_S
    away = None
    while host.now_s() < until_s:
        now = residency_of(host, state.views).bytes_on(sources)
        if now == 0 or (away is not None and now > away - REST_BYTES):
            return
        away = now
        if reason := between():
            raise Cancelled(reason)
        host.sleep_s(KERNEL_LOOK_S)
