"""Interrupts are counted, ask once for a clean end, and leave at the second."""

import os
import signal
import threading

import pytest

from numaplace.cli.interrupts import SIGNALS, Abandoned, Interrupts, counted


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_counted_and_breaks_nothing_off(number: signal.Signals) -> None:
    """And in the end the handlers are what they were."""
    before = signal.getsignal(number)
    with counted() as interrupts:
        assert not interrupts.asked
        os.kill(os.getpid(), number)
        assert interrupts.asked
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_ignored_stays_so(number: signal.Signals) -> None:
    """A move under nohup goes on when its terminal closes."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with counted() as interrupts:
            os.kill(os.getpid(), number)
            assert not interrupts.asked
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_the_first_asks_for_the_end_and_the_second_leaves() -> None:
    """The asking is done in another thread: the one that was interrupted may hold what it needs."""
    interrupts = Interrupts()
    asked = threading.Event()
    asker: list[str] = []

    def stop() -> None:
        asker.append(threading.current_thread().name)
        asked.set()

    with pytest.raises(Abandoned), interrupts.stopping(stop):  # noqa: PT012 - the second interrupt raises, not the first
        interrupts.interrupt()
        assert asked.wait(10)
        interrupts.interrupt()
    assert asker == ["stop"]


def test_an_interrupt_before_the_block_asks_at_its_start() -> None:
    """It is not lost; and outside of a block nothing raises."""
    interrupts = Interrupts()
    interrupts.interrupt()
    interrupts.interrupt()
    asked: list[bool] = []
    with interrupts.stopping(lambda: asked.append(True)):
        pass
    assert asked == [True]
    interrupts.interrupt()
