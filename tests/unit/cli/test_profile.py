"""numaplace profile: the log on standard output, everything else on standard error, and how it ends."""

import io
import json
import os
import signal
from pathlib import Path

import pytest

from numaplace.model.ids import NodeId
from numaplace.pagelog import Place, read_log
from numaplace.profile import choose
from numaplace.profile.method import Progress, Usage
from numaplace.profile.target import Target
from numaplace.profile.tracing import ending_early
from tests.unit.cli.conftest import Run

ME = str(os.getpid())
PLACE = Place(4096, frozenset({NodeId(0), NodeId(1)}), {})


class ToldMethod:
    """A method that sees what it was told to see."""

    name = "told"
    tells = "what it was told"

    def __init__(self, usage: Usage, lacking: str | None = None, refusal: str | None = None) -> None:
        self._usage, self._lacking, self._refusal = usage, lacking, refusal

    def missing(self) -> str | None:
        """As told."""
        return self._lacking

    def unfit(self, target: Target) -> str | None:
        """As told."""
        assert target.pid == os.getpid()
        return self._refusal

    def run(self, target: Target, seconds: float, progress: Progress) -> Usage:
        """See at once."""
        progress(1.0, f"{target.pid} for {seconds}")
        return self._usage


def told(monkeypatch: pytest.MonkeyPatch, method: ToldMethod) -> None:
    """There is this method and no other."""
    monkeypatch.setattr(choose, "METHODS", {"told": method})


SEEN = Usage({(0x7F0000001000, NodeId(1)): 2.5, (0x7F0000000000, NodeId(0)): 3.0}, ["2 rounds"])


def test_the_log_is_csv_that_move_reads(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """A remark, the header, records by address; what was done and why goes to standard error."""
    told(monkeypatch, ToldMethod(SEEN))
    ended = run("profile", "--pid", ME, "--method", "told", "--seconds", "0.5")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        f"# numaplace profile of pid {ME} by told: what it was told",
        "address,node,weight",
        "0x7f0000000000,0,3",
        "0x7f0000001000,1,2.5",
    ]
    assert "by told:\n  as asked for; it tells what it was told\n  2 rounds\n" in ended.err
    assert read_log(io.BytesIO(ended.out.encode()), PLACE).records == 2


def test_the_log_is_json_in_a_file(monkeypatch: pytest.MonkeyPatch, run: Run, tmp_path: Path) -> None:
    """The first line says how it came about; move passes it over."""
    told(monkeypatch, ToldMethod(Usage(dict(SEEN.votes), ended_early="interrupted")))
    file = tmp_path / "log.json"
    ended = run("profile", "--pid", ME, "--method", "told", "--format", "json", "-o", str(file))
    assert (ended.code, ended.out) == (0, "")
    assert "ended early: interrupted" in ended.err
    first, *others = [json.loads(line) for line in file.read_text().splitlines()]
    assert (first["meta"]["method"], first["meta"]["ended_early"]) == ("told", "interrupted")
    assert others[0] == {"address": "0x7f0000000000", "node": 0, "weight": 3.0}
    with file.open("rb") as stream:
        assert read_log(stream, PLACE).records == 2


class InterruptedMethod(ToldMethod):
    """A method that is interrupted, and interrupted again while it puts back what it has set up."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(Usage(dict(SEEN.votes)))
        self._number = number
        self.put_back = 0

    def run(self, target: Target, seconds: float, progress: Progress) -> Usage:
        """Watch for ever."""
        usage = super().run(target, seconds, progress)
        with ending_early(usage, target.pid):
            try:
                while True:
                    signal.raise_signal(self._number)
            finally:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(self._number)
                self.put_back += 1
        return usage


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_the_watching_once(monkeypatch: pytest.MonkeyPatch, run: Run, number: signal.Signals) -> None:
    """Whichever it is, what is set up is put back undisturbed by more of them, and the log has what was seen."""
    method = InterruptedMethod(number)
    told(monkeypatch, method)
    before = signal.getsignal(number)
    ended = run("profile", "--pid", ME, "--method", "told")
    assert (ended.code, method.put_back) == (0, 1)
    assert "ended early: interrupted" in ended.err
    assert len(ended.out.splitlines()) == 4
    assert signal.getsignal(number) is before


def test_an_ignored_hangup_is_no_interrupt(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Under nohup the watching goes on when its terminal closes."""

    class HungUp(ToldMethod):
        """It is hung up on in the middle."""

        def run(self, target: Target, seconds: float, progress: Progress) -> Usage:
            """Watch, whatever comes."""
            signal.raise_signal(signal.SIGHUP)
            return super().run(target, seconds, progress)

    told(monkeypatch, HungUp(Usage(dict(SEEN.votes))))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        ended = run("profile", "--pid", ME, "--method", "told")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (ended.code, "ended early" in ended.err) == (0, False)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (ToldMethod(SEEN, lacking="no tracefs"), "told cannot profile pid {me}: no tracefs"),
        (ToldMethod(SEEN, refusal="use another"), "told cannot profile pid {me}: use another"),
        (ToldMethod(Usage({})), "no page was seen in use"),
    ],
)
def test_what_cannot_be_profiled_is_said(
    monkeypatch: pytest.MonkeyPatch, run: Run, method: ToldMethod, words: str
) -> None:
    """One line, exit code 1, and no log."""
    told(monkeypatch, method)
    ended = run("profile", "--pid", ME, "--method", "told")
    assert (ended.code, ended.out) == (1, "")
    assert words.format(me=ME) in ended.err.splitlines()[-1]


def test_all_methods_are_listed(run: Run) -> None:
    """Each with whether it is here, what it tells, and what it lacks."""
    ended = run("profile", "--method", "list")
    assert ended.code == 0
    names = [line.split()[0] for line in ended.out.splitlines()]
    assert names == ["METHOD", *choose.METHODS]
    assert {line.split()[1] for line in ended.out.splitlines()[1:]} <= {"yes", "no"}


def test_wrong_usage_is_told_from_failure(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pid and no such method are 2, no such process is 4, a file that cannot be written 1, before anything else."""
    assert run("profile").code == 2
    assert run("profile", "--pid", ME, "--method", "magic").code == 2
    told(monkeypatch, ToldMethod(SEEN))
    gone = run("profile", "--pid", str((1 << 22) - 1), "--method", "told")
    assert (gone.code, gone.out) == (4, "")
    unwritable = run("profile", "--pid", ME, "--method", "told", "-o", str(tmp_path / "no" / "log"))
    assert (unwritable.code, "cannot write" in unwritable.err) == (1, True)
