"""One process of the scheduler: the real state in a shell that carries its instructions out on virtual time.

It follows `scheduler.runtime.shell`: all waiting events in one turn, what they want stored in one write, and nothing
said before it is on disk. The process can be killed within a write and between any two instructions.
"""

from collections import deque
from collections.abc import Callable
from typing import get_args

from numaplace.model.session import Hello
from scheduler.planning.records import MoveLimits
from scheduler.state.events import AgentConnected, AgentLost, AgentReported, Event, SessionId, Tick
from scheduler.state.instructions import CloseSession, Fault, Instruction, SendTo, StoreInstruction, WakeAt
from scheduler.state.invariants import check
from scheduler.state.machine import SchedulerState
from tests.simulation.disk import Store
from tests.simulation.network import Connection, Numbered
from tests.simulation.setting import Setting
from tests.simulation.timeline import Life

_STORED = get_args(StoreInstruction)


class SchedulerProcess:
    """From start to kill. ``checked``: after how many turns the state is asked whether it is sound; 0 for never."""

    def __init__(
        self,
        setting: Setting,
        store: Store,
        epoch: str,
        *,
        limits: MoveLimits,
        checked: int,
        died: Callable[[], None],
    ) -> None:
        self.setting, self.store, self.epoch = setting, store, epoch
        self.life = Life()
        self.kill_after: int | None = None
        self._checked = checked
        self._died = died
        self._zero_s = setting.timeline.now_s - 10.0
        self._events: deque[Event] = deque()
        self._turns = 0
        self._todo: deque[Instruction] = deque()
        self._writing: list[StoreInstruction] = []
        self._working = False
        self._lines: dict[SessionId, Connection] = {}
        self._sessions: dict[Connection, SessionId] = {}
        self._ids = 0
        self._wake: Life | None = None
        self.state = SchedulerState(epoch, self.now_s(), store.load(self._zero_s), limits)
        setting.net.listener = self

    def now_s(self) -> float:
        """This process's monotonic clock."""
        return self.setting.timeline.now_s - self._zero_s

    def note(self, what: str, value: object = None) -> None:
        """For the trace."""
        self.setting.trace.note(self.setting.timeline.now_s, self.epoch, what, value)

    # The agents' streams

    def accept(self, connection: Connection, hello: Hello) -> None:
        """An agent dialled."""
        self._ids += 1
        session = SessionId(self._ids)
        self._lines[session] = connection
        self._sessions[connection] = session
        self.put(AgentConnected(session, hello))

    def hear(self, connection: Connection, message: Numbered) -> None:
        """An agent reported."""
        if self.life.alive:
            self.put(AgentReported(self._sessions[connection], message.sequence, message.report))

    def ended(self, connection: Connection) -> None:
        """A stream has ended."""
        if self.life.alive:
            session = self._sessions.pop(connection)
            self._lines.pop(session, None)
            self.put(AgentLost(session))

    # The one writer

    def put(self, event: Event) -> None:
        """Hand in an event."""
        self._events.append(event)
        if not self._working:
            self._work()

    def _work(self) -> None:
        self._working = True
        while self.life.alive and not self._writing and (self._todo or self._events):
            if self._todo:
                self._carry_out(self._todo.popleft())
            else:
                self._turn()
        self._working = False

    def _turn(self) -> None:
        while self._events:
            event = self._events.popleft()
            self.note("<-", event)
            self._todo.extend(self.state.handle(event, self.now_s()))
        self._turns += 1
        if self._checked and self._turns % self._checked == 0:
            check(self.state)
        self._writing = [do for do in self._todo if isinstance(do, _STORED)]
        if self._writing:
            self.setting.timeline.after(self.setting.rng.uniform(0.0, 0.006), self._written, self.life)

    def _written(self) -> None:
        self._write()
        self._work()

    def _write(self) -> None:
        records, self._writing = self._writing, []
        for record in records:
            self.note("store", record)
            self.setting.ledger.stored(record)
        self.store.write(records, self._zero_s)

    def _carry_out(self, do: Instruction) -> None:
        if self.kill_after is not None:
            self.kill_after -= 1
            if self.kill_after < 0:
                self.kill()
                return
        match do:
            case SendTo(session, message):
                line = self._lines.get(session)
                if line is not None:
                    self.note("->", message)
                    self.setting.ledger.sent_by_scheduler(line.host, message, self.store)
                    line.instruct(message)
            case CloseSession(session, cause, words):
                self.note("close", (session, cause, words))
                line = self._lines.pop(session, None)
                if line is not None:
                    line.dismiss()
                    del self._sessions[line]
                    self._events.append(AgentLost(session))
            case WakeAt(at_s):
                self._wake_at(at_s)
            case Fault():
                self.note("fault", do)
                self.setting.ledger.fault(do)
            case _:
                pass

    def _wake_at(self, at_s: float | None) -> None:
        if self._wake is not None:
            self._wake.alive = False
        self._wake = None
        if at_s is not None:
            self._wake = Life()
            run_s = max(self.setting.timeline.now_s, at_s + self._zero_s) + 1e-6
            self.setting.timeline.at(run_s, self._tick, self._wake)

    def _tick(self) -> None:
        if self.life.alive:
            self._wake = None
            self.put(Tick())

    def kill(self) -> None:
        """SIGKILL: a write under way is whole or not there."""
        if not self.life.alive:
            return
        if self._writing and self.setting.rng.random() < 0.5:
            self._write()
        self.note("killed")
        self.life.alive = False
        self.setting.net.listener = None
        for line in tuple(self._lines.values()):
            line.dismiss()
        self._died()
