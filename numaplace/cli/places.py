"""Where a service listens unless the command line says otherwise."""

from pathlib import Path

SCHEDULER = "127.0.0.1:7700"
AGENT_SOCKET = Path("/run/numaplace/agent.sock")
# Written here a second time because reading them from numaplace.client would import gRPC; a test compares them.
