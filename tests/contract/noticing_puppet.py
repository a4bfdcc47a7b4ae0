"""A process that does what it is told: the job that is re-pinned, and the stranger who re-pins it.

Reads lines `WORD ARGUMENTS…` and answers each with one line when it is done: the time since boot, and the outcome.
"""

import os
import sys
import threading
import time
from pathlib import Path


def _pin(tid: str, cpus: str) -> str:
    os.sched_setaffinity(int(tid), {int(cpu) for cpu in cpus.split(",")})
    return "pinned"


def _write(path: str, text: str) -> str:
    try:
        Path(path).write_text(text)
    except OSError as error:
        return f"errno {error.errno}"
    return "written"


def _thread() -> str:
    started: list[int] = []
    told = threading.Event()

    def idle() -> None:
        started.append(threading.get_native_id())
        told.set()
        threading.Event().wait()

    threading.Thread(target=idle, daemon=True).start()
    told.wait()
    return str(started[0])


def _fork() -> str:
    child = os.fork()
    if child == 0:
        # The child waits for its parent's end, and for nothing else.
        os.execvp("sleep", ["sleep", "600"])  # noqa: S606 - a test's own child
    return str(child)


def _reap(pid: str) -> str:
    os.kill(int(pid), 9)
    os.waitpid(int(pid), 0)
    return "reaped"


def _become(command: str) -> str:
    os.execvp(command, [command, "600"])  # noqa: S606 - a test's own child


def _flutter(pid: str, times: str) -> str:
    for i in range(int(times)):
        os.sched_setaffinity(int(pid), {3 if i % 2 == 0 else 0})
    return "fluttered"


WORDS = {
    "pin": _pin,
    "write": _write,
    "thread": _thread,
    "fork": _fork,
    "reap": _reap,
    "become": _become,
    "flutter": _flutter,
}


def main() -> None:
    """Obey until the input ends."""
    for line in sys.stdin:
        word, *arguments = line.rstrip("\n").split(" ")
        answer = WORDS[word](*arguments)  # type: ignore[operator]
        sys.stdout.write(f"{time.clock_gettime(time.CLOCK_BOOTTIME)} {answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
