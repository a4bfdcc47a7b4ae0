"""Plays the acts against a running cluster and hands out how each goes, moment by moment."""

import contextlib
import queue
import threading
import time
from collections.abc import Iterator

from numaplace.client import NumaplaceError, SchedulerClient
from numaplace.model.ids import JobId
from numaplace.model.views import Move
from tests.demo.acts import Act, Course
from tests.harness.cluster import wait_job
from tests.harness.job import Job

ACT_WITHIN_S = 120.0
MOMENT_S = 0.1


class Audience:
    """Watches all moves of one job on a thread of its own, so that waiting has an end."""

    def __init__(self, client: SchedulerClient, job: JobId) -> None:
        self._client = client
        self._job = job
        self._moves: queue.SimpleQueue[tuple[Move, float]] = queue.SimpleQueue()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with contextlib.suppress(NumaplaceError):  # the end of the demo ends the stream
            for move in self._client.watch_moves(job=self._job):
                self._moves.put((move, time.monotonic()))

    def seen(self) -> Iterator[tuple[Move, float]]:
        """What came since the last time, waiting one moment for more."""
        with contextlib.suppress(queue.Empty):
            yield self._moves.get(timeout=MOMENT_S)
            while True:
                yield self._moves.get_nowait()


def play(act: Act, client: SchedulerClient, job: Job, job_id: JobId, audience: Audience) -> Iterator[Course]:
    """Perform an act and yield its course every moment, until the move has ended or it took too long."""
    residency = wait_job(client, job_id).tasks[0].task.residency
    job.ask("stalls")
    course = Course(act, time.monotonic(), residency)
    performing = threading.Thread(target=act.perform)
    performing.start()
    while time.monotonic() < course.began_s + ACT_WITHIN_S:
        yield course
        for move, at_s in audience.seen():
            course.see(move, at_s)
        if course.outcome is not None and course.home_s is not None:
            break
    performing.join()
    stalls = job.ask("stalls")
    course.stall_ms = max(stalls["touch_ms"], stalls["mmap_ms"])
    yield course
