"""A command that runs in a guest: its input, its output as it comes, its signals, its end."""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from tests.lab import frames
from tests.lab.channel import CallState, CallTimeoutError, Channel

Stream = Literal["stdout", "stderr"]
Watch = Callable[[], AbstractContextManager[None]]
"""Opens a block in which a lost channel becomes the error that says why."""
COMMAND_TIMEOUT_S = 60.0
_KILL = 9
_KILL_WAIT_S = 60.0


class GuestError(Exception):
    """Something about a guest went wrong."""


class GuestTimeoutError(GuestError):
    """A command took longer than it was given; it and all it started were killed."""


class CommandFailedError(GuestError):
    """A command ended with an exit code other than 0."""

    def __init__(self, argv: Sequence[str], result: "Result") -> None:
        super().__init__(f"{shlex.join(argv)} → {result.exit_code}\n{result.stdout}{result.stderr}".rstrip())
        self.result = result


@dataclass(frozen=True, slots=True)
class Result:
    """A command that ended; an `exit_code` below 0 is the signal that ended it."""

    exit_code: int
    stdout_bytes: bytes
    stderr_bytes: bytes

    @property
    def stdout(self) -> str:
        """Its output as text."""
        return self.stdout_bytes.decode(errors="surrogateescape")

    @property
    def stderr(self) -> str:
        """Its error output as text."""
        return self.stderr_bytes.decode(errors="surrogateescape")


class GuestProcess:
    """A command that runs in the guest; made by `Guest.popen`."""

    def __init__(self, channel: Channel, watching: Watch, argv: Sequence[str], call: int) -> None:
        self.argv = tuple(argv)
        self._channel = channel
        self._watching = watching
        self._call = call
        self.pid = self._started()

    def write(self, data: str | bytes, *, timeout_s: float | None = COMMAND_TIMEOUT_S) -> None:
        """Give it input; returns when the guest has room for all of it."""
        raw = data.encode() if isinstance(data, str) else data
        with self._watching():
            self._channel.send_input(self._call, raw, deadline_after(timeout_s))

    def close_stdin(self) -> None:
        """End its input."""
        with self._watching():
            self._channel.send(frames.STDIN_END, self._call)

    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal its size."""
        with self._watching():
            self._channel.send(frames.RESIZE, self._call, f"[{rows}, {columns}]".encode())

    def signal(self, number: int) -> None:
        """Send a signal to it and all it started (its session's process group)."""
        with self._watching():
            self._channel.send(frames.SIGNAL, self._call, str(int(number)).encode())

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(_KILL)

    def lines(self, stream: Stream = "stdout", *, timeout_s: float | None = COMMAND_TIMEOUT_S) -> Iterator[str]:
        """Yield its lines as they come, without their ends; `timeout_s` bounds the wait for each one.

        Raises:
            GuestTimeoutError: No line came in time; the command goes on.
        """
        for line in self._raw_lines(stream, timeout_s):
            yield line.decode(errors="surrogateescape")

    def outputs(self, *, timeout_s: float | None = None) -> Iterator[tuple[Stream, bytes]]:
        """Yield pieces of both its outputs as they come; `timeout_s` bounds the wait for each one."""
        seen: dict[Stream, int] = {"stdout": 0, "stderr": 0}

        def new(state: CallState) -> bool:
            return state.over or len(state.stdout) > seen["stdout"] or len(state.stderr) > seen["stderr"]

        over = False
        while not over:
            state = self._wait(new, timeout_s)
            over = state.over
            pieces: list[tuple[Stream, bytes]] = [
                ("stdout", bytes(state.stdout[seen["stdout"] :])),
                ("stderr", bytes(state.stderr[seen["stderr"] :])),
            ]
            for stream, piece in pieces:
                seen[stream] += len(piece)
                if piece:
                    yield stream, piece

    def wait(self, timeout_s: float | None = COMMAND_TIMEOUT_S) -> Result:
        """Wait for its end; all its output is in the result.

        Raises:
            GuestTimeoutError: It did not end in time; it was killed.
        """
        try:
            state = self._wait(lambda state: state.over, timeout_s)
        except GuestTimeoutError as timeout:
            self.kill()
            state = self._wait(lambda state: state.over, _KILL_WAIT_S)
            raise GuestTimeoutError(f"{timeout}\n{_text(state)}".rstrip()) from None
        if state.exit_code is None:
            assert state.error is not None
            raise GuestError(f"{shlex.join(self.argv)}: {state.error[1]}")
        return Result(state.exit_code, bytes(state.stdout), bytes(state.stderr))

    @property
    def running(self) -> bool:
        """Whether it has not ended, as far as is known here."""
        return not self._wait(lambda _: True, None).over

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing running: kill it if it still does."""
        if not self._channel.lost and self.running:
            self.kill()
            self._wait(lambda state: state.over, _KILL_WAIT_S)
        self._channel.forget(self._call)

    def _started(self) -> int:
        state = self._wait(lambda state: state.pid is not None or state.over, COMMAND_TIMEOUT_S)
        if state.error is not None:
            raise os_error(state.error)
        assert state.pid is not None
        return state.pid

    def _raw_lines(self, stream: Stream, timeout_s: float | None) -> Iterator[bytes]:
        seen = 0

        def output(state: CallState) -> bytearray:
            return state.stdout if stream == "stdout" else state.stderr

        def has_line(state: CallState) -> bool:
            return state.over or output(state).find(b"\n", seen) >= 0

        while True:
            state = self._wait(has_line, timeout_s)
            over = state.over
            end = len(output(state)) if over else output(state).rfind(b"\n") + 1
            lines = bytes(output(state)[seen:end]).split(b"\n")
            # What follows the last line's end is no line, unless the output ended there without one.
            yield from lines if lines[-1] else lines[:-1]
            seen = end
            if over:
                return

    def _wait(self, until: Callable[[CallState], bool], timeout_s: float | None) -> CallState:
        with self._watching():
            try:
                return self._channel.wait(self._call, until, deadline_after(timeout_s))
            except CallTimeoutError:
                raise GuestTimeoutError(f"{shlex.join(self.argv)}: nothing after {timeout_s} s") from None


def deadline_after(timeout_s: float | None) -> float | None:
    """The moment on the monotonic clock; None is for ever."""
    return None if timeout_s is None else time.monotonic() + timeout_s


def _text(state: CallState) -> str:
    return (bytes(state.stdout) + bytes(state.stderr)).decode(errors="surrogateescape")


def os_error(error: tuple[int | None, str]) -> Exception:
    """What the guest's errno is on this side."""
    number, text = error
    return GuestError(text) if number is None else OSError(number, f"in the guest: {text}")
