"""Faults to plant: what each does to a machine, and what the simulation says when it finds it.

A simulation that finds nothing proves nothing until it has been seen to find what is there.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

from node_agent.core.agent import AgentCore
from node_agent.core.at_work import AtWork
from node_agent.core.batches import Verdict
from node_agent.core.desk import Desk
from node_agent.core.events import Do, JournalAccept, JournalFinish, Send
from node_agent.core.orders import Orders as AgentOrders
from node_agent.linux import calls
from numaplace.model.ids import HostId
from numaplace.model.move import MoveOrder
from numaplace.model.session import Resync
from scheduler.state.agenda import Agenda, Subject, TaskDue
from scheduler.state.book import MoveBook
from scheduler.state.events import AgentReported
from scheduler.state.instructions import Instruction, StoreOrder, StoreOutcome
from scheduler.state.orders import Orders as SchedulerOrders
from scheduler.state.reports import Reports
from scheduler.state.sessions import Sessions

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True)
class Planted:
    """``plant`` breaks a machine; ``found_as`` is a pattern in the words of the failure. The rest as in Options."""

    plant: Callable[[Patch], None]
    found_as: str
    hostile: bool | None = None
    paged: bool = False


Steps = Callable[..., Iterator[object]]


def _without(kinds: type[object] | tuple[type[object], ...], steps: Steps) -> Steps:
    """The same steps, without those of these kinds."""

    def fewer(*args: object, **kwargs: object) -> Iterator[object]:
        return (step for step in steps(*args, **kwargs) if not isinstance(step, kinds))

    return fewer


def _nothing(*_: object, **__: object) -> Iterator[object]:
    return iter(())


def _outcome_not_stored(patch: Patch) -> None:
    patch.setattr(SchedulerOrders, "finished", _without(StoreOutcome, SchedulerOrders.finished))


def _order_not_stored(patch: Patch) -> None:
    patch.setattr(SchedulerOrders, "give", _without(StoreOrder, SchedulerOrders.give))


def _accepted_before_the_journal(patch: Patch) -> None:
    accept = Desk._accept

    def hasty(desk: Desk, order: MoveOrder) -> Iterator[Do]:
        return iter(sorted(accept(desk, order), key=lambda do: isinstance(do, JournalAccept)))

    patch.setattr(Desk, "_accept", hasty)


def _reported_before_the_journal(patch: Patch) -> None:
    publish = Desk._publish_end
    patch.setattr(Desk, "_publish_end", lambda *a: iter(sorted(publish(*a), key=lambda do: not isinstance(do, Send))))


def _end_not_journalled(patch: Patch) -> None:
    patch.setattr(Desk, "_publish_end", _without((JournalFinish, Send), Desk._publish_end))


def _orders_run_again(patch: Patch) -> None:
    patch.setattr(AgentOrders, "known", AgentOrders.is_open)
    patch.setattr(AgentOrders, "outcome", lambda *_: None)


def _second_mover(patch: Patch) -> None:
    start = AgentOrders.start
    patch.setattr(AgentOrders, "startable", lambda orders, _: iter(orders.open_orders))
    patch.setattr(AgentOrders, "start", lambda orders, move: start(orders, move) if move in orders._waiting else None)
    patch.setattr(AtWork, "on", lambda *_: None)
    patch.setattr(AtWork, "begin", lambda *_: None)


def _outcomes_not_repeated(patch: Patch) -> None:
    snapshot = AgentCore.snapshot
    patch.setattr(AgentCore, "snapshot", lambda core, now_s: replace(snapshot(core, now_s), outcomes=()))


def _open_orders_not_told(patch: Patch) -> None:
    snapshot = AgentCore.snapshot
    patch.setattr(AgentCore, "snapshot", lambda core, now_s: replace(snapshot(core, now_s), open_moves=()))


def _no_resume(patch: Patch) -> None:
    patch.setattr(Desk, "resume", _nothing)


def _old_boot_resumed(patch: Patch) -> None:
    resume = Desk.resume
    patch.setattr(Desk, "resume", lambda desk, orders, **_: resume(desk, orders, same_boot=True))


def _home_change_ignored(patch: Patch) -> None:
    patch.setattr(Desk, "home_changed", _nothing)


def _stale_home_accepted(patch: Patch) -> None:
    patch.setattr(Desk, "_refusal", lambda *_, **__: None)


def _resync_ignored(patch: Patch) -> None:
    obey = AgentCore._obey
    patch.setattr(
        AgentCore, "_obey", lambda core, told, now_s: iter(()) if isinstance(told, Resync) else obey(core, told, now_s)
    )


def _gaps_ignored(patch: Patch) -> None:
    admit = Sessions.admit

    def trusting(sessions: Sessions, event: AgentReported, now_s: float) -> Generator[Instruction, None, HostId | None]:
        session = sessions._sessions.get(event.session)
        return admit(sessions, event if session is None else replace(event, sequence=session.next_sequence), now_s)

    patch.setattr(Sessions, "admit", trusting)


def _nobody_asks_again(patch: Patch) -> None:
    put = Agenda.put

    def forgetful(agenda: Agenda, subject: Subject, at_s: float) -> None:
        if not isinstance(subject, TaskDue):
            put(agenda, subject, at_s)

    patch.setattr(Agenda, "put", forgetful)


def _two_orders_a_task(patch: Patch) -> None:
    patch.setattr(MoveBook, "of_task", lambda *_: None)


def _measurements_not_heard(patch: Patch) -> None:
    patch.setattr(Reports, "_locate", _nothing)


def _waiting_never_starts(patch: Patch) -> None:
    patch.setattr(Desk, "start_waiting", _nothing)


def _never_alone(patch: Patch) -> None:
    patch.setattr(AgentCore, "_follow_alone", _nothing)


def _all_counts_as_moved(patch: Patch) -> None:
    patch.setattr(calls, "judge", lambda status, *_: np.full(len(status), Verdict.MOVED, np.int8))


PLANTED: Mapping[str, Planted] = {
    "an outcome is acknowledged and not stored": Planted(_outcome_not_stored, "acknowledged before it was stored"),
    "an order is sent and not stored": Planted(_order_not_stored, "was sent before it was stored"),
    "an order is accepted before the journal": Planted(_accepted_before_the_journal, "its journal has nothing"),
    "an end is reported before the journal": Planted(_reported_before_the_journal, "and its journal does not"),
    "an end is neither journalled nor reported": Planted(
        _end_not_journalled, "has not ended|is open in the store|journal does not"
    ),
    "a known order is run again": Planted(_orders_run_again, "accepted after its end|accepted twice|ended twice"),
    "a second mover starts": Planted(_second_mover, "at the same time"),
    "outcomes are not repeated": Planted(_outcomes_not_repeated, "nobody acknowledged|which its host has accepted"),
    "open orders are not told": Planted(_open_orders_not_told, "which its host has accepted"),
    "the agent does not resume": Planted(_no_resume, "has not ended|which its host has accepted"),
    "an order of an earlier boot is resumed": Planted(_old_boot_resumed, "never a home of"),
    "a change of home ends no move": Planted(_home_change_ignored, "which is no longer home|leads away"),
    "an order towards an older home is accepted": Planted(_stale_home_accepted, "leads away|not there|no longer home"),
    "a resync is ignored": Planted(_resync_ignored, "has no session", hostile=True),
    "gaps are not seen": Planted(
        _gaps_ignored, "the scheduler (follows|takes|has)|never judged|has no session", hostile=True
    ),
    "nobody asks again": Planted(_nobody_asks_again, "is overdue"),
    "a task gets two orders": Planted(_two_orders_a_task, "has an open move"),
    "measurements are not heard": Planted(_measurements_not_heard, "another residency|does not explain"),
    "a mover counts what stayed": Planted(_all_counts_as_moved, "account", paged=True),
    "an agent does nothing alone": Planted(_never_alone, "alone: .* does not explain"),
    "accepted orders never start": Planted(_waiting_never_starts, "has open orders|is open in the store"),
}
