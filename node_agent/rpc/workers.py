"""Threads for what local callers ask of the kernel, shared so that nobody can keep others, or the agent, waiting.

Locating a large process takes seconds, and anybody of the host may ask for it. So these calls have a few threads of
their own: the agent's sweeps and moves never wait for them. Of those threads one user gets a share, some are never
without root's reach, and whoever asks for more than a bounded number at once is told so. A call whose caller went away
counts until its thread is done, for a thread in a system call cannot be stopped.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

THREADS = 4
THREADS_OF_USERS = 3
"""The rest is root's, who must get through whatever users do."""
THREADS_OF_UID = 2
CALLS_OF_UID_MAX = 32
"""At work and waiting; a prolog may well adopt a host's jobs all at once."""

Answer = TypeVar("Answer")


class TooManyCallsError(Exception):
    """This user has too many calls open; the words say what to do."""


class _Line:
    """One user's calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.turns = asyncio.Semaphore(THREADS_OF_UID)


class Workers:
    """The threads; used on one event loop. ``own_uid`` is the agent's, which counts as root."""

    def __init__(self, own_uid: int) -> None:
        self._privileged = frozenset({0, own_uid})
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="local")
        self._users = asyncio.Semaphore(THREADS_OF_USERS)
        # One for each uid that ever called: peers.py bounds them.
        self._lines: defaultdict[int, _Line] = defaultdict(_Line)

    async def run(self, uid: int, work: Callable[[], Answer]) -> Answer:
        """Do this on a thread when it is the user's turn. Raises TooManyCallsError, or what the work raises."""
        line = self._lines[uid]
        if line.calls >= CALLS_OF_UID_MAX:
            raise TooManyCallsError(
                f"{CALLS_OF_UID_MAX} calls of uid {uid} are open already; ask again when some ended"
            )
        line.calls += 1
        turns = [line.turns] if uid in self._privileged else [line.turns, self._users]
        held: list[asyncio.Semaphore] = []
        try:
            for turn in turns:
                await turn.acquire()
                held.append(turn)
            future = self._pool.submit(work)
        except BaseException:
            _leave(line, held)
            raise
        loop = asyncio.get_running_loop()

        def ended(_: Future[Answer]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_leave, line, held)

        future.add_done_callback(ended)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Begin nothing more; what runs ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _leave(line: _Line, held: list[asyncio.Semaphore]) -> None:
    line.calls -= 1
    for turn in held:
        turn.release()
