"""One process of an agent: the real core in a shell that carries its instructions out on virtual time.

It follows `node_agent.runtime.shell` and `node_agent.rpc.session`: one queue, instructions in their order, the next
only after a write to the journal is on disk; reports without a session are dropped. The process can be killed between
any two instructions, and within a write.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from node_agent.core.agent import AgentCore
from node_agent.core.desk import Limits
from node_agent.core.events import (
    AbilitiesKnown,
    CancelMover,
    Do,
    Event,
    JournalAccept,
    JournalAcknowledge,
    JournalFinish,
    JournalPolicies,
    LoadMeasured,
    MeasurePages,
    MeasuringFailed,
    MoverEnded,
    MoverProgressed,
    PagesMeasured,
    Publish,
    Send,
    SessionClosed,
    SessionOpened,
    StartMover,
    Swept,
    Told,
    WakeAt,
    Woke,
)
from node_agent.core.facts import Measured, ProcessRef, Sweep
from node_agent.ports import MoveJob
from numaplace.model.ids import MoveId
from numaplace.model.move import LeftReason, MoveOutcome, MoveProgress
from numaplace.model.residency import Residency
from numaplace.model.session import Abilities, Hello, Instruction, Report, Snapshot, Welcome
from tests.simulation.disk import Journal, JournalWrite
from tests.simulation.mover import MoverRun
from tests.simulation.network import Numbered
from tests.simulation.paged import PagedHost, PagedRun
from tests.simulation.setting import Setting
from tests.simulation.timeline import Life
from tests.simulation.truth import TrueHost

TIMER_LATE_S = 1e-6
"""A timer is never early, whatever the rounding of two clocks."""
WELCOME_WITHIN_S = 10.0
LASTING_S = 10.0
STUCK_KEPT_S = 60.0
"""What a move found stuck is asked again after this time, for registrations end without a sign."""
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.1, 5.0
_NOTHING = Measured(Residency())


@dataclass(frozen=True, slots=True)
class Habits:
    """How an agent of this run is set up. Times in seconds."""

    limits: Limits
    can_move: bool = True
    sweep_period_s: float = 1.0
    load_period_s: float = 2.0
    hint_missed: float = 0.0
    journal_s_max: float = 0.004
    measuring_fails: float = 0.0


class AgentProcess:
    """From start to kill."""

    def __init__(
        self,
        setting: Setting,
        host: TrueHost,
        journal: Journal,
        instance: str,
        *,
        habits: Habits,
        died: Callable[[], None],
    ) -> None:
        self.setting, self.host, self.journal, self.instance, self.habits = setting, host, journal, instance, habits
        self.life = Life()
        self.session = _Session(self)
        self.kill_after: int | None = None
        self._died = died
        self._events: deque[Event] = deque()
        self._todo: deque[Do] = deque()
        self._writing: JournalWrite | None = None
        self._working = False
        self._alarm: Life | None = None
        self._sweep_asked = False
        self._runs: dict[MoveId, MoverRun | PagedRun] = {}
        self._mover = host.new_mover() if isinstance(host, PagedHost) else None
        self._stuck: dict[tuple[ProcessRef, ...], tuple[float, int]] = {}
        self.core = AgentCore(instance, journal.remember(host.boot_id), habits.limits)
        self.put(AbilitiesKnown(Abilities(can_move=habits.can_move)))
        self._after(setting.rng.uniform(0.001, 0.05), self._sweep)
        self._after(setting.rng.uniform(0.0, 0.2), self._load)

    def now_s(self) -> float:
        """The host's boot-time clock."""
        return self.setting.timeline.now_s - self.host.booted_s

    def note(self, what: str, value: object = None) -> None:
        """For the trace."""
        self.setting.trace.note(self.setting.timeline.now_s, self.instance, what, value)

    def _after(self, delay_s: float, call: Callable[[], None]) -> None:
        self.setting.timeline.after(delay_s, call, self.life)

    @property
    def runs(self) -> tuple[MoverRun | PagedRun, ...]:
        """The movers at work."""
        return tuple(self._runs.values())

    # The one writer

    def put(self, event: Event) -> None:
        """Tell the core, in turn."""
        self._events.append(event)
        if not self._working:
            self._work()

    def _work(self) -> None:
        self._working = True
        while self.life.alive and self._writing is None and (self._todo or self._events):
            if self._todo:
                self._carry_out(self._todo.popleft())
            else:
                event = self._events.popleft()
                if not isinstance(event, Swept):  # long, and mostly without news; what is new is reported
                    self.note("<-", event)
                self._todo.extend(self.core.handle(event, self.now_s()))
        self._working = False
        if self._runs and self.life.alive and self._writing is None:
            self.setting.ledger.at_rest((r.order for r in self.runs if not r.cancelled), self.core.tasks)

    def _carry_out(self, do: Do) -> None:
        if self.kill_after is not None:
            self.kill_after -= 1
            if self.kill_after < 0:
                self.kill()
                return
        match do:
            case JournalAccept() | JournalFinish() | JournalAcknowledge() | JournalPolicies():
                self._writing = do
                self._after(self.setting.rng.uniform(0.0, self.habits.journal_s_max), self._written)
            case Send(report):
                self.setting.ledger.found(self.host.id, report)
                self.session.send(report)
            case StartMover():
                self._start(do)
            case CancelMover(move, reason):
                self.note("cancel mover", do)
                if move in self._runs:
                    self._runs[move].cancel(reason)
            case MeasurePages(_, processes):
                self._after(self.setting.rng.uniform(0.0005, 0.03), lambda: self._measure(do, processes))
            case WakeAt(at_s):
                self._wake_at(at_s)
            case Publish():
                pass
            case _:
                raise AssertionError(f"the simulated shell does not know {do!r}")

    def _written(self) -> None:
        do, self._writing = self._writing, None
        if do is not None:
            self._write(do)
        self._work()

    def _write(self, do: JournalWrite) -> None:
        self.note("journal", do)
        self.setting.ledger.journal(self.host.id, self.instance, do)
        self.journal.write(do)

    def kill(self) -> None:
        """SIGKILL: a write under way is whole or not there, movers stop where they are."""
        if not self.life.alive:
            return
        if self._writing is not None and self.setting.rng.random() < 0.5:
            self._write(self._writing)
        self.note("killed")
        self.life.alive = False
        self.end_threads()
        self.setting.ledger.agent_died(self.host.id)
        self.session.abandon()
        self._died()

    def end_threads(self) -> None:
        """Threads end where they are."""
        for run in self._runs.values():
            if isinstance(run, PagedRun):
                run.kill()

    # Moving

    def _start(self, do: StartMover) -> None:
        self.note("start mover", do.order)
        followed = self.core.tasks.get(do.order.task)
        self.setting.ledger.mover_started(self.host.id, self.instance, do.order, followed)
        if self._mover is not None and isinstance(self.host, PagedHost):
            job = MoveJob(do.order, do.task, do.topology)
            self._runs[do.order.id] = PagedRun(
                self._mover, self.host, self.setting, job, progress=self._report, ended=self._moved
            )
            return
        self._runs[do.order.id] = MoverRun(
            do, self.host, self.setting, self.life, progress=self._report, ended=self._moved
        )

    def _report(self, progress: MoveProgress) -> None:
        self._after(0.0, lambda: self.put(MoverProgressed(progress)))

    def _moved(self, run: MoverRun | PagedRun, outcome: MoveOutcome) -> None:
        if isinstance(run, MoverRun):
            self._stuck[run.task.processes] = (self.now_s(), run.pinned_found)
        self.setting.ledger.mover_ended(self.host.id, run.order, outcome, run.disturbed_bytes)
        del self._runs[run.order.id]
        self._after(self.setting.rng.uniform(0.0, 0.002), lambda: self.put(MoverEnded(outcome)))

    # Looking

    def _measure(self, do: MeasurePages, processes: tuple[ProcessRef, ...]) -> None:
        if self.setting.rng.random() < self.habits.measuring_fails:
            self.put(MeasuringFailed(do.task))
            return
        if self._mover is not None:
            self.put(PagesMeasured(do.task, self._mover.measure(processes), self._mover.stuck(processes), 0.01))
            return
        task = self.host.same(processes, do.task)
        found_s, size = self._stuck.get(processes, (0.0, 0))
        stuck = {LeftReason.PINNED: size} if size and self.now_s() < found_s + STUCK_KEPT_S else {}
        if task is None:
            self.put(PagesMeasured(do.task, _NOTHING, stuck, 0.01))
        else:
            self.put(PagesMeasured(do.task, task.measured(), stuck, 0.01))

    def _load(self) -> None:
        self.put(LoadMeasured(self._mover.load() if self._mover is not None else self.host.load()))
        self._after(self.habits.load_period_s, self._load)

    def hint(self) -> None:
        """Something may have changed: watchers see it, unless they miss it."""
        rng = self.setting.rng
        if not self._sweep_asked and rng.random() >= self.habits.hint_missed:
            self._sweep_asked = True
            self._after(rng.uniform(0.0005, 0.02), self._look)

    def _look(self) -> None:
        self._sweep_asked = False
        self._tell_of(self._read())

    def _sweep(self) -> None:
        self._tell_of(self._read())
        self._after(self.habits.sweep_period_s, self._sweep)

    def _read(self) -> Sweep:
        tasks = tuple(task.facts() for task in self.host.tasks.values())
        return Sweep(self.now_s(), self.host.topology, tasks)

    def _tell_of(self, sweep: Sweep) -> None:
        self.put(Swept(sweep))
        self.session.begin()

    # Waking

    def _wake_at(self, at_s: float) -> None:
        if self._alarm is not None:
            self._alarm.alive = False
        self._alarm = Life()
        run_s = max(self.setting.timeline.now_s, at_s + self.host.booted_s) + TIMER_LATE_S
        self.setting.timeline.at(run_s, self._wake, self._alarm)

    def _wake(self) -> None:
        if self.life.alive:
            self.put(Woke())


