"""The agent as a service: its logs, its signals, and the exit code that tells whoever started it."""

import asyncio
import contextlib
import resource
import signal
import sys

import structlog

from node_agent.bootstrap import run_agent
from node_agent.configured import Configured, from_json
from node_agent.exits import StartError
from numaplace.telemetry import LogFormat, events, keys, set_up_logs

FILES_MAX = 65536
_ENDING = (signal.SIGTERM, signal.SIGINT)
SWITCH_S = 0.001
"""A move's threads and the event loop wait for each other's turn: a fifth of the usual, for the sake of reaction."""


def serve(settings: str) -> None:
    """Run until SIGTERM or SIGINT; ends the process with the exit code of a StartError."""
    sys.setswitchinterval(SWITCH_S)
    _open_many_files()
    configured = from_json(settings)
    form = LogFormat(configured.log_format)
    set_up_logs(level=configured.log_level, form=form, service="agent", host=configured.host)
    log = structlog.get_logger(__name__)
    try:
        asyncio.run(_until_signalled(configured))
    except StartError as error:
        log.error(events.STOPPED, **{keys.ERROR: str(error)})  # noqa: TRY400 - the words suffice
        sys.exit(error.exit_code)


def _open_many_files() -> None:
    """A task's processes are looked at together, two descriptors each: more than the usual soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _until_signalled(configured: Configured) -> None:
    """Run until SIGTERM or SIGINT; the agent then ends its movers after their current batch."""
    running = asyncio.ensure_future(run_agent(configured))
    loop = asyncio.get_running_loop()

    def end() -> None:
        """Once: another signal must not cut the tidying short."""
        for number in _ENDING:
            loop.add_signal_handler(number, lambda: None)
        running.cancel()

    for number in _ENDING:
        loop.add_signal_handler(number, end)
    with contextlib.suppress(asyncio.CancelledError):
        await running
