"""The lab's server inside a guest: runs commands, feeds and streams them, reads and writes files, over one serial port.

Starting Python costs seconds under emulation, so one process lives as long as the guest and starts every command. It
is of the standard library alone, run straight from the host's root. Rules it keeps:

- The host always reads, so writing to the port may block; a command that does not read its input may not stop the
  others, so the host sends input only within a window that the server refills as the command takes it.
- A command is its own session: a signal goes to all that it started.
- The end of the port is the end of the guest: when the host goes away the server returns and init powers off.
"""

# Importing pathlib would cost every boot a quarter of a second under emulation.
# ruff: noqa: PTH123, PTH208

import errno
import fcntl
import json
import os
import select
import selectors
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.lab.frames import (
    EXIT,
    FAILED,
    HELLO,
    PAYLOAD_BYTES_MAX,
    PORT_NAME,
    READ,
    RESIZE,
    RUN,
    SIGNAL,
    STARTED,
    STDERR,
    STDIN,
    STDIN_END,
    STDIN_TAKEN,
    STDOUT,
    WRITE,
    FrameReader,
    chunks,
    frame,
)

_PORT_WAIT_S = 10.0


def find_port(root: str = "/sys/class/virtio-ports") -> str:
    """The device file of the lab's port."""
    for entry in sorted(os.listdir(root)):
        with open(f"{root}/{entry}/name") as name:
            if name.read().strip() == PORT_NAME:
                return f"/dev/{entry}"
    raise FileNotFoundError(errno.ENOENT, "no virtio port is named", PORT_NAME)


