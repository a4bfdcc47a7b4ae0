"""The network between agents and the scheduler: streams that deliver in order, late, or not any more.

A stream is what gRPC gives: in order, and whole until it is cut. A cut loses what is under way in both directions, and
either end learns of it in its own time, so a stream may be half-open for a while. A hostile network also loses,
reorders and repeats single messages, which no stream does and which sequence numbers and ids must survive; only a
stream's first message in each direction is spared, for without it there is no session at all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Generic, Protocol, TypeVar

from numaplace.model.ids import HostId
from numaplace.model.session import Hello, Instruction, Report
from numaplace.wire import instruction_from_proto, instruction_to_proto, report_from_proto, report_to_proto
from tests.simulation.timeline import Timeline

M = TypeVar("M")


@dataclass(slots=True)
class Weather:
    """How the network is now; shares of messages, times in seconds. ``upwards_only``: only reports come to harm."""

    delay_s_max: float = 0.002
    loss: float = 0.0
    reordering: float = 0.0
    repetition: float = 0.0
    upwards_only: bool = False

    @property
    def hostile(self) -> bool:
        """Whether single messages come to harm."""
        return bool(self.loss or self.reordering or self.repetition)


class Pipe(Generic[M]):
    """One direction of a stream."""

    def __init__(self, net: "Network", deliver: Callable[[M], None], *, upwards: bool) -> None:
        self._timeline, self._rng, self._weather = net.timeline, net.rng, net.weather
        self._upwards = upwards
        self._deliver = deliver
        self._last_s = 0.0
        self._sent = 0
        self._closed = False
        self._severed = False

    def send(self, message: M) -> None:
        """Send; nothing arrives that was sent after the end."""
        if self._closed:
            return
        self._sent += 1
        weather, rng = self._weather, self._rng
        delay_s = rng.uniform(0.0001, weather.delay_s_max)
        if not weather.hostile or self._sent == 1 or (weather.upwards_only and not self._upwards):
            self._last_s = max(self._last_s, self._timeline.now_s + delay_s)
            self._timeline.at(self._last_s, lambda: self._arrive(message))
            return
        if rng.random() < weather.loss:
            return
        at_s = max(self._last_s, self._timeline.now_s + delay_s)
        if rng.random() < weather.reordering:
            self._timeline.at(at_s + delay_s * rng.uniform(1, 30), lambda: self._arrive(message))
        else:
            self._last_s = at_s
            self._timeline.at(at_s, lambda: self._arrive(message))
        if rng.random() < weather.repetition:
            self._timeline.at(at_s + delay_s * rng.uniform(0, 30), lambda: self._arrive(message))

    def _arrive(self, message: M) -> None:
        if not self._severed:
            self._deliver(message)

    def close(self) -> float:
        """No more is sent; what is under way arrives. Returns when all of it has."""
        self._closed = True
        return self._last_s

    def sever(self) -> None:
        """No more is sent, and what is under way is lost."""
        self._closed = self._severed = True


@dataclass(frozen=True, slots=True)
class Numbered:
    """A report with its number in the session."""

    sequence: int
    report: Report


class AgentEnd(Protocol):
    """Who dialled."""

    def hear(self, instruction: Instruction) -> None:
        """The scheduler said something."""

    def ended(self) -> None:
        """The stream has ended."""


class SchedulerEnd(Protocol):
    """Who listens: the scheduler's process of the moment."""

    def accept(self, connection: "Connection", hello: Hello) -> None:
        """An agent's first message."""

    def hear(self, connection: "Connection", message: Numbered) -> None:
        """A further one."""

    def ended(self, connection: "Connection") -> None:
        """The stream has ended."""


