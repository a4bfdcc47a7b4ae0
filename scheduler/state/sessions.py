"""Sessions: who is connected, whether its reports are in step, and who has been away for long.

A host has one session, the newest. Its reports count from Hello (1) without a gap; after a gap nothing is believed
until a new snapshot has come. What an older session still says is not heard.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

from numaplace.model.ids import HostId
from numaplace.model.session import PROTOCOL, Hello, Resync, Snapshot, Welcome
from scheduler.planning.records import HostRecord
from scheduler.state.agenda import Agenda, HostDue
from scheduler.state.bounds import Bounds
from scheduler.state.events import AgentConnected, AgentReported, SessionId
from scheduler.state.instructions import CloseCause, CloseSession, Fault, FaultKind, Instruction, SendTo
from scheduler.state.world import World

RESYNC_EVERY_S = 5.0
"""A snapshot that was asked for and does not come is asked for again after this time, when the agent next speaks."""
FORGET_AFTER_S = 86_400.0
"""A host that has been away for a day is forgotten, and its orders end."""

_Do = Iterator[Instruction]


@dataclass(slots=True)
class _Session:
    host: HostId
    next_sequence: int = 2
    resync_asked_s: float | None = None


class Sessions:
    """The table of sessions."""

    def __init__(self, world: World, agenda: Agenda, bounds: Bounds) -> None:
        self._world = world
        self._agenda = agenda
        self._bounds = bounds
        self._sessions: dict[SessionId, _Session] = {}
        self._of_host: dict[HostId, SessionId] = {}

    def ready(self, host: HostId) -> SessionId | None:
        """The host's session, once its snapshot has arrived and no report is missing."""
        record = self._world.hosts.get(host)
        return self._of_host.get(host) if record is not None and record.in_step else None

    def current(self, host: HostId) -> SessionId | None:
        """The host's session, in step or not."""
        return self._of_host.get(host)

    def all_open(self) -> tuple[SessionId, ...]:
        """Every session, oldest first."""
        return tuple(self._sessions)

    def open(self, event: AgentConnected, now_s: float) -> _Do:
        """An agent said hello: welcome it, in place of an earlier session of its host, or turn it away."""
        hello = event.hello
        refusal = self._refusal(hello)
        if refusal is not None:
            yield CloseSession(event.session, *refusal)
            return
        older = self._of_host.get(hello.host)
        if older is not None:
            yield Fault(hello.host, FaultKind.TAKEN_OVER, f"a new session of instance {hello.instance} replaces one")
            yield from self.close(older, CloseCause.TAKEN_OVER, f"{hello.host} opened a newer session", now_s)
        self._sessions[event.session] = _Session(hello.host)
        self._of_host[hello.host] = event.session
        self._agenda.drop(HostDue(hello.host))
        known = self._world.hosts.get(hello.host, HostRecord(hello.host, now_s))
        self._world.put_host(
            replace(
                known,
                last_seen_s=now_s,
                boot_id=hello.boot_id,
                agent_version=hello.agent_version,
                connected=True,
                in_step=False,
            )
        )
        yield SendTo(event.session, Welcome(self._world.policies))

    def _refusal(self, hello: Hello) -> tuple[CloseCause, str] | None:
        if hello.protocol != PROTOCOL:
            words = f"this scheduler speaks protocol {PROTOCOL}, the agent {hello.protocol}; upgrade the older one"
            return CloseCause.PROTOCOL, words
        if hello.host not in self._world.hosts and len(self._world.hosts) >= self._bounds.hosts_max:
            return CloseCause.TOO_MANY, f"this scheduler serves at most {self._bounds.hosts_max} hosts"
        return None

    def lost(self, session: SessionId, now_s: float) -> None:
        """A session ended."""
        ended = self._sessions.pop(session, None)
        if ended is None or self._of_host.get(ended.host) != session:
            return
        del self._of_host[ended.host]
        record = self._world.hosts[ended.host]
        self._world.put_host(replace(record, connected=False, in_step=False, last_seen_s=now_s))
        self.expect_back(ended.host, now_s)

    def expect_back(self, host: HostId, now_s: float) -> None:
        """Forget a host that is not connected, unless it comes back in time."""
        self._agenda.put(HostDue(host), now_s + FORGET_AFTER_S)

    def close(self, session: SessionId, cause: CloseCause, words: str, now_s: float) -> _Do:
        """End a session from here."""
        yield CloseSession(session, cause, words)
        self.lost(session, now_s)

    def admit(self, event: AgentReported, now_s: float) -> Generator[Instruction, None, HostId | None]:
        """The host whose report this is, if it is to be believed; None for what is stale or comes after a gap."""
        session = self._sessions.get(event.session)
        if session is None:
            return None
        host = session.host
        if isinstance(event.report, Hello):
            yield from self.close(event.session, CloseCause.BAD_REPORT, "said hello twice in one session", now_s)
            return None
        if event.sequence < session.next_sequence:
            words = f"message {event.sequence} after {session.next_sequence - 1}"
            yield Fault(host, FaultKind.OUT_OF_SEQUENCE, words)
            return None
        gap = event.sequence > session.next_sequence
        expected, session.next_sequence = session.next_sequence, event.sequence + 1
        record = replace(self._world.hosts[host], last_seen_s=now_s)
        if isinstance(event.report, Snapshot):
            session.resync_asked_s = None
            self._world.put_host(replace(record, in_step=True))
            return host
        self._world.put_host(record)
        if gap or session.resync_asked_s is not None:
            yield from self.resync(host, f"message {event.sequence} where {expected} was expected", now_s)
        return host if self.ready(host) is not None else None

    def resync(self, host: HostId, reason: str, now_s: float) -> _Do:
        """Believe nothing more of a host until it has sent a new snapshot, and ask for one."""
        session = self._of_host.get(host)
        if session is None:
            return
        self._world.put_host(replace(self._world.hosts[host], in_step=False))
        entry = self._sessions[session]
        if entry.resync_asked_s is None or now_s >= entry.resync_asked_s + RESYNC_EVERY_S:
            entry.resync_asked_s = now_s
            yield Fault(host, FaultKind.OUT_OF_SEQUENCE, reason)
            yield SendTo(session, Resync(reason))
