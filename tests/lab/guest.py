"""A running guest, as tests and developers use it: run commands, read and write files, see how it died.

Whatever is asked of a guest that has died raises `EmulationOopsError` when the emulation alone was to blame (boot
another one and start over; it is no verdict on anything), and `GuestDiedError` with the console's end otherwise.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab import frames
from tests.lab.channel import CallState, CallTimeoutError, Channel, ChannelLostError
from tests.lab.console import Fault, FaultKind, first_fault, tail
from tests.lab.description import Description
from tests.lab.machine import Machine
from tests.lab.process import (
    COMMAND_TIMEOUT_S,
    CommandFailedError,
    GuestError,
    GuestProcess,
    GuestTimeoutError,
    Result,
    deadline_after,
    os_error,
)

HOST_ADDRESS = "10.0.2.2"
"""The host's loopback, as guests see it."""
_POWER_OFF_S = 5.0
ANSWER_S = 60.0
"""Longer than the smallest command takes in a guest that has hardly a CPU left of a busy machine."""


class GuestDiedError(GuestError):
    """The guest is gone, and it was not the emulation's fault; the text holds the console's end."""


class EmulationOopsError(GuestError):
    """The emulation oopsed the guest's kernel: no verdict on anything, start over in a fresh guest."""


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
        deadline = deadline_after(timeout_s)
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
            return GuestProcess(self.channel, self.watching, argv, self.channel.begin(frames.RUN, order))

    def read_bytes(self, path: str | Path, *, timeout_s: float = COMMAND_TIMEOUT_S) -> bytes:
        """A file's content; OSError as the guest's kernel says."""
        with self.watching():
            call = self.channel.begin(frames.READ, str(path))
        return bytes(self._file_answer(call, timeout_s).stdout)

    def read_text(self, path: str | Path, *, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """A file's content as text; OSError as the guest's kernel says."""
        return self.read_bytes(path, timeout_s=timeout_s).decode(errors="surrogateescape")

    def write(self, path: str | Path, content: str | bytes, *, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        """Make or replace a file by a single system call, as kernel files need it; OSError as its kernel says."""
        data = content.encode() if isinstance(content, str) else content
        with self.watching():
            call = self.channel.begin(frames.WRITE, str(path))
            self.channel.send_input(call, data, deadline_after(timeout_s))
            self.channel.send(frames.STDIN_END, call)
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

    def answers(self, within_s: float = ANSWER_S) -> bool:
        """Whether it still carries out a command: one whose CPUs all wait for each other lives on and does not."""
        try:
            return self.run(["true"], timeout_s=within_s, check=False).exit_code == 0
        except GuestError:
            return False

    def close(self) -> None:
        """Power it off; what it wrote is gone."""
        if self._closed:
            return
        self._closed = True
        self.channel.close()
        self._machine.close(_POWER_OFF_S)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """A block in which a lost channel becomes the error that says why."""
        try:
            yield
        except ChannelLostError as lost:
            raise self.death() from lost

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
                state = self.channel.wait(call, lambda state: state.over, deadline_after(timeout_s))
            except CallTimeoutError:
                raise GuestTimeoutError(f"guest {self.name}: a file was not served after {timeout_s} s") from None
        self.channel.forget(call)
        if state.error is not None:
            raise os_error(state.error)
        return state
