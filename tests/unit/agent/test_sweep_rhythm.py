"""When to sweep: at once for a first hint, together for many, and never more than its share of a core."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.core.facts import Hint
from node_agent.core.rhythm import Rhythm, RhythmSettings, matters
from numaplace.model.job import ChangeSource

SETTINGS = RhythmSettings()
HINT = Hint(ChangeSource.TRACEFS, pid=10)
BIRTH = Hint(ChangeSource.TRACEFS, pid=10, structural=True)


class Host:
    """A host whose sweeps last so long, and that sweeps when it is told to."""

    def __init__(self, *, light_s: float = 0.001, structural_s: float = 0.004, watched: bool = True) -> None:
        self.rhythm = Rhythm(SETTINGS, watched=watched)
        self.now_s = 50.0
        self.costs_s = {False: light_s, True: structural_s}
        self.spent_s = {False: 0.0, True: 0.0}
        self.began: list[tuple[float, bool]] = []

    def sweep_until(self, until_s: float) -> None:
        """Make every sweep that is due before a time."""
        while (due := self.rhythm.due()).at_s < until_s:
            began_s = max(self.now_s, due.at_s)
            if began_s >= until_s:
                return
            self.now_s = began_s + self.costs_s[due.structural]
            self.spent_s[due.structural] += self.costs_s[due.structural]
            self.began.append((began_s, due.structural))
            self.rhythm.swept(began_s, self.now_s, structural=due.structural)

    def hint(self, hint: Hint, at_s: float) -> None:
        """Sweep until this time, then give a hint."""
        self.sweep_until(at_s)
        self.rhythm.hinted(hint, at_s)
        self.now_s = max(self.now_s, at_s)


def rested(light_s: float = 0.001) -> Host:
    """A host that has swept for a minute without a hint."""
    host = Host(light_s=light_s)
    host.sweep_until(110.0)
    host.began.clear()
    return host


def test_the_first_sweep_is_structural_and_now() -> None:
    """An agent begins by looking at everything."""
    due = Rhythm().due()
    assert (due.at_s, due.structural) == (0.0, True)


def test_a_hint_after_quiet_is_answered_at_once_and_echoed() -> None:
    """The sweep follows immediately; one more comes shortly after, as the hint may precede its effect."""
    host = rested()
    host.hint(HINT, 110.5)
    host.began.clear()
    host.sweep_until(111.2)
    (first, kind), (second, _) = host.began
    assert (first, kind) == (110.5, False)
    assert SETTINGS.echo_s <= second - first < 2 * SETTINGS.echo_s
    host.sweep_until(111.7)
    assert len(host.began) == 2, "an echo has no echo"


def test_a_structural_hint_makes_a_structural_sweep() -> None:
    """Only a structural sweep finds new processes."""
    host = rested()
    host.hint(BIRTH, 110.5)
    host.began.clear()
    host.sweep_until(110.51)
    assert host.began == [(110.5, True)]


def test_a_burst_is_answered_by_few_sweeps() -> None:
    """A hundred hints in a tenth of a second make no more sweeps than the gap allows."""
    host = rested(light_s=0.0001)
    for i in range(100):
        host.hint(HINT, 110.5 + i * 0.001)
    swept = [at_s for at_s, _ in host.began if at_s >= 110.5]
    assert 2 <= len(swept) <= 0.1 / SETTINGS.burst_gap_s + 1


def test_two_events_of_one_write_are_answered_within_milliseconds() -> None:
    """A shell truncates a file and then writes it: the sweep for the first must not delay that for the second."""
    host = rested(light_s=0.01)
    host.hint(HINT, 110.5)
    host.hint(HINT, 110.512)
    host.began.clear()
    host.sweep_until(110.53)
    assert [kind for _, kind in host.began] == [False]


def test_a_hint_during_a_sweep_is_answered_by_another() -> None:
    """A sweep may have read the thread just before it changed."""
    rhythm = Rhythm(SETTINGS)
    rhythm.swept(1.0, 1.01, structural=True)
    rhythm.hinted(HINT, 1.5)
    rhythm.hinted(HINT, 1.502)
    rhythm.swept(1.499, 1.51, structural=False)
    assert rhythm.due().at_s < 1.51 + SETTINGS.echo_s, "it is no echo"


def test_without_watchers_the_period_is_short() -> None:
    """The sweep alone finds a change within a fraction of a second."""
    host = Host(light_s=0.0003, watched=False)
    host.sweep_until(60.0)
    assert max(b - a for (a, _), (b, _) in zip(host.began, host.began[1:], strict=False)) <= 0.25
    host.rhythm.watched(watched=True)
    host.began.clear()
    host.sweep_until(80.0)
    assert len(host.began) <= 22


def test_who_forks_unfollowed_matters_to_nobody() -> None:
    """Structural hints count for followed processes and for anyone; pinnings always, as the target may be new."""
    assert matters(BIRTH, {10})
    assert not matters(BIRTH, {11})
    assert matters(HINT, {11})
    assert matters(Hint(ChangeSource.FANOTIFY, cgroup="/a", structural=True), set())


@given(
    light_s=st.floats(0.0001, 0.5),
    structural_s=st.floats(0.0001, 2.0),
    hints=st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=200),
    watched=st.booleans(),
)
def test_every_hint_is_answered_and_no_share_is_exceeded(
    light_s: float, structural_s: float, hints: list[tuple[float, bool]], *, watched: bool
) -> None:
    """Whatever sweeps cost and hints come: each is followed by a sweep of its kind (liveness), within the shares."""
    host = Host(light_s=light_s, structural_s=structural_s, watched=watched)
    host.sweep_until(host.now_s + 0.001)
    for after_s, structural in sorted(hints):
        host.hint(BIRTH if structural else HINT, 60.0 + after_s)
    end_s = host.now_s + 60.0
    host.sweep_until(end_s)
    for structural in (False, True):
        asked = [60.0 + after_s for after_s, kind in hints if kind is structural]
        answers = [at_s for at_s, kind in host.began if kind or not structural]
        assert all(any(answer >= at_s for answer in answers) for at_s in asked)
    seconds = end_s - 50.0
    # The credit may be used up once, and then be overdrawn by the last sweep.
    period_s = SETTINGS.watched_period_s if watched else SETTINGS.blind_period_s
    light_share = SETTINGS.hinted_share + light_s / (period_s * SETTINGS.stretch_max)
    structural_share = SETTINGS.structural_share + structural_s / (SETTINGS.structural_period_s * SETTINGS.stretch_max)
    assert host.spent_s[False] <= seconds * light_share + SETTINGS.credit_s + 2 * light_s
    assert host.spent_s[True] <= seconds * structural_share + SETTINGS.credit_s + 2 * structural_s


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize(("light_s", "structural_s"), [(0.0005, 0.002), (0.002, 0.01), (0.01, 0.05)])
def test_at_rest_the_agent_stays_within_half_a_percent(light_s: float, structural_s: float, *, watched: bool) -> None:
    """Without hints periods stretch with the cost of sweeps, so that resting is cheap on ordinary hosts."""
    host = Host(light_s=light_s, structural_s=structural_s, watched=watched)
    host.sweep_until(5050.0)
    # Without watchers and with dear sweeps, noticing at all comes before resting.
    share_max = 0.005 if watched or light_s <= 0.002 else 0.02
    assert sum(host.spent_s.values()) / 5000.0 <= share_max


def test_without_watchers_even_a_dear_sweep_is_made_about_every_second() -> None:
    """The sweep alone finds a change: late on a slow host, but not by much."""
    host = Host(light_s=0.05, watched=False)
    host.sweep_until(110.0)
    gap_s = max(b - a for (a, _), (b, _) in pairwise(host.began))
    assert gap_s <= SETTINGS.blind_period_s * SETTINGS.stretch_max + 0.06


def test_however_slow_the_host_it_is_swept() -> None:
    """A change that no watcher sees is noticed late at worst, never not at all."""
    host = Host(light_s=1.0, structural_s=10.0)
    host.sweep_until(1050.0)
    structural = [at_s for at_s, kind in host.began if kind]
    gap_s = max(b - a for a, b in pairwise(structural))
    assert gap_s <= SETTINGS.structural_period_s * SETTINGS.stretch_max + 11.0
