"""Where the followed tasks' pages are: few tasks at a time, those that somebody waits for first, none in motion."""

import heapq
from collections.abc import Iterator, Mapping

from node_agent.core.at_work import AtWork
from node_agent.core.events import Do, MeasurePages, MeasuringFailed, PagesMeasured, Send
from node_agent.core.facts import Measured
from node_agent.core.followed import Followed
from node_agent.core.orders import Orders
from numaplace.model.ids import TaskId
from numaplace.model.residency import Residency
from numaplace.model.session import ResidencyMeasured


class Locating:
    """The tasks whose pages are being located; ``at_once_max`` of them may be."""

    def __init__(self, tasks: Mapping[TaskId, Followed], orders: Orders, at_work: AtWork, at_once_max: int) -> None:
        self._tasks = tasks
        self._orders = orders
        self._at_work = at_work
        self._at_once_max = at_once_max
        self.under_way: set[TaskId] = set()

    @property
    def has_room(self) -> bool:
        """Whether another may begin."""
        return len(self.under_way) < self._at_once_max

    def begin_due(self, now_s: float) -> Iterator[Do]:
        """Locate pages that were not located for long."""
        if not self.has_room:
            return
        due = [task for task in self._tasks.values() if task.measure_due_s <= now_s and self._may_begin(task)]
        places = self._at_once_max - len(self.under_way)
        for task in heapq.nsmallest(places, due, key=lambda t: (not t.asked, t.measure_due_s)):
            task.begin_measure()
            self.under_way.add(task.facts.id)
            yield MeasurePages(task.facts.id, task.facts.processes)

    def _may_begin(self, task: Followed) -> bool:
        moving = self._orders.active(task.facts.id) or self._at_work.on(task.facts.processes)
        return task.facts.id not in self.under_way and moving is None

    def take(self, event: PagesMeasured | MeasuringFailed, now_s: float) -> Iterator[Do]:
        """They were located, or could not be."""
        self.under_way.discard(event.task)
        task = self._tasks.get(event.task)
        if task is None or not task.measuring:
            return  # it ended since; another task may have its id by now
        if isinstance(event, MeasuringFailed):
            task.end_measure(now_s)
            return
        before, new = task.measured or Measured(Residency()), event.measured
        task.locate(event, now_s, len(self._tasks))
        if (before.memory_policy, before.policy_nodes) != (new.memory_policy, new.policy_nodes):
            yield Send(task.as_task(now_s))
        yield Send(ResidencyMeasured(event.task, new.residency, event.stuck))
