"""Runs QEMU so that it never outlives the process that wanted it, however that process ends.

The parent holds the other end of this program's input. When it closes, by `close()`, by a crash or by SIGKILL, QEMU is
killed and the guest's run folder removed. (A parent-death signal set on QEMU itself would follow the *thread* that
started it, and guests are booted from short-lived threads too.)

    supervisor.py RUN_FOLDER PROGRAM ARGUMENT…
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the program; its exit code, negative for a signal as in `subprocess`, is cut to what an exit code can be."""
    run_folder, *command = sys.argv[1:]
    libc = ctypes.CDLL(None)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 - one thread only
    )
    poll = select.poll()
    poll.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
    poll.register(os.pidfd_open(process.pid), select.POLLIN)
    parent_gone = any(fd == sys.stdin.fileno() for fd, _ in poll.poll())
    if parent_gone:
        process.kill()
        process.wait()
        shutil.rmtree(run_folder, ignore_errors=True)
    return process.wait() & 0xFF


if __name__ == "__main__":
    sys.exit(main())
