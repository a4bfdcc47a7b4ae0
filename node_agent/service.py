"""The agent as a service: its logs, its signals, and the exit code that tells whoever started it."""

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable

import structlog

from node_agent.bootstrap import run_agent
from node_agent.configured import Configured, from_json
from node_agent.exits import StartError
from numaplace.telemetry import LogFormat, events, keys, set_up_logs

log = structlog.get_logger(__name__)

FILES_MAX = 65536
_ENDING = (signal.SIGTERM, signal.SIGINT)
SWITCH_S = 0.001
"""A move's threads and the event loop wait for each other's turn: a fifth of the usual, for the sake of reaction."""


def serve(settings: str) -> None:
    """Run until SIGTERM or SIGINT; ends the process with the exit code of a StartError."""
    configured = from_json(settings)
    _prepare(configured)
    try:
        asyncio.run(_until_ended(configured))
    except StartError as error:
        log.error(events.STOPPED, **{keys.ERROR: str(error)})  # noqa: TRY400 - the words suffice
        sys.exit(error.exit_code)


def serve_while_held(configured: Configured, held_by: int, say_ready: Callable[[], object]) -> None:
    """Run until the file ends whose other end somebody holds, or a signal; say so as soon as the agent serves.

    The words of a StartError are the last on standard error.
    """
    _prepare(configured)
    try:
        asyncio.run(_until_ended(configured, held_by, say_ready))
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


def _prepare(configured: Configured) -> None:
    sys.setswitchinterval(SWITCH_S)
    _open_many_files()
    form = LogFormat(configured.log_format)
    set_up_logs(level=configured.log_level, form=form, service="agent", host=configured.host)


def _open_many_files() -> None:
    """A task's processes are looked at together, two descriptors each: more than the usual soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _until_ended(
    configured: Configured, held_by: int | None = None, say_ready: Callable[[], object] | None = None
) -> None:
    """Run until something ends it; the agent then ends its movers after their current batch."""
    running = asyncio.ensure_future(run_agent(configured, say_ready, at_once=held_by is not None))
    loop = asyncio.get_running_loop()

    def end() -> None:
        """Once: another signal, or the end of the file after one, must not cut the tidying short."""
        for number in _ENDING:
            loop.add_signal_handler(number, lambda: None)
        if held_by is not None:
            loop.remove_reader(held_by)
        running.cancel()

    def read(file: int) -> None:
        if not os.read(file, 4096):
            end()

    for number in _ENDING:
        loop.add_signal_handler(number, end)
    if held_by is not None:
        loop.add_reader(held_by, read, held_by)
    with contextlib.suppress(asyncio.CancelledError):
        await running
