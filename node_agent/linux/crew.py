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
from node_agent.core.strategy import ANYWHERE, Place
from node_agent.linux.calls import Answer, call
from node_agent.linux.memory import HostMemory, ProcessMemory
from numaplace.model.ids import Cpus

THREADS_MAX = 32
"""Of all moves together. Calls beyond wait: so many copy as fast as any memory."""


class _Call(NamedTuple):
    """A call that is wanted, and where its answer goes."""

    memory: ProcessMemory
    run: Run
    answer: Future[Answer]


class Crew:
    """Threads for all moves. A host that is not concurrent, the fake, gets its calls from the caller itself."""

    def __init__(self, host: HostMemory, enrol: Callable[[], None]) -> None:
        """``enrol`` is called by each new thread, to make it known as ours."""
        self._host, self._enrol = host, enrol
        self._pool = ThreadPoolExecutor(THREADS_MAX, "numaplace-move") if host.concurrent else None
        self._here = threading.local()

    def hands(self, place: Place, threads: int) -> "Hands":
        """What one move calls with: so many threads, at this place."""
        return Hands(self, place, threads)

    def submit(self, work: Callable[[], None]) -> None:
        """Have one of the threads do this. Raises RuntimeError if there can be none."""
        if self._pool is not None:
            self._pool.submit(work)
        else:
            work()

    def work(self, memory: ProcessMemory, run: Run, cpus: Cpus) -> tuple[Answer, float]:
        """Call from these CPUs; also for how long this thread waited for one of them."""
        if not getattr(self._here, "enrolled", False):
            self._enrol()
            self._here.enrolled = True
        if getattr(self._here, "cpus", ANYWHERE) != cpus:
            self._here.cpus = cpus
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
        """Have a run's pages moved, after those that were asked for before. Raises RuntimeError without a thread."""
        wanted = _Call(memory, run, Future())
        with self._lock:
            self._waiting.append(wanted)
            if not self._idle:
                return wanted.answer
            self._idle -= 1
        try:
            self._crew.submit(self._work)
        except RuntimeError:
            with self._lock:
                self._idle += 1
                if wanted in self._waiting:
                    self._waiting.remove(wanted)
            raise
        return wanted.answer

    def _work(self) -> None:
        """One call; the next one asks for a thread anew, so that other moves have theirs in between."""
        with self._lock:
            wanted = self._waiting.popleft() if self._waiting else None
        if wanted is not None and wanted.answer.set_running_or_notify_cancel():
            self._answer(wanted)
        with self._lock:
            if not self._waiting:
                self._idle += 1
                return
        try:
            self._crew.submit(self._work)
        except RuntimeError as error:
            self._give_up(error)

    def _answer(self, wanted: _Call) -> None:
        try:
            answer, queued_s = self._crew.work(wanted.memory, wanted.run, self._place.cpus)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the answer is to hear of it
            wanted.answer.set_exception(error)
            return
        if queued_s > self._place.queued_share_max * (answer.ended_s - answer.began_s):
            self._place = Place()
        wanted.answer.set_result(answer)

    def _give_up(self, error: RuntimeError) -> None:
        """There are no more threads: whoever waits is told."""
        with self._lock:
            self._idle += 1
            waiting = tuple(self._waiting)
            self._waiting.clear()
        for wanted in waiting:
            if wanted.answer.set_running_or_notify_cancel():
                wanted.answer.set_exception(error)
