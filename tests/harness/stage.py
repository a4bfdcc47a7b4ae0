"""Where agents and jobs run: a guest of the lab, or this very host where it has several nodes of its own.

Both offer the same few methods; a guest has them already, so here is the protocol and its native twin.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from tests.lab.process import CommandFailedError, Result

PROJECT = Path(__file__).resolve().parents[2]


class Running(Protocol):
    """A command that was started."""

    pid: int

    def lines(self, *, timeout_s: float | None = ...) -> Iterator[str]:
        """Its lines as they come."""
        ...

    def write(self, data: str | bytes) -> None:
        """Give it input."""
        ...

    def signal(self, number: int) -> None:
        """Send a signal to it and all it started."""
        ...

    def kill(self) -> None:
        """SIGKILL."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Stage(Protocol):
    """A place with its own kernel view: processes, cgroups, nodes."""

    @property
    def name(self) -> str:
        """What to call it."""
        ...

    def run(self, argv: Sequence[str], *, timeout_s: float | None = ..., check: bool = ...) -> Result:
        """Run a command to its end."""
        ...

    def popen(self, argv: Sequence[str], *, env: Mapping[str, str] | None = ...) -> Running:
        """Start a command."""
        ...

    def read_text(self, path: str | Path) -> str:
        """A file's content."""
        ...

    def write(self, path: str | Path, content: str | bytes) -> None:
        """Replace a file by one system call."""
        ...


class NativeProcess:
    """A command on this host, in a session of its own."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            list(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT, env=dict(env),
            start_new_session=True,
        )  # fmt: skip
        self.pid = self._process.pid

    def lines(self, *, timeout_s: float | None = None) -> Iterator[str]:
        """Its lines as they come; a native command is not timed."""
        del timeout_s
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield line.rstrip("\n")

    def write(self, data: str | bytes) -> None:
        """Give it input."""
        assert self._process.stdin is not None
        self._process.stdin.write(data if isinstance(data, str) else data.decode())
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        """Send a signal to its process group."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(9)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.kill()
        self._process.wait()


class NativeStage:
    """This host."""

    name = "this host"

    def __init__(self) -> None:
        bin_dir = Path(sys.prefix) / "bin"
        self._env = {**os.environ, "PATH": f"{bin_dir}:{os.environ.get('PATH', '')}"}

    def run(self, argv: Sequence[str], *, timeout_s: float | None = 60.0, check: bool = True) -> Result:
        """Run a command to its end."""
        done = subprocess.run(
            list(argv), capture_output=True, timeout=timeout_s, cwd=PROJECT, env=self._env, check=False
        )
        result = Result(done.returncode, done.stdout, done.stderr)
        if check and done.returncode != 0:
            raise CommandFailedError(argv, result)
        return result

    def popen(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> NativeProcess:
        """Start a command."""
        return NativeProcess(argv, {**self._env, **(env or {})})

    def read_text(self, path: str | Path) -> str:
        """A file's content."""
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")

    def write(self, path: str | Path, content: str | bytes) -> None:
        """Replace a file by one system call."""
        data = content.encode() if isinstance(content, str) else content
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(file, data)
        finally:
            os.close(file)
