"""Ctrl-C while pages are moved: the first asks for a clean end, the second leaves at once; SIGTERM, SIGHUP likewise.

A handler that raised would break off whatever runs: a write to a cpuset between two others, or the very stream on
which the true account arrives. So an interrupt is only counted, unless a block says that it can be stopped, and how.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Abandoned(Exception):  # noqa: N818 - says what happened
    """A second interrupt came before what the first one asked for had ended."""


class Interrupts:
    """How often the user wanted to stop. Of the main thread, where Python runs handlers of signals."""

    def __init__(self) -> None:
        self._count = 0
        self._stop: Callable[[], None] | None = None

    @property
    def asked(self) -> bool:
        """Whether the user wants to stop."""
        return self._count > 0

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """Have ``stop`` called at the first interrupt, in a thread of its own; another one raises Abandoned here."""
        self._stop = stop
        try:
            if self.asked:
                stop()
            yield
        finally:
            self._stop = None

    def interrupt(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """The user wants to stop."""
        self._count += 1
        if self._stop is None:
            return
        if self._count > 1:
            raise Abandoned
        # gRPC may hold a lock of the stream in the thread that was interrupted, so no call is made in it.
        threading.Thread(target=self._stop, name="stop", daemon=True).start()


@contextmanager
def counted() -> Iterator[Interrupts]:
    """Count interrupts in this block instead of dying of them."""
    interrupts = Interrupts()
    with handled(interrupts.interrupt):
        yield interrupts


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have interrupts handled so in this block. One that is ignored stays so: nohup, and a shell's background."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])
