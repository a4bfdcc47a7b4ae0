"""The agent as a service: its logs, its signals, and the exit code that tells whoever started it."""

import asyncio
import contextlib
import signal
import sys

import structlog

from node_agent.bootstrap import run_agent
from node_agent.configured import Configured, from_json
from node_agent.exits import StartError
from numaplace.telemetry import LogFormat, events, keys, set_up_logs

SWITCH_S = 0.001
"""A move's threads and the event loop wait for each other's turn: a fifth of the usual, for the sake of reaction."""


def serve(settings: str) -> None:
    """Run until SIGTERM or SIGINT; ends the process with the exit code of a StartError."""
    sys.setswitchinterval(SWITCH_S)
    configured = from_json(settings)
    form = LogFormat(configured.log_format)
    set_up_logs(level=configured.log_level, form=form, service="agent", host=configured.host)
    log = structlog.get_logger(__name__)
    try:
        asyncio.run(_until_signalled(configured))
    except StartError as error:
        log.error(events.STOPPED, **{keys.ERROR: str(error)})  # noqa: TRY400 - the words suffice
        sys.exit(error.exit_code)


async def _until_signalled(configured: Configured) -> None:
    """Run until SIGTERM or SIGINT; the agent then ends its movers after their current batch."""
    running = asyncio.ensure_future(run_agent(configured))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running
