"""When to look at what again: one time per subject, a new one replaces the old."""

import heapq
from dataclasses import dataclass

from numaplace.model.ids import HostId, MoveId
from scheduler.planning.records import TaskKey


@dataclass(frozen=True, slots=True)
class TaskDue:
    """A task is to be judged."""

    key: TaskKey


@dataclass(frozen=True, slots=True)
class OrderDue:
    """An order or its cancellation got no answer yet."""

    move: MoveId


@dataclass(frozen=True, slots=True)
class HostDue:
    """A host has been away for long."""

    host: HostId


Subject = TaskDue | OrderDue | HostDue


class Agenda:
    """Subjects by time. Replaced entries stay in the heap until they surface or outnumber the living."""

    def __init__(self) -> None:
        self._at: dict[Subject, float] = {}
        self._heap: list[tuple[float, int, Subject]] = []
        self._count = 0

    def put(self, subject: Subject, at_s: float) -> None:
        """Look at the subject at this time, and not at the time that was set before."""
        self._at[subject] = at_s
        self._count += 1
        heapq.heappush(self._heap, (at_s, self._count, subject))
        if len(self._heap) > 2 * len(self._at) + 64:
            self._heap = [entry for entry in self._heap if self._at.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def drop(self, subject: Subject) -> None:
        """Do not look at the subject any more."""
        self._at.pop(subject, None)

    def __contains__(self, subject: Subject) -> bool:
        return subject in self._at

    def next_s(self) -> float | None:
        """The earliest time that is set."""
        while self._heap and self._at.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now_s: float) -> list[Subject]:
        """The subjects whose time has come, earliest first; they are off the agenda."""
        due: list[Subject] = []
        while (at_s := self.next_s()) is not None and at_s <= now_s:
            subject = heapq.heappop(self._heap)[2]
            del self._at[subject]
            due.append(subject)
        return due
