"""A job of many threads that do nothing: what an agent at rest has to watch. ``python -m … THREADS``."""

import sys
import threading

from tests.jobs.talk import talk

STACK_BYTES = 64 << 10


def main() -> None:
    """Start all threads, say so, and wait for the end of input."""
    threading.stack_size(STACK_BYTES)
    never = threading.Event()
    for _ in range(int(sys.argv[1]) - 1):
        threading.Thread(target=never.wait, daemon=True).start()
    talk({"ready": True}, {})


if __name__ == "__main__":
    main()
