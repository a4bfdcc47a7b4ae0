"""The threads that call `move_pages`: hired once, for every move of this host, and lent to one move call by call.

A thread that is made for a call costs as much as the call, wakes whoever watches forks, and has to be made known as
ours; so they stay. Where a call should run is the move's to say: on the CPUs next to the pages' new place. Those are
also the job's CPUs, and a mover that queues for them holds pages that the job waits for: once that happens, the rest
of the move runs wherever it may.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from node_agent.core.pages import Run
from node_agent.linux.calls import Answer, call
from node_agent.linux.memory import HostMemory, ProcessMemory
from numaplace.model.ids import Cpus

THREADS_MAX = 32
"""Of all moves together. Calls beyond wait: so many copy as fast as any memory."""
CROWDED_SHARE = 0.2
"""A call that waited for a CPU for this much of its time was in the job's way."""
ANYWHERE = Cpus()


class Crew:
    """Threads for all moves. A host that is not concurrent, the fake, gets its calls from the caller itself."""

    def __init__(self, host: HostMemory, enrol: Callable[[], None]) -> None:
        """``enrol`` is called by each new thread, to make it known as ours."""
        self._host = host
        self._pool = ThreadPoolExecutor(THREADS_MAX, "numaplace-move", enrol) if host.concurrent else None
        self._at = threading.local()

    def hands(self, cpus: Cpus) -> "Hands":
        """What one move calls with, best on these CPUs; empty for any."""
        return Hands(self, cpus)

    def submit(self, work: Callable[[], Answer]) -> Future[Answer]:
        """Have one of the threads do this."""
        if self._pool is not None:
            return self._pool.submit(work)
        done: Future[Answer] = Future()
        done.set_result(work())
        return done

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
    """A crew as one move uses it."""

    def __init__(self, crew: Crew, cpus: Cpus) -> None:
        self._crew, self._cpus = crew, cpus

    def call(self, memory: ProcessMemory, run: Run) -> Future[Answer]:
        """Have a run's pages moved."""
        return self._crew.submit(lambda: self._work(memory, run))

    def _work(self, memory: ProcessMemory, run: Run) -> Answer:
        answer, queued_s = self._crew.work(memory, run, self._cpus)
        if queued_s > CROWDED_SHARE * (answer.ended_s - answer.began_s):
            self._cpus = ANYWHERE
        return answer
