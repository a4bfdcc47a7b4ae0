"""When to sweep next: at once for the first hint, together for a burst, and now and then without any.

A sweep is cheap but not free, and hints may come by the thousand, so each kind of sweep has a share of one core that it
may cost in the long run, and a little credit to be quick with. Rules kept:

- The first hint after quiet is answered at once; more of them wait for the gap, and are answered by one sweep.
- When the credit is used up, the next sweep that hints ask for waits until it is earned again.
- A hint may come just before its effect (an exiting process is still listed), so an echo follows the last one.
- Without watchers the period is the latency, so it is short; with them it is a safety net.
- At rest periods stretch with the cost of sweeps, up to a limit: late is still noticed, never is not.
"""

from collections.abc import Container
from dataclasses import dataclass

from node_agent.core.facts import Hint


@dataclass(frozen=True, slots=True)
class RhythmSettings:
    """Times in seconds; shares of one core.

    ``burst_gap_s``: least time between sweeps that hints ask for. ``structural_gap_s``: the same for structural ones.
    ``credit_s``: time that sweeps may take at once, before they are held to ``hinted_share`` and ``structural_share``.
    ``stretch_max``: how many times longer than set a period may become, so that resting keeps to ``rest_share``, and
    to ``blind_structural_share`` where no watcher tells of new processes.
    """

    watched_period_s: float = 1.0
    blind_period_s: float = 0.2
    structural_period_s: float = 5.0
    burst_gap_s: float = 0.005
    structural_gap_s: float = 0.05
    echo_s: float = 0.3
    rest_share: float = 0.0015
    blind_structural_share: float = 0.01
    hinted_share: float = 0.10
    structural_share: float = 0.10
    credit_s: float = 0.25
    stretch_max: float = 6.0


@dataclass(frozen=True, slots=True)
class Due:
    """The next sweep: when, on the clock that the rhythm is told, and of which kind."""

    at_s: float
    structural: bool


class _Kind:
    """One kind of sweep: when it last ended, what it costs, since when one is wanted, when its echo is due."""

    def __init__(self, gap_s: float, share: float, credit_s: float) -> None:
        self.ended_s: float | None = None
        self.cost_s = 0.0
        self.wanted_s: float | None = None
        self.echo_s: float | None = None
        self._gap_s = gap_s
        self._share = share
        self._credit_max_s = credit_s
        self._credit_s = credit_s
        self._paid_s: float | None = None

    def cost(self, started_s: float, ended_s: float) -> None:
        """Learn what a sweep of this kind costs, and pay for it; the first is free, as it finds every cache cold."""
        cost_s = ended_s - started_s
        if self._paid_s is None:
            self.cost_s = cost_s
        else:
            self.cost_s = 0.75 * self.cost_s + 0.25 * cost_s
            earned_s = (ended_s - self._paid_s) * self._share
            self._credit_s = min(self._credit_max_s, self._credit_s + earned_s) - cost_s
        self._paid_s = ended_s

    def ran(self, started_s: float, ended_s: float, echo_s: float) -> None:
        """A sweep answers what was wanted before it began."""
        if self.wanted_s is not None and self.wanted_s <= started_s:
            self.wanted_s = None
            self.echo_s = ended_s + echo_s
        elif self.echo_s is not None and self.echo_s <= started_s:
            self.echo_s = None
        self.ended_s = ended_s

    def due_s(self, period_s: float, rest_share: float, stretch_max: float) -> float:
        if self.ended_s is None:
            return 0.0
        at_rest_s = self.ended_s + min(max(period_s, self.cost_s / rest_share), period_s * stretch_max)
        soonest_s = self.ended_s + max(self._gap_s, -self._credit_s / self._share)
        asked = [max(at_s, soonest_s) for at_s in (self.wanted_s, self.echo_s) if at_s is not None]
        return min([at_rest_s, *asked])


class Rhythm:
    """Decides when to sweep. Times are on any one monotonic clock; nothing here reads it."""

    def __init__(self, settings: RhythmSettings | None = None, *, watched: bool = True) -> None:
        self._settings = settings or RhythmSettings()
        self._watched = watched
        s = self._settings
        self._light = _Kind(s.burst_gap_s, s.hinted_share, s.credit_s)
        self._structural = _Kind(s.structural_gap_s, s.structural_share, s.credit_s)

    def watched(self, *, watched: bool) -> None:
        """Say whether there are watchers, or only the sweep."""
        self._watched = watched

    def hinted(self, hint: Hint, now_s: float) -> None:
        """A hint came: look soon.

        A structural sweep may have to wait for its turn; a light one then sees the most of it already.
        """
        for kind in (self._structural, self._light) if hint.structural else (self._light,):
            if kind.wanted_s is None:
                kind.wanted_s = now_s

    def swept(self, started_s: float, ended_s: float, *, structural: bool) -> None:
        """A sweep ended; a structural one is a light one as well."""
        (self._structural if structural else self._light).cost(started_s, ended_s)
        for kind in (self._structural, self._light) if structural else (self._light,):
            kind.ran(started_s, ended_s, self._settings.echo_s)

    def due(self) -> Due:
        """The next sweep to make; one that is due in the past is to be made now."""
        light_s, structural_s = self._light_s(), self._structural_s()
        # A light sweep just before a structural one would be made twice.
        structural = structural_s <= light_s + self._settings.burst_gap_s
        return Due(min(light_s, structural_s), structural)

    def _light_s(self) -> float:
        s = self._settings
        period_s = s.watched_period_s if self._watched else s.blind_period_s
        return self._light.due_s(period_s, s.rest_share, s.stretch_max)

    def _structural_s(self) -> float:
        s = self._settings
        share = s.rest_share if self._watched else s.blind_structural_share
        return self._structural.due_s(s.structural_period_s, share, s.stretch_max)


def matters(hint: Hint, followed: Container[int]) -> bool:
    """Whether a hint is worth a sweep, given the pids of all followed processes.

    Processes fork and exit all over a host; those that nobody follows matter to nobody.
    """
    return not hint.structural or hint.pid is None or hint.pid in followed
