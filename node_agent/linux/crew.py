"""The threads that call `move_pages`: hired once, for every move of this host, and lent to one move call by call.

A thread that is made for a call costs as much as the call, wakes whoever watches forks, and has to be made known as
ours; so they stay. Where a call should run is the move's to say. Those are mostly the job's CPUs too, and a mover
that queues for them holds pages that the job waits for: once that goes too far, the rest of the move runs wherever it
may.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from node_agent.core.pages import Run
from node_agent.linux.calls import Answer, call
from node_agent.linux.memory import HostMemory, ProcessMemory
from numaplace.model.ids import Cpus

THREADS_MAX = 32
"""Of all moves together. Calls beyond wait: so many copy as fast as any memory."""
ANYWHERE = Cpus()


class Place(NamedTuple):
    """CPUs to call from, empty for any, and the share of a call that may be spent waiting for one of them."""

    cpus: Cpus = ANYWHERE
    queued_share_max: float = 1.0


class _Call(NamedTuple):
    """A call that is wanted, and where its answer goes."""

    memory: ProcessMemory
    run: Run
    answer: Future[Answer]


class Crew:
    """Threads for all moves. A host that is not concurrent, the fake, gets its calls from the caller itself."""

    def __init__(self, host: HostMemory, enrol: Callable[[], None]) -> None:
        """``enrol`` is called by each new thread, to make it known as ours."""
        self._host = host
        self._pool = ThreadPoolExecutor(THREADS_MAX, "numaplace-move", enrol) if host.concurrent else None
        self._at = threading.local()

    def hands(self, place: Place, threads: int) -> "Hands":
        """What one move calls with: so many threads, at this place."""
        return Hands(self, place, threads)

    def submit(self, work: Callable[[], None]) -> None:
        """Have one of the threads do this."""
        if self._pool is not None:
            self._pool.submit(work)
        else:
            work()

    def work(self, memory: ProcessMemory, run: Run, cpus: Cpus) -> tuple[Answer, float]:
        """Call from these CPUs; also for how long this thread waited for one of them."""
        if getattr(self._at, "cpus", ANYWHERE) != cpus:
            self._at.cpus = cpus
            self._host.run_on(cpus)
        before_s = self._host.own_delay_s()
        answer = call(self._host, memory, run)
        return answer, self._host.own_delay_s() - before_s

    def close(self) -> None:
        """Let the threads end, after the calls under way."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)


class Hands:
    """A crew as one move uses it: some of its threads at a time, and what waits for them in order."""

    def __init__(self, crew: Crew, place: Place, threads: int) -> None:
        """``threads`` is how many calls may be in the kernel at once."""
        self._crew, self._place, self._idle = crew, place, threads
        self._waiting: deque[_Call] = deque()
        self._lock = threading.Lock()

    def call(self, memory: ProcessMemory, run: Run) -> Future[Answer]:
        """Have a run's pages moved, after those that were asked for before."""
        wanted = _Call(memory, run, Future())
        with self._lock:
            self._waiting.append(wanted)
            if not self._idle:
                return wanted.answer
            self._idle -= 1
        self._crew.submit(self._work_off)
        return wanted.answer

    def _work_off(self) -> None:
        while (wanted := self._next()) is not None:
            if not wanted.answer.set_running_or_notify_cancel():
                continue
            try:
                answer, queued_s = self._crew.work(wanted.memory, wanted.run, self._place.cpus)
            except BaseException as error:  # noqa: BLE001 - whoever waits for the answer is to hear of it
                wanted.answer.set_exception(error)
                continue
            if queued_s > self._place.queued_share_max * (answer.ended_s - answer.began_s):
                self._place = Place()
            wanted.answer.set_result(answer)

    def _next(self) -> "_Call | None":
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._idle += 1
            return None
