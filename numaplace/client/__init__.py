"""The public client: ask a scheduler, or this host's agent, from threads or from asyncio.

Answers are values of :mod:`numaplace.model`, never protobuf; failures are :class:`NumaplaceError` and its kinds. Every
call has a deadline, and only what surely has not begun is tried again.
"""

from numaplace.client.agent import AgentClient, AsyncAgentClient
from numaplace.client.errors import (
    Busy,
    InvalidRequest,
    NotAllowed,
    NotFound,
    NotNow,
    NumaplaceError,
    ProtocolError,
    ServerFault,
    TimedOut,
    Unavailable,
)
from numaplace.client.scheduler import AsyncSchedulerClient, SchedulerClient
from numaplace.client.target import AGENT_SOCKET, SCHEDULER_ADDRESS, Tls

__all__ = [
    "AGENT_SOCKET",
    "SCHEDULER_ADDRESS",
    "AgentClient",
    "AsyncAgentClient",
    "AsyncSchedulerClient",
    "Busy",
    "InvalidRequest",
    "NotAllowed",
    "NotFound",
    "NotNow",
    "NumaplaceError",
    "ProtocolError",
    "SchedulerClient",
    "ServerFault",
    "TimedOut",
    "Tls",
    "Unavailable",
]
