"""Which of several worthwhile moves go first when the limits bind: the host with fewest moves, there the best gain.

Every candidate gets its verdict, so that whoever waits knows for what.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from numaplace.model.ids import HostId
from numaplace.model.worth import Action, Reason, Situation, Verdict, gain_s
from scheduler.planning.records import MoveLimits
from scheduler.planning.situation import Candidate, Crowd, situation_of, verdict_on

_BUSY = (Reason.HOST_BUSY, Reason.CLUSTER_BUSY)


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict. ``gain_per_s``: seconds gained for each second of moving, where only limits can stand against it."""

    candidate: Candidate
    verdict: Verdict
    gain_per_s: float = 0.0


def decide(
    candidates: Sequence[Candidate], running: Mapping[HostId, int], limits: MoveLimits, now_s: float
) -> list[Decision]:
    """A verdict on each candidate; ``running`` counts the moves under way by host, those not named have none.

    The chosen moves together respect the limits. The order of the candidates does not matter.
    """
    crowd = _Crowds(running, limits)
    decisions: list[Decision] = []
    worthwhile: dict[HostId, list[Decision]] = {}
    for candidate in candidates:
        situation = situation_of(candidate, crowd.of(candidate.host.id), limits, now_s)
        verdict = verdict_on(candidate, situation)
        if verdict.action is Action.MOVE or verdict.reason in _BUSY:
            decision = Decision(candidate, verdict, _gain_per_s(situation))
            worthwhile.setdefault(candidate.host.id, []).append(decision)
        else:
            decisions.append(Decision(candidate, verdict))
    decisions.extend(_serve(worthwhile, crowd, limits, now_s))
    return decisions


def _serve(
    worthwhile: Mapping[HostId, Sequence[Decision]], crowd: "_Crowds", limits: MoveLimits, now_s: float
) -> Iterator[Decision]:
    """Give the places away, one after the other."""
    waiting = {host: sorted(queue, key=_urgency, reverse=True) for host, queue in worthwhile.items()}
    turns = [(crowd.of(host).on_host, _urgency(queue[-1]), host) for host, queue in waiting.items()]
    heapq.heapify(turns)
    while turns:
        _, _, host = heapq.heappop(turns)
        yield _placed(waiting[host].pop(), crowd, limits, now_s)
        if waiting[host]:
            heapq.heappush(turns, (crowd.of(host).on_host, _urgency(waiting[host][-1]), host))


def _placed(decision: Decision, crowd: "_Crowds", limits: MoveLimits, now_s: float) -> Decision:
    """The decision in the crowd as it is by now."""
    candidate, host = decision.candidate, decision.candidate.host.id
    if crowd.full(host) and decision.verdict.reason in _BUSY:
        return decision  # thousands may wait, and nothing has changed for them
    verdict = verdict_on(candidate, situation_of(candidate, crowd.of(host), limits, now_s))
    if verdict.action is Action.MOVE:
        crowd.add(host)
    return Decision(candidate, verdict, decision.gain_per_s)


def _urgency(decision: Decision) -> tuple[float, str]:
    return -decision.gain_per_s, decision.candidate.record.task.id


def _gain_per_s(s: Situation) -> float:
    """Seconds that the job gains for each second that the move takes."""
    remote = s.task.residency.remote_bytes(s.task.home.nodes, s.policy.kinds)
    movable = max(0, remote - s.stuck_bytes)
    return gain_s(s, movable) / s.costs.predicted_s(movable)


class _Crowds:
    """The counts as they grow while moves are chosen."""

    def __init__(self, running: Mapping[HostId, int], limits: MoveLimits) -> None:
        self._on_host = dict(running)
        self._total = sum(running.values())
        self._limits = limits

    def of(self, host: HostId) -> Crowd:
        return Crowd(self._on_host.get(host, 0), self._total)

    def full(self, host: HostId) -> bool:
        return self._total >= self._limits.in_cluster_max or self._on_host.get(host, 0) >= self._limits.per_host_max

    def add(self, host: HostId) -> None:
        self._on_host[host] = self._on_host.get(host, 0) + 1
        self._total += 1
