"""A running guest, as tests and developers use it: run commands, read and write files, see how it died.

Whatever is asked of a guest that has died raises `EmulationOopsError` when the emulation alone was to blame (boot another one
and start over; it is no verdict on anything), and `GuestDiedError` with the console's end otherwise.
"""

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.lab import agent
from tests.lab.channel import CallState, CallTimeoutError, Channel, ChannelLostError
from tests.lab.console import Fault, FaultKind, first_fault, tail
from tests.lab.description import Description
from tests.lab.machine import Machine

Stream = Literal["stdout", "stderr"]
COMMAND_TIMEOUT_S = 60.0
_KILL = 9
_KILL_WAIT_S = 10.0
_POWER_OFF_S = 5.0
HOST_ADDRESS = "10.0.2.2"
"""The host's loopback, as guests see it."""


class GuestError(Exception):
    """Something about a guest went wrong."""


class GuestDiedError(GuestError):
    """The guest is gone, and it was not the emulation's fault; the text holds the console's end."""


class EmulationOopsError(GuestError):
    """The emulation oopsed the guest's kernel: no verdict on anything, start over in a fresh guest."""


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

    def __init__(self, guest: "Guest", argv: Sequence[str], call: int) -> None:
        self.argv = tuple(argv)
        self._guest = guest
        self._call = call
        self.pid = self._started()

    def write(self, data: str | bytes, *, timeout_s: float | None = COMMAND_TIMEOUT_S) -> None:
        """Give it input; returns when the guest has room for all of it."""
        raw = data.encode() if isinstance(data, str) else data
        with self._guest.watching():
            self._guest.channel.send_input(self._call, raw, _deadline(timeout_s))

    def close_stdin(self) -> None:
        """End its input."""
        with self._guest.watching():
            self._guest.channel.send(agent.STDIN_END, self._call)

    def resize(self, rows: int, columns: int) -> None:
        """Tell its terminal its size."""
        with self._guest.watching():
            self._guest.channel.send(agent.RESIZE, self._call, f"[{rows}, {columns}]".encode())

    def signal(self, number: int) -> None:
        """Send a signal to it and all it started (its session's process group)."""
        with self._guest.watching():
            self._guest.channel.send(agent.SIGNAL, self._call, str(int(number)).encode())

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
        if self._guest.alive and self.running:
            self.kill()
            self._wait(lambda state: state.over, _KILL_WAIT_S)
        self._guest.channel.forget(self._call)

    def _started(self) -> int:
        state = self._wait(lambda state: state.pid is not None or state.over, COMMAND_TIMEOUT_S)
        if state.error is not None:
            raise _os_error(state.error)
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
        with self._guest.watching():
            try:
                return self._guest.channel.wait(self._call, until, _deadline(timeout_s))
            except CallTimeoutError:
                raise GuestTimeoutError(f"{shlex.join(self.argv)}: nothing after {timeout_s} s") from None


