"""An agent of one's own for the length of a block, where a host has none: the same local API, the same way to move.

It runs as whoever starts it and does what they may: root anything, a user what the kernel lets them do to processes of
their own. It listens in a folder that nobody else may enter, follows only what is adopted, knows no scheduler, and ends
with the block or with this process, whichever ends first and however: moves under way then end after their current
batch. An interrupt from the terminal does not reach it; see node_agent/private.py for its other half.
"""

import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from numaplace.client.agent import AgentClient
from numaplace.client.errors import Unavailable
from numaplace.wire import clean

START_S_MAX = 120.0
"""Half a second is usual; on an emulated machine that is busy it is a minute."""
END_S_MAX = 10.0
"""A move's current batch is over long before."""
FOLDER_BYTES_MAX = 52
"""A socket's path has 107 bytes at the most, and what comes below takes the rest; a longer one is not used."""
WORDS_BYTES_MAX = 4096
_SHORT_FOLDER = Path("/tmp")  # noqa: S108 - mkdtemp makes a folder of our own in it
_SERVING = b"serving\n"


@contextmanager
def private_agent() -> Iterator[AgentClient]:
    """A client of an agent of one's own.

    Raises Unavailable, with the agent's own last words, if it does not come to serve.
    """
    folder = _folder()
    try:
        # Not a pipe: nobody reads along. And no name: there is nothing to tidy up.
        with tempfile.TemporaryFile() as words, _started(folder, words) as process:
            _await_serving(process, words)
            with AgentClient(folder / "agent.sock") as client:
                yield client
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # its own task, but it may have been killed


def _folder() -> Path:
    """A new folder of our own, with a path short enough for a socket in it."""
    usual = Path(tempfile.gettempdir())
    parent = usual if len(os.fsencode(usual)) <= FOLDER_BYTES_MAX else _SHORT_FOLDER
    try:
        return Path(tempfile.mkdtemp(prefix="numaplace-", dir=parent))
    except OSError as error:
        raise Unavailable(f"no agent of our own can start: no folder for it in {parent} ({error.strerror})") from error


@contextmanager
def _started(folder: Path, words: IO[bytes]) -> Iterator["subprocess.Popen[bytes]"]:
    """The agent's process, which has ended when the block has."""
    # -P: what lies in the current directory is not for root to import.
    command = [sys.executable, "-P", "-m", "node_agent.private", str(folder)]
    try:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter with our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, cwd="/", start_new_session=True
        )
    except OSError as error:
        raise Unavailable(f"no agent of our own can start: {error}") from error
    with process:
        try:
            yield process
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Let it tidy up, by the end of its standard input; kill it if that takes too long."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(END_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()


def _await_serving(process: "subprocess.Popen[bytes]", words: IO[bytes]) -> None:
    """Wait until it says that it serves. Raises Unavailable."""
    said = b""
    deadline_s = time.monotonic() + START_S_MAX
    output = process.stdout
    if output is None:
        raise AssertionError("a pipe was asked for")
    poll = select.poll()  # select() knows no descriptor from 1024 on, and a program may have as many
    poll.register(output, select.POLLIN)
    while said != _SERVING:
        left_s = max(0.0, deadline_s - time.monotonic())
        if not poll.poll(1000 * left_s):
            raise Unavailable(f"an agent of our own did not start within {START_S_MAX:.0f} s")
        part = os.read(output.fileno(), len(_SERVING))
        if not part:
            raise Unavailable(f"no agent of our own can start: {_last_words(words)}")
        said += part


def _last_words(words: IO[bytes]) -> str:
    """The last line that it wrote before it ended."""
    size = words.seek(0, os.SEEK_END)
    words.seek(max(0, size - WORDS_BYTES_MAX))
    lines = [line for line in words.read().decode(errors="replace").splitlines() if line.strip()]
    return clean(lines[-1].strip()) if lines else "it ended without a word"
