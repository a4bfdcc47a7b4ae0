"""The one place where the agent's parts are built and joined: adapters of this host, the core, the shell."""

import asyncio
import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import grpc
import structlog

from node_agent.configured import Configured
from node_agent.core.agent import AgentCore
from node_agent.core.desk import Limits
from node_agent.core.detector import is_at_or_below
from node_agent.core.facts import ProcessRef, TaskFacts
from node_agent.core.rhythm import Rhythm
from node_agent.exits import EXIT_CONFIGURATION, EXIT_DATA, EXIT_FAILED, StartError
from node_agent.linux.journal import JournalDamagedError, JournalError, SqliteJournal
from node_agent.linux.open_mover import OpenMover, open_mover
from node_agent.linux.sweep import TaskSweep, boot_clock_s, open_tasks
from node_agent.linux.watchers import WatcherChoice, open_watchers, see_everything
from node_agent.ports import Mover, Watcher
from node_agent.rpc.hands import About, Hands, Located
from node_agent.rpc.local import LocalService
from node_agent.rpc.peers import PeerGate
from node_agent.rpc.places import Places
from node_agent.rpc.publisher import Publisher
from node_agent.rpc.session import Endpoint, SchedulerSession
from node_agent.rpc.workers import Workers
from node_agent.runtime.shell import HAND_MOVES_MAX, Outlets, Shell
from node_agent.runtime.sweeping import Sweeping
from numaplace import __version__, wire
from numaplace.configured import ConfigurationError, TlsPaths
from numaplace.kernel.errors import ProcessGone
from numaplace.kernel.files import read_text
from numaplace.kernel.topology import read_topology
from numaplace.model.address import is_loopback_host
from numaplace.model.ids import HostId, JobId
from numaplace.model.job import ChangeSource
from numaplace.model.session import Abilities, Hello, PolicySet, Report
from numaplace.telemetry import events, keys
from numaplace.v1 import local_pb2_grpc

log = structlog.get_logger(__name__)


class BootClock:
    """The host's boot-time clock."""

    @staticmethod
    def now_s() -> float:
        """Seconds since boot, suspend included."""
        return boot_clock_s()


@dataclass(frozen=True, slots=True)
class Host:
    """The adapters to this host."""

    tasks: TaskSweep
    memory: OpenMover
    watchers: tuple[Watcher, ...]
    abilities: Abilities

    @property
    def mover(self) -> Mover:
        """What moves pages here."""
        return self.memory.mover

    def close(self) -> None:
        """Release what the kernel holds for us; the watchers are closed by whoever reads them."""
        self.memory.close()


def open_host(settings: Configured, *, at_once: bool = False) -> Host:
    """Probe this host and open what it offers; ``at_once`` leaves waiting for the probe to the first move.

    Raises ConfigurationError, or OSError of the kernel's files.
    """
    rules = settings.rules
    tasks = open_tasks(rules, read_topology, settings.state_dir / "adoptions.json")
    memory = open_mover(partial(_is_owned, settings.owned_cpusets), at_once=at_once)
    wanted = settings.watch
    watchers, remarks = open_watchers(
        WatcherChoice(wanted.fanotify, wanted.inotify, wanted.tracefs, execs=rules.by_pattern)
    )
    found = memory.mover.abilities()
    abilities = replace(
        found,
        kernel=found.kernel or os.uname().release,
        watchers=frozenset({ChangeSource.SWEEP, *(watcher.source for watcher in watchers)}),
        remarks=(*found.remarks, *remarks, *tasks.remarks),
    )
    return Host(tasks, memory, tuple(watchers), abilities)


def _is_owned(owned: tuple[str, ...], cgroup: str) -> bool:
    """Whether a cgroup is one of those, or below one, whose cpuset numaplace may write."""
    return any(is_at_or_below(cgroup, top) for top in owned)


