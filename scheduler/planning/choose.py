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
    """A task's verdict."""

    candidate: Candidate
    verdict: Verdict


def decide(
    candidates: Sequence[Candidate], running: Mapping[HostId, int], limits: MoveLimits, now_s: float
) -> list[Decision]:
    """A verdict on each candidate; ``running`` counts the moves under way by host, those not named have none.

    The chosen moves together respect the limits. The order of the candidates does not matter.
    """
    crowd = _Crowds(running)
    decisions: list[Decision] = []
    queues: dict[HostId, list[tuple[float, str, Candidate]]] = {}
    for candidate in candidates:
        situation = situation_of(candidate, crowd.of(candidate.host.id), limits, now_s)
        verdict = verdict_on(candidate, situation)
        if verdict.action is Action.MOVE or verdict.reason in _BUSY:
            entry = (-_gain_per_s(situation), str(candidate.record.task.id), candidate)
            queues.setdefault(candidate.host.id, []).append(entry)
        else:
            decisions.append(Decision(candidate, verdict))
    decisions.extend(_serve(queues, crowd, limits, now_s))
    return decisions


def _serve(
    queues: Mapping[HostId, Sequence[tuple[float, str, Candidate]]], crowd: "_Crowds", limits: MoveLimits, now_s: float
) -> Iterator[Decision]:
    waiting = {host: sorted(queue, key=lambda entry: entry[:2], reverse=True) for host, queue in queues.items()}
    turns = [(crowd.of(host).on_host, queue[-1][0], host) for host, queue in waiting.items()]
    heapq.heapify(turns)
    while turns:
        _, _, host = heapq.heappop(turns)
        candidate = waiting[host].pop()[2]
        verdict = verdict_on(candidate, situation_of(candidate, crowd.of(host), limits, now_s))
        if verdict.action is Action.MOVE:
            crowd.add(host)
        if waiting[host]:
            heapq.heappush(turns, (crowd.of(host).on_host, waiting[host][-1][0], host))
        yield Decision(candidate, verdict)


def _gain_per_s(s: Situation) -> float:
    """Seconds that the job gains for each second that the move takes."""
    remote = s.task.residency.remote_bytes(s.task.home.nodes, s.policy.kinds)
    movable = max(0, remote - s.stuck_bytes)
    return gain_s(s, movable) / s.costs.predicted_s(movable)


class _Crowds:
    """The counts as they grow while moves are chosen."""

    def __init__(self, running: Mapping[HostId, int]) -> None:
        self._on_host = dict(running)
        self._total = sum(running.values())

    def of(self, host: HostId) -> Crowd:
        return Crowd(self._on_host.get(host, 0), self._total)

    def add(self, host: HostId) -> None:
        self._on_host[host] = self._on_host.get(host, 0) + 1
        self._total += 1