class Connection:
    """One stream; each end learns once that it has ended."""

    def __init__(self, net: "Network", host: HostId, agent: AgentEnd) -> None:
        self.host = host
        self._net = net
        self._agent: AgentEnd | None = agent
        self._scheduler: SchedulerEnd | None = None
        self._met = False
        self._up: Pipe[Numbered] = Pipe(net, self._reach_scheduler, upwards=True)
        self._down: Pipe[Instruction] = Pipe(net, self._reach_agent, upwards=False)

    def report(self, message: Numbered) -> None:
        """The agent sends."""
        if self._net.wired:
            message = Numbered(*report_from_proto(report_to_proto(message.sequence, message.report)))
        self._up.send(message)

    def instruct(self, instruction: Instruction) -> None:
        """The scheduler sends."""
        if self._net.wired:
            instruction = instruction_from_proto(instruction_to_proto(instruction))
        self._down.send(instruction)

    def _reach_scheduler(self, message: Numbered) -> None:
        if not self._met:
            self._met = True
            self._meet(message.report)
        elif self._scheduler is not None:
            self._scheduler.hear(self, message)

    def _meet(self, hello: Report) -> None:
        self._scheduler = self._net.listener
        if self._scheduler is None:
            self._end_for_agent()
        elif isinstance(hello, Hello):
            self._scheduler.accept(self, hello)

    def _reach_agent(self, instruction: Instruction) -> None:
        if self._agent is not None:
            self._agent.hear(instruction)

    def _end_for_agent(self) -> None:
        agent, self._agent = self._agent, None
        if agent is not None:
            self._net.forget(self)
            agent.ended()

    def _end_for_scheduler(self) -> None:
        scheduler, self._scheduler = self._scheduler, None
        self._met = True
        if scheduler is not None:
            scheduler.ended(self)

    def leave(self) -> None:
        """The agent's process ended or gave up: its last words arrive, then the end does."""
        self._agent = None
        self._net.forget(self)
        self._down.sever()
        timeline = self._net.timeline
        timeline.at(max(self._up.close(), timeline.now_s) + self._net.delay_s(), self._end_for_scheduler)

    def dismiss(self) -> None:
        """The scheduler ended the stream, or its process did: its last words arrive, then the end does."""
        self._scheduler = None
        self._met = True
        self._up.sever()
        timeline = self._net.timeline
        timeline.at(max(self._down.close(), timeline.now_s) + self._net.delay_s(), self._end_for_agent)

    def cut(self, agent_after_s: float, scheduler_after_s: float) -> None:
        """The network loses the stream; each end notices after its own time."""
        self._up.sever()
        self._down.sever()
        self._net.timeline.after(agent_after_s, self._end_for_agent)
        self._net.timeline.after(scheduler_after_s, self._end_for_scheduler)


class Network:
    """All streams. ``listener`` is the scheduler's process while it takes connections.

    ``wired``: every message goes through its protobuf form and its strict reader, as in production; slower.
    """

    def __init__(self, timeline: Timeline, rng: Random) -> None:
        self.timeline = timeline
        self.rng = rng
        self.weather = Weather()
        self.wired = False
        self.listener: SchedulerEnd | None = None
        self.unreachable_until_s: dict[HostId, float] = {}
        self._connections: dict[Connection, None] = {}

    def delay_s(self) -> float:
        """How long something takes now."""
        return self.rng.uniform(0.0001, self.weather.delay_s_max)

    def reachable(self, host: HostId) -> bool:
        """Whether the scheduler can be dialled from this host."""
        return self.timeline.now_s >= self.unreachable_until_s.get(host, 0.0)

    def dial(self, host: HostId, agent: AgentEnd) -> Connection:
        """A stream from this host. Without a route nothing arrives on it, and nobody says so."""
        connection = Connection(self, host, agent)
        self._connections[connection] = None
        if not self.reachable(host):
            connection.cut(self.rng.uniform(1.0, 8.0), 0.0)
        return connection

    def forget(self, connection: Connection) -> None:
        """The agent's end is gone."""
        self._connections.pop(connection, None)

    def of_host(self, host: HostId) -> list[Connection]:
        """The host's streams, as its agent knows them."""
        return [c for c in self._connections if c.host == host]

    def all(self) -> list[Connection]:
        """All streams whose agent's end is there."""
        return list(self._connections)
