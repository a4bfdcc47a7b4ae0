"""An agent for one command's lifetime: started by it, known to it alone, gone with it.

By hand on a host without an agent, a command starts one and speaks to it over the same local API: one way to move a
page, whoever asks (numaplace.client.private is its other half). Rules:

- Its socket and its state lie in a folder that the command made for it, and are gone when it ends.
- It follows what the command adopts and nothing else, and knows no scheduler.
- It ends when its standard input does: that is the command's end, however that comes. Signals of the terminal do not
  reach it, for it leads a session of its own: the command decides what an interrupt means.
- On standard output it says once that it serves. Standard error is for the words with which it could not.
"""

import os
import platform
import shutil
import signal
import sys
from pathlib import Path

from node_agent.launch import ALLOCATOR
from node_agent.left_out import leave_out

SERVING = b"serving\n"


def main() -> None:
    """Serve in the folder that is named until standard input ends."""
    leave_out()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whoever started us may wait for signals, and we inherit that
    os.environ.update({**ALLOCATOR, **os.environ})  # before numpy reads it
    folder = Path(sys.argv[1])
    try:
        _serve(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(folder: Path) -> None:
    # With all they import, and without what is left out.
    from node_agent.configured import Configured, Watch  # noqa: PLC0415
    from node_agent.core.rules import SelectionRules  # noqa: PLC0415
    from node_agent.service import serve_while_held  # noqa: PLC0415
    from numaplace.configured import TlsPaths  # noqa: PLC0415
    from numaplace.model.policy import Policy  # noqa: PLC0415

    configured = Configured(
        host=platform.node() or "localhost",
        scheduler=None,
        socket=folder / "agent.sock",
        state_dir=folder,
        tls=TlsPaths(),
        rules=SelectionRules(),
        owned_cpusets=(),
        policy=Policy(),
        movers=2,
        watch=Watch(),
        log_level="error",
        log_format="console",
    )
    serve_while_held(configured, held_by=sys.stdin.fileno(), say_ready=lambda: os.write(sys.stdout.fileno(), SERVING))


if __name__ == "__main__":
    main()
