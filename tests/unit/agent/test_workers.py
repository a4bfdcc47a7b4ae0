"""The local service's threads: who waits for whom, and who does not."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from node_agent.rpc.workers import CALLS_OF_UID_MAX, THREADS_OF_UID, THREADS_OF_USERS, TooManyCallsError, Workers

WITHIN_S = 60.0
AGENT, ALICE, BOB, CAROL = 999, 1001, 1002, 1003


class Gate:
    """Work that lasts until it is let go; counts what has begun."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self._open = threading.Event()

    def work(self) -> str:
        """Wait at the gate."""
        self.begun.release()
        self._open.wait(WITHIN_S)
        return "done"

    async def has_begun(self, count: int) -> None:
        """Wait until so many have begun."""
        for _ in range(count):
            assert await asyncio.to_thread(self.begun.acquire, timeout=WITHIN_S)

    def open(self) -> None:
        """Let them go."""
        self._open.set()


def play(scenario: Callable[[Workers, Gate], Awaitable[None]]) -> None:
    """Run a scenario with threads and a gate, and leave nothing behind."""

    async def played() -> None:
        workers, gate = Workers(AGENT), Gate()
        try:
            async with asyncio.timeout(WITHIN_S):
                await scenario(workers, gate)
        finally:
            gate.open()
            workers.close()

    asyncio.run(played())


@pytest.mark.parametrize("other", [BOB, 0, AGENT])
def test_one_user_keeps_nobody_waiting(other: int) -> None:
    """However much one user asks for, another is served at once; and all of it is in the end."""

    async def scenario(workers: Workers, gate: Gate) -> None:
        alices = [asyncio.ensure_future(workers.run(ALICE, gate.work)) for _ in range(CALLS_OF_UID_MAX)]
        await gate.has_begun(THREADS_OF_UID)
        assert await workers.run(other, lambda: "served") == "served"
        gate.open()
        assert await asyncio.gather(*alices) == ["done"] * CALLS_OF_UID_MAX

    play(scenario)


def test_all_users_together_do_not_keep_root_waiting() -> None:
    """There is always a thread for root."""

    async def scenario(workers: Workers, gate: Gate) -> None:
        calls = [asyncio.ensure_future(workers.run(uid, gate.work)) for uid in (ALICE, BOB, CAROL) for _ in range(4)]
        await gate.has_begun(THREADS_OF_USERS)
        assert await workers.run(0, lambda: "served") == "served"
        gate.open()
        await asyncio.gather(*calls)

    play(scenario)


def test_more_than_the_bound_is_refused_in_words() -> None:
    """At once, and only while that many are open."""

    async def scenario(workers: Workers, gate: Gate) -> None:
        calls = [asyncio.ensure_future(workers.run(ALICE, gate.work)) for _ in range(CALLS_OF_UID_MAX)]
        await gate.has_begun(THREADS_OF_UID)
        with pytest.raises(TooManyCallsError, match="ask again"):
            await workers.run(ALICE, gate.work)
        gate.open()
        await asyncio.gather(*calls)
        assert await workers.run(ALICE, lambda: "served") == "served"

    play(scenario)


async def all_places_are_free(workers: Workers, gate: Gate) -> bool:
    """Whether a user may have as many calls as ever."""
    calls = [asyncio.ensure_future(workers.run(ALICE, gate.work)) for _ in range(CALLS_OF_UID_MAX)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    return not any(isinstance(answer, TooManyCallsError) for answer in answers)


def test_a_caller_that_went_away_counts_until_its_thread_is_done() -> None:
    """Asking and hanging up again does not get anybody more threads; leaving the queue gives the place back."""

    async def scenario(workers: Workers, gate: Gate) -> None:
        gone = [asyncio.ensure_future(workers.run(ALICE, gate.work)) for _ in range(THREADS_OF_UID + 5)]
        await gate.has_begun(THREADS_OF_UID)
        for call in gone:
            call.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        waiting = asyncio.ensure_future(workers.run(ALICE, gate.work))
        await workers.run(BOB, lambda: None)
        assert not gate.begun.acquire(blocking=False)
        gate.open()
        assert await waiting == "done"
        while not await all_places_are_free(workers, gate):  # noqa: ASYNC110 - threads end, which nothing tells
            await asyncio.sleep(0.01)

    play(scenario)


def test_what_the_work_raises_reaches_the_caller() -> None:
    """A fault is the caller's, and costs no thread."""

    def fails() -> None:
        raise LookupError("there is no process")

    async def scenario(workers: Workers, gate: Gate) -> None:
        del gate
        for _ in range(CALLS_OF_UID_MAX + 1):
            with pytest.raises(LookupError, match="no process"):
                await workers.run(ALICE, fails)

    play(scenario)