class Command:
    """A running command: its process, and what it still has to read."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int | None) -> None:
        self.process = process
        self.terminal = terminal
        self.pidfd = os.pidfd_open(process.pid)
        self.outputs: dict[int, bytes] = {}
        self.stdin: int | None = terminal
        self.pending = bytearray()
        self.stdin_ended = False


class Server:
    """Serves one port until its other end is gone."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._frames = FrameReader()
        self._selector = selectors.DefaultSelector()
        self._commands: dict[int, Command] = {}
        self._writes: dict[int, tuple[str, bytearray]] = {}
        self._handlers: dict[bytes, Callable[[int, bytes], None]] = {
            RUN: self._run,
            STDIN: self._on_stdin,
            STDIN_END: self._on_stdin_end,
            SIGNAL: self._on_signal,
            RESIZE: self._on_resize,
            READ: self._read_file,
            WRITE: self._begin_write,
        }

    def serve(self) -> None:
        """Answer until the host closes the port."""
        self._send(HELLO, 0, {"python": sys.version.split()[0], "release": os.uname().release})
        self._selector.register(self._port, selectors.EVENT_READ, self._on_port)
        self._open = True
        while self._open:
            for key, _ in self._selector.select():
                # An earlier event of this round may have closed the file.
                if self._selector.get_map().get(key.fd) is key:
                    key.data()

    def _send(self, kind: bytes, call: int, value: object) -> None:
        self._send_bytes(kind, call, json.dumps(value).encode())

    def _send_bytes(self, kind: bytes, call: int, payload: bytes) -> None:
        data = memoryview(frame(kind, call, payload))
        while data:
            data = data[os.write(self._port, data) :]

    def _send_error(self, call: int, error: OSError) -> None:
        self._send(FAILED, call, {"errno": error.errno, "text": str(error)})

    def _on_port(self) -> None:
        data = os.read(self._port, 1 << 16)
        self._open = bool(data)
        for kind, call, payload in self._frames.feed(data):
            self._handlers[kind](call, payload)

    # Commands.

    def _run(self, call: int, payload: bytes) -> None:
        order = json.loads(payload)
        try:
            command = _start_on_terminal(order) if order["tty"] else _start(order)
        except OSError as error:
            self._send_error(call, error)
            return
        self._commands[call] = command
        self._send(STARTED, call, command.process.pid)
        for fd in command.outputs:
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ, lambda fd=fd: self._on_output(call, command, fd))
        self._selector.register(command.pidfd, selectors.EVENT_READ, lambda: self._on_exit(call, command))

    def _on_output(self, call: int, command: Command, fd: int) -> bool:
        """Pass on what is there; say whether there may be more."""
        try:
            data = os.read(fd, PAYLOAD_BYTES_MAX)
        except BlockingIOError:
            return False
        except OSError:
            data = b""  # A terminal whose last user is gone reads as EIO.
        if not data:
            self._drop_output(command, fd)
            return False
        if call in self._commands:
            self._send_bytes(command.outputs[fd], call, data)
        return True

    def _drop_output(self, command: Command, fd: int) -> None:
        self._selector.unregister(fd)
        del command.outputs[fd]
        if fd != command.terminal:
            os.close(fd)

    def _on_exit(self, call: int, command: Command) -> None:
        # What it left running may hold its outputs open for ever: pass on what is written by now, then report the end.
        for fd in list(command.outputs):
            while self._on_output(call, command, fd):
                pass
        self._selector.unregister(command.pidfd)
        os.close(command.pidfd)
        code = command.process.wait()
        self._close_stdin(command)
        if command.terminal is not None:
            if command.terminal in command.outputs:
                self._drop_output(command, command.terminal)
            os.close(command.terminal)
        del self._commands[call]
        self._send(EXIT, call, code)

    # Input.

    def _on_stdin(self, call: int, payload: bytes) -> None:
        if call in self._writes:
            self._writes[call][1].extend(payload)
            self._send(STDIN_TAKEN, call, len(payload))
            return
        command = self._commands.get(call)
        if command is None:
            return
        command.pending += payload
        self._feed(call, command)

    def _on_stdin_end(self, call: int, _payload: bytes) -> None:
        if call in self._writes:
            self._finish_write(call)
            return
        command = self._commands.get(call)
        if command is not None:
            command.stdin_ended = True
            self._feed(call, command)

    def _feed(self, call: int, command: Command) -> None:
        """Give the command what it takes; wait for it to take more; close its input after the last byte."""
        fd = command.stdin
        if fd is None:
            self._taken(call, command, len(command.pending))
            return
        try:
            if command.pending:
                self._taken(call, command, os.write(fd, command.pending))
        except BlockingIOError:
            pass
        except OSError:
            self._taken(call, command, len(command.pending))
            self._close_stdin(command)
            return
        if command.pending:
            self._await_stdin(call, command, fd)
        elif command.stdin_ended and fd != command.terminal:
            self._close_stdin(command)
        else:
            self._unwatch(command, fd)

    def _taken(self, call: int, command: Command, count: int) -> None:
        del command.pending[:count]
        if count:
            self._send(STDIN_TAKEN, call, count)

    def _await_stdin(self, call: int, command: Command, fd: int) -> None:
        if fd == command.terminal or fd in self._selector.get_map():
            return  # A terminal is fed again with the next input: nobody types faster than it reads.
        self._selector.register(fd, selectors.EVENT_WRITE, lambda: self._feed(call, command))

    def _unwatch(self, command: Command, fd: int) -> None:
        if fd != command.terminal and fd in self._selector.get_map():
            self._selector.unregister(fd)

    def _close_stdin(self, command: Command) -> None:
        fd = command.stdin
        command.stdin = None
        if fd is not None and fd != command.terminal:
            self._unwatch(command, fd)
            os.close(fd)

    def _on_signal(self, call: int, payload: bytes) -> None:
        command = self._commands.get(call)
        if command is not None:
            with suppress(ProcessLookupError):  # It may have ended meanwhile; its exit is on the way.
                os.killpg(command.process.pid, json.loads(payload))

    def _on_resize(self, call: int, payload: bytes) -> None:
        command = self._commands.get(call)
        if command is not None and command.terminal is not None:
            _resize(command.terminal, json.loads(payload))

    # Files.

    def _read_file(self, call: int, payload: bytes) -> None:
        try:
            with open(json.loads(payload), "rb") as file:
                data = file.read()
        except OSError as error:
            self._send_error(call, error)
            return
        for chunk in chunks(data):
            self._send_bytes(STDOUT, call, chunk)
        self._send(EXIT, call, 0)

    def _begin_write(self, call: int, payload: bytes) -> None:
        self._writes[call] = (json.loads(payload), bytearray())

    def _finish_write(self, call: int) -> None:
        """Write in one system call, as kernel files need; their refusal is the answer."""
        path, data = self._writes.pop(call)
        try:
            with open(path, "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
        except OSError as error:
            self._send_error(call, error)
            return
        self._send(EXIT, call, 0)


def _start(order: dict[str, Any]) -> Command:
    process = subprocess.Popen(
        order["argv"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd=order["cwd"],
        env=order["env"],
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    command = Command(process, None)
    # The descriptors are ours from here on; the file objects must not close them a second time.
    command.stdin = os.dup(process.stdin.fileno())
    process.stdin.close()
    os.set_blocking(command.stdin, False)
    for pipe, kind in ((process.stdout, STDOUT), (process.stderr, STDERR)):
        command.outputs[os.dup(pipe.fileno())] = kind
        pipe.close()
    return command


def _start_on_terminal(order: dict[str, Any]) -> Command:
    terminal, user = os.openpty()
    try:
        _resize(terminal, order["tty"])
        process = subprocess.Popen(
            order["argv"],
            stdin=user,
            stdout=user,
            stderr=user,
            cwd=order["cwd"],
            env=order["env"],
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - the server has one thread
        )
    except OSError:
        os.close(terminal)
        raise
    finally:
        os.close(user)
    command = Command(process, terminal)
    command.outputs[terminal] = STDOUT
    return command


def _resize(terminal: int, size: list[int]) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size[0], size[1], 0, 0))


def _await_host(port: int) -> None:
    """Until the host's end is seen as open the port reads as ended; wait for the kernel to have noticed it."""
    poll = select.poll()
    poll.register(port, select.POLLOUT)
    deadline = time.monotonic() + _PORT_WAIT_S
    while not any(event & select.POLLOUT for _, event in poll.poll(10)):
        if time.monotonic() > deadline:
            raise TimeoutError("the host did not open the lab's port")


def main() -> None:
    """Serve the lab's port, then return so that init powers the guest off."""
    signal.signal(signal.SIGINT, lambda _number, _frame: None)  # what is ignored, every command would ignore too
    port = os.open(find_port(), os.O_RDWR | os.O_CLOEXEC)
    _await_host(port)
    Server(port).serve()


if __name__ == "__main__":
    main()