def describe_host(settings: Configured) -> Iterator[str]:
    """In plain words what the agent can and cannot do here. Raises StartError."""
    try:
        host = open_host(settings)
    except (ConfigurationError, OSError) as error:
        raise _explained(error) from error
    try:
        yield f"kernel: {host.abilities.kernel}"
        yield f"watchers: {', '.join(sorted(source.value for source in host.abilities.watchers))}"
        yield f"moves pages: {'yes' if host.abilities.can_move else 'no'}"
        yield from host.abilities.remarks
    finally:
        for watcher in host.watchers:
            watcher.close()
        host.close()


def _off_the_loop(opening: Callable[[], Host]) -> Host:
    """Open the host on a thread without an event loop: probing asks for the node of a page of our own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(opening).result()


async def run_agent(
    settings: Configured, say_ready: Callable[[], object] | None = None, *, at_once: bool = False
) -> None:
    """Run until cancelled. Raises StartError with words for whoever started it.

    Args:
        settings: what the agent is told.
        say_ready: called once the agent serves and has looked at the host.
        at_once: serve without waiting for what the kernel's probe finds; the first move waits for it instead.
    """
    try:
        await Agent(settings, at_once=at_once).run(say_ready)
    except (ConfigurationError, JournalError, OSError) as error:
        raise _explained(error) from error
    except BaseExceptionGroup as group:
        known = _known_causes(group)
        if len(known) != len(_leaves(group)):
            raise  # a bug: its traceback is what helps
        raise _explained(known[0]) from group


def _explained(error: Exception) -> StartError:
    if isinstance(error, ConfigurationError):
        return StartError(str(error), EXIT_CONFIGURATION)
    return StartError(str(error), EXIT_DATA if isinstance(error, JournalDamagedError) else EXIT_FAILED)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _known_causes(group: BaseException) -> list[Exception]:
    return [leaf for leaf in _leaves(group) if isinstance(leaf, ConfigurationError | JournalError | OSError)]


class Agent:
    """All parts of one agent, joined."""

    def __init__(self, settings: Configured, *, at_once: bool = False) -> None:
        self._settings = settings
        endpoint = endpoint_of(settings)
        self._journal = SqliteJournal(settings.state_dir / "journal.sqlite")
        boot_id = read_text(Path("/proc/sys/kernel/random/boot_id")).strip()
        remembered = self._journal.remember(boot_id)
        policies = remembered.policies or PolicySet(settings.policy)
        self._host = _off_the_loop(partial(open_host, settings, at_once=at_once))
        instance = uuid.uuid4().hex[:12]
        limits = Limits(movers_max=settings.movers)
        self._core = AgentCore(instance, replace(remembered, policies=policies), limits)
        self._publisher = Publisher()
        self._local_servers: list[grpc.aio.Server] = []
        self._workers = Workers(os.geteuid())
        self._places = Places(os.geteuid(), HAND_MOVES_MAX)
        clock = BootClock()
        outlets = Outlets(self._send, self._publisher.publish)
        self._shell = Shell(self._core, self._host.mover, self._journal, clock, outlets)
        rhythm = Rhythm(watched=see_everything(self._host.watchers))
        self._sweeping = Sweeping(
            self._host.tasks, self._host.watchers, rhythm, clock, self._shell.put, sees_everything=see_everything
        )
        self._gate = PeerGate(settings.socket, self._serve_uid)
        hello = Hello(HostId(settings.host), instance, boot_id, agent_version=__version__)
        self._session = SchedulerSession(endpoint, hello, self._shell.put) if endpoint else None

    def _send(self, report: Report) -> None:
        if self._session is not None:
            self._session.send(report)

    async def run(self, say_ready: Callable[[], object] | None = None) -> None:
        """Run until cancelled."""
        abilities = self._host.abilities
        log.info(
            events.STARTED,
            **{
                keys.VERSION: __version__,
                keys.WATCHERS: sorted(source.value for source in abilities.watchers),
                keys.ADDRESS: self._settings.scheduler,
            },
        )
        for remark in abilities.remarks:
            log.warning(events.ABILITY_MISSING, **{keys.WORDS: remark})
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._shell.run(abilities))
                tasks.create_task(self._sweeping.run())
                tasks.create_task(self._dial_when_swept())
                tasks.create_task(self._gate.run())
                if say_ready is not None:
                    await self._become_ready()
                    say_ready()
        finally:
            for server in self._local_servers:
                await server.stop(None)
            self._workers.close()
            self._host.close()
            self._journal.close()
            log.info(events.STOPPED)

    async def _become_ready(self) -> None:
        """Wait until whoever started us is answered at once, about a host that was looked at."""
        await self._gate.listening.wait()
        await self._gate.serve(os.geteuid())
        await self._sweeping.first_done.wait()

    async def _dial_when_swept(self) -> None:
        await self._sweeping.first_done.wait()
        if self._session is not None:
            await self._session.run()

    async def _serve_uid(self, uid: int, path: Path) -> None:
        """Start the local service of one uid."""
        about = About(self._settings.host, self._settings.scheduler or "")
        # What a list of pages may take, and no more: each call of a stranger may have the agent hold so much.
        options = (("grpc.max_receive_message_length", wire.REQUEST_BYTES_MAX),)
        server = grpc.aio.server(maximum_concurrent_rpcs=64, options=options)
        service = LocalService(
            uid, self._core, self._hands(uid), publisher=self._publisher, places=self._places, about=about
        )
        local_pb2_grpc.add_LocalServicer_to_server(service, server)
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        # grpc.aio closes and unlinks the socket of a server that nobody holds.
        self._local_servers.append(server)

    def _hands(self, uid: int) -> Hands:
        source = self._host.tasks
        return Hands(
            now_s=boot_clock_s,
            connected=lambda: self._session is not None and self._session.connected,
            find=lambda pid, cgroup, alone: self._workers.run(
                uid, partial(source.find, pid=pid, cgroup=cgroup, alone=alone)
            ),
            locate=partial(self._locate, uid),
            adopt=partial(self._adopt, uid),
            release=partial(self._release, uid),
            predict=lambda job: self._workers.run(uid, partial(self._host.mover.predict, job)),
            move=self._shell.move_by_hand,
            cancel=self._shell.cancel_by_hand,
        )

    async def _locate(self, uid: int, processes: tuple[ProcessRef, ...]) -> Located:
        measured = await self._workers.run(uid, partial(self._host.mover.measure, processes))
        return measured, self._host.mover.stuck(processes)

    async def _adopt(self, uid: int, job: JobId, process: ProcessRef | None, cgroup: str | None) -> TaskFacts:
        adopting = partial(self._host.tasks.adopt, job, process=process, cgroup=cgroup, by_uid=uid)
        try:
            facts = await self._workers.run(uid, adopting)
        except ProcessGone as error:
            raise LookupError(f"there is no process {error.pid} any more") from error
        self._sweeping.look_now()
        return facts

    async def _release(self, uid: int, job: JobId) -> int:
        released = await self._workers.run(uid, partial(self._host.tasks.release, job, by_uid=uid))
        self._sweeping.look_now()
        return released


def endpoint_of(settings: Configured) -> Endpoint | None:
    """Where to dial and how, None without a scheduler. Raises ConfigurationError."""
    if settings.scheduler is None:
        return None
    if settings.tls.files() is not None:
        return Endpoint(settings.scheduler, partial(_credentials, settings.tls))
    _demand_loopback(settings.scheduler, settings.tls)
    return Endpoint(settings.scheduler)


def _credentials(tls: TlsPaths) -> grpc.ChannelCredentials:
    """What the files hold now. Raises ConfigurationError."""
    files = tls.files()
    if files is None:
        raise AssertionError("the settings named files at start, and do not change")
    ca, certificate, key = files
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _demand_loopback(target: str, tls: TlsPaths) -> None:
    """Plaintext leaves the host only if somebody said so."""
    if target.startswith("unix:"):
        return
    if not is_loopback_host(target.rpartition(":")[0]) and not tls.insecure:
        raise ConfigurationError(
            f"{target} is not on loopback, and no TLS files are given: make certificates with numaplace-scheduler certs"
            " and name them in [tls], or allow plaintext with --insecure"
        )
