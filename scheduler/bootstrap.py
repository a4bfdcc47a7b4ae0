"""The composition root: the one place where the scheduler's parts are built and joined."""

import asyncio
import contextlib
import secrets
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from prometheus_client import start_http_server

from numaplace import __version__
from numaplace.configured import ConfigurationError
from numaplace.model.address import is_loopback_host
from numaplace.telemetry import events, keys
from scheduler.rpc.server import Renewal, Server, TlsFiles
from scheduler.runtime.clock import SystemClock
from scheduler.runtime.logbook import Logbook
from scheduler.runtime.metrics import Metrics
from scheduler.runtime.shell import Shell
from scheduler.settings import SchedulerSettings
from scheduler.state.machine import SchedulerState
from scheduler.store.sqlite import SqliteStore

log = structlog.get_logger(__name__)


def tls_files(settings: SchedulerSettings) -> TlsFiles | None:
    """The files for mTLS, None for plaintext where that is allowed. Raises ConfigurationError."""
    files = settings.tls.files()
    if files is not None:
        return TlsFiles(*files)
    if not settings.tls.insecure and not is_loopback(settings.listen):
        raise ConfigurationError(
            f"listening on {settings.listen} without TLS would let anyone order moves; make certificates with"
            " numaplace-scheduler certs and give --tls-ca, --tls-cert and --tls-key, listen on 127.0.0.1,"
            " or say --insecure if the network is trusted"
        )
    return None


def _renewed(settings: SchedulerSettings) -> TlsFiles | None:
    """The files for mTLS as they are now, None if they cannot be read."""
    try:
        return tls_files(settings)
    except ConfigurationError as error:
        log.warning(events.TLS_UNREADABLE, **{keys.ERROR: str(error)})
        return None


def is_loopback(listen: str) -> bool:
    """Whether only processes of this machine can reach the address."""
    if listen.startswith("unix:"):
        return True
    return is_loopback_host(listen.rpartition(":")[0])


async def serve(settings: SchedulerSettings) -> None:
    """Run the scheduler until SIGTERM or SIGINT.

    Raises ConfigurationError, StoreError or ListenError if it cannot start, StoreError if the store fails for long.
    """
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with running(settings) as scheduler:
        address = f"{settings.listen.rpartition(':')[0]}:{scheduler.port}"
        log.info(events.STARTED, **{keys.ADDRESS: address, keys.VERSION: __version__})
        await _first_of(stopping.wait(), scheduler.shell.ended())
    log.info(events.STOPPED)


@dataclass(frozen=True, slots=True)
class Running:
    """A scheduler that serves: its shell, and the ports it listens on."""

    shell: Shell
    port: int
    metrics_port: int | None


@contextlib.asynccontextmanager
async def running(settings: SchedulerSettings) -> AsyncIterator[Running]:
    """A scheduler that serves; leaving the context drains it. Raises as :func:`serve` does."""
    tls = tls_files(settings)
    async with _shell(settings) as (shell, logbook, metrics):
        renewal = None if tls is None else Renewal(tls, partial(_renewed, settings))
        server = Server(shell, logbook, settings.listen, renewal)
        with _exported(settings, metrics) as metrics_port:
            async with _writing(shell):
                await server.start()
                try:
                    yield Running(shell, server.port, metrics_port)
                finally:
                    shell.hang_up()
                    await server.stop(settings.drain_s)


@contextlib.asynccontextmanager
async def _writing(shell: Shell) -> AsyncIterator[None]:
    """The one writer, which outlives the services: what they handed in is stored before the end."""
    writer = asyncio.create_task(shell.run())
    try:
        yield
    finally:
        shell.stop()
        await writer


async def _first_of(*awaited: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.create_task(each) for each in awaited]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def _shell(settings: SchedulerSettings) -> AsyncIterator[tuple[Shell, Logbook, Metrics]]:
    """The state as it was stored, in its shell, with the store's own thread around it."""
    loop, clock, metrics = asyncio.get_running_loop(), SystemClock(), Metrics()
    path = settings.store.path
    with contextlib.suppress(OSError):  # the store says what is wrong with the folder
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ThreadPoolExecutor(1, thread_name_prefix="store") as pool:
        opened = partial(SqliteStore, path, clock, durable=settings.store.survive_power_loss)
        store = await loop.run_in_executor(pool, opened)
        try:
            restored = await loop.run_in_executor(pool, store.load, settings.policy.to_policy())
            state = SchedulerState(
                secrets.token_hex(4),
                clock.now_s(),
                restored,
                settings.limits.to_limits(),
                settings.limits.to_bounds(),
            )
            logbook = Logbook(metrics)
            shell = Shell(state, store, clock, logbook, pool)
            metrics.follow(state, lambda: shell.events_waiting)
            yield shell, logbook, metrics
        finally:
            await loop.run_in_executor(pool, store.close)


@contextlib.contextmanager
def _exported(settings: SchedulerSettings, metrics: Metrics) -> Iterator[int | None]:
    """Serve the metrics, if that is wanted; gives the port."""
    if settings.metrics.port is None:
        yield None
        return
    try:
        server, thread = start_http_server(settings.metrics.port, settings.metrics.address, metrics.registry)
    except OSError as error:
        where = f"{settings.metrics.address}:{settings.metrics.port}"
        raise ConfigurationError(f"[metrics]: cannot listen on {where}: {error}") from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