class _Session:
    """The agent's end of the session: dial, hello, welcome, talk, and dial again."""

    def __init__(self, process: AgentProcess) -> None:
        self._process = process
        self._line: _Line | None = None
        self._begun = False
        self._backoff_s = BACKOFF_S_MIN

    @property
    def open(self) -> bool:
        """Whether there is a session."""
        return self._line is not None and self._line.welcomed

    def begin(self) -> None:
        """The first sweep is done: dial."""
        if not self._begun:
            self._begun = True
            self._dial()

    def send(self, report: Report) -> None:
        """Report; dropped without a session."""
        sent = self._line is not None and self._line.send(report)
        self._process.note("->" if sent else "unsent", report)
        if sent:
            self._process.setting.ledger.sent_by_agent(self._process.host.id, report, self._process.journal)

    def _dial(self) -> None:
        process = self._process
        self._line = _Line(self, process)

    def hear(self, line: "_Line", instruction: Instruction) -> None:
        """The scheduler said something."""
        process = self._process
        if line is not self._line or not process.life.alive:
            return
        if not line.welcomed:
            if not isinstance(instruction, Welcome):
                raise AssertionError(f"expected a welcome, got {instruction!r}")
            line.welcomed = True
            process.put(Told(instruction))
            process.put(SessionOpened())
        else:
            process.put(Told(instruction))

    def ended(self, line: "_Line") -> None:
        """The stream has ended: dial anew after a while."""
        process = self._process
        if line is not self._line or not process.life.alive:
            return
        self._line = None
        process.note("session ended")
        if line.welcomed:
            process.put(SessionClosed())
        rng = process.setting.rng
        if process.setting.timeline.now_s - line.began_s >= LASTING_S:
            self._backoff_s = BACKOFF_S_MIN
        process.setting.timeline.after(self._backoff_s * rng.uniform(0.5, 1.0), self._dial, process.life)
        self._backoff_s = min(BACKOFF_S_MAX, 2 * self._backoff_s)

    def abandon(self) -> None:
        """The process is gone."""
        if self._line is not None:
            self._line.leave()
            self._line = None


class _Line:
    """One stream, from dial to end."""

    def __init__(self, session: _Session, process: AgentProcess) -> None:
        self._session = session
        self._sequence = 0
        self._in_step = False
        self.welcomed = False
        self.began_s = process.setting.timeline.now_s
        host = process.host
        self._connection = process.setting.net.dial(host.id, self)
        self._say(Hello(host.id, process.instance, host.boot_id))
        process.setting.timeline.after(WELCOME_WITHIN_S, self._check_welcome, process.life)

    def send(self, report: Report) -> bool:
        """Report, unless that is older than the snapshot that is to come; whether it was sent."""
        self._in_step = self._in_step or isinstance(report, Snapshot)
        if self.welcomed and self._in_step:
            self._say(report)
            return True
        return False

    def _say(self, report: Report) -> None:
        self._sequence += 1
        self._connection.report(Numbered(self._sequence, report))

    def hear(self, instruction: Instruction) -> None:
        self._session.hear(self, instruction)

    def ended(self) -> None:
        self._session.ended(self)

    def leave(self) -> None:
        self._connection.leave()

    def _check_welcome(self) -> None:
        if not self.welcomed:
            self._connection.leave()
            self._session.ended(self)