class Guest:
    """A booted guest; made by `lab.boot`, and a context manager that shuts it down."""

    def __init__(self, description: Description, machine: Machine, channel: Channel, boot_s: float) -> None:
        self.description = description
        self.boot_s = boot_s
        self.channel = channel
        self._machine = machine
        self._closed = False

    @property
    def name(self) -> str:
        """Its description's name."""
        return self.description.name

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        return not self._closed and not self.channel.lost

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float | None = COMMAND_TIMEOUT_S,
        check: bool = True,
        stdin: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
    ) -> Result:
        """Run a command to its end, as root, in the project's folder, with its virtual environment first on PATH.

        Args:
            argv: The program, found on PATH, and its arguments; no shell.
            timeout_s: Seconds until it and all it started are killed; None is for ever.
            check: Whether an exit code other than 0 raises.
            stdin: All of its input.
            env: Variables beyond those every command gets.
            cwd: Its folder.

        Raises:
            CommandFailedError: It failed and `check` is set.
            GuestTimeoutError: It took too long.
            OSError: It could not be started, as the guest's errno says.
        """
        deadline = _deadline(timeout_s)
        with self.popen(argv, env=env, cwd=cwd) as process:
            if stdin:
                process.write(stdin, timeout_s=timeout_s)
            process.close_stdin()
            result = process.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        if check and result.exit_code != 0:
            raise CommandFailedError(argv, result)
        return result

    def popen(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        tty: tuple[int, int] | None = None,
    ) -> GuestProcess:
        """Start a command and return at once; `tty` gives it a terminal of rows and columns. See `run`."""
        order = {
            "argv": [str(part) for part in argv],
            "env": {**self._machine.environment, **(env or {})},
            "cwd": str(cwd or self._machine.project),
            "tty": tty,
        }
        with self.watching():
            return GuestProcess(self, argv, self.channel.begin(agent.RUN, order))

    def read_bytes(self, path: str | Path, *, timeout_s: float = COMMAND_TIMEOUT_S) -> bytes:
        """A file's content; OSError as the guest's kernel says."""
        with self.watching():
            call = self.channel.begin(agent.READ, str(path))
        return bytes(self._file_answer(call, timeout_s).stdout)

    def read_text(self, path: str | Path, *, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """A file's content as text; OSError as the guest's kernel says."""
        return self.read_bytes(path, timeout_s=timeout_s).decode(errors="surrogateescape")

    def write(self, path: str | Path, content: str | bytes, *, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        """Make or replace a file, in one write(2) as kernel files need it; OSError as the guest's kernel says."""
        data = content.encode() if isinstance(content, str) else content
        with self.watching():
            call = self.channel.begin(agent.WRITE, str(path))
            self.channel.send_input(call, data, _deadline(timeout_s))
            self.channel.send(agent.STDIN_END, call)
        self._file_answer(call, timeout_s)

    def put(self, local: Path, remote: str | Path) -> None:
        """Copy a file from the host into the guest."""
        self.write(remote, local.read_bytes())
        self.run(["chmod", f"{local.stat().st_mode & 0o7777:o}", str(remote)])

    def get(self, remote: str | Path, local: Path) -> None:
        """Copy a file from the guest to the host."""
        local.write_bytes(self.read_bytes(remote))

    def console(self) -> str:
        """All that the guest's kernel has said."""
        return self._machine.console()

    def fault(self) -> Fault | None:
        """The first fault on its console, also of a guest that lives on."""
        return first_fault(self.console())

    def close(self) -> None:
        """Power it off; what it wrote is gone."""
        if self._closed:
            return
        self._closed = True
        self.channel.close()
        self._machine.close(_POWER_OFF_S)

    def watching(self) -> "_Watch":
        """A block in which a lost channel becomes the error that says why."""
        return _Watch(self)

    def death(self) -> GuestError:
        """The error of a guest that is gone."""
        if self._closed:
            return GuestDiedError(f"guest {self.name} was closed")
        self._machine.wait(_POWER_OFF_S)
        fault = self.fault()
        if fault is not None and fault.kind is FaultKind.EMULATION:
            return EmulationOopsError(f"guest {self.name}: {fault.kind.value}: {fault.line}")
        why = f"{fault.kind.value}: {fault.line}" if fault else "it ended without a word"
        return GuestDiedError(f"guest {self.name}: {why}\n{tail(self.console())}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Power it off."""
        self.close()

    def _file_answer(self, call: int, timeout_s: float) -> CallState:
        with self.watching():
            try:
                state = self.channel.wait(call, lambda state: state.over, _deadline(timeout_s))
            except CallTimeoutError:
                raise GuestTimeoutError(f"guest {self.name}: a file was not served after {timeout_s} s") from None
        self.channel.forget(call)
        if state.error is not None:
            raise _os_error(state.error)
        return state


class _Watch:
    """Turns `ChannelLostError` into what it means for a guest."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ChannelLostError):
            raise self._guest.death() from error


def _deadline(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else time.monotonic() + timeout_s


def _text(state: CallState) -> str:
    return (bytes(state.stdout) + bytes(state.stderr)).decode(errors="surrogateescape")


def _os_error(error: tuple[int | None, str]) -> Exception:
    number, text = error
    return GuestError(text) if number is None else OSError(number, f"in the guest: {text}")
