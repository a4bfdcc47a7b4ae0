"""The host's end of a guest's port: many calls at once over one stream.

One thread reads frames and files them under their calls; callers wait on a condition for what they need. The thread
never waits for a caller, so a call whose output nobody reads holds up no other; what it may pile up is bounded. When
the stream ends every waiting call fails with `ChannelLostError`.
"""

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.lab import frames

OUTPUT_BYTES_MAX = 256 * 1024 * 1024
_RECEIVE_BYTES = 1 << 18


class ChannelLostError(Exception):
    """The guest's end of the port is gone."""


class CallTimeoutError(Exception):
    """A call did not come as far as was waited for."""


@dataclass(slots=True)
class CallState:
    """What has come back of one call; guarded by the channel's condition."""

    pid: int | None = None
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    exit_code: int | None = None
    error: tuple[int | None, str] | None = None
    window: int = frames.STDIN_WINDOW_BYTES

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.exit_code is not None or self.error is not None


class Channel:
    """Frames out, call states in."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._condition = threading.Condition()
        self._sending = threading.Lock()
        self._calls: dict[int, CallState] = {}
        self._numbers = 0
        self._hello: dict[str, str] | None = None
        self._lost = False
        self._thread = threading.Thread(target=self._read, name="lab-channel", daemon=True)
        self._thread.start()

    def begin(self, kind: bytes, order: object) -> int:
        """Open a call; its number."""
        with self._condition:
            self._numbers += 1
            call = self._numbers
            self._calls[call] = CallState()
        payload = json.dumps(order).encode()
        if len(payload) > frames.PAYLOAD_BYTES_MAX:
            raise ValueError(f"arguments and environment of {len(payload)} bytes do not fit an order")
        self.send(kind, call, payload)
        return call

    def send(self, kind: bytes, call: int, payload: bytes = b"") -> None:
        """Send one frame."""
        with self._sending:
            try:
                self._stream.sendall(frames.frame(kind, call, payload))
            except OSError as error:
                raise ChannelLostError("the guest's port is closed") from error

    def send_input(self, call: int, data: bytes, deadline: float | None) -> None:
        """Send `data` as the call's input, as fast as the guest takes it; a call that is over takes no more."""
        for chunk in frames.chunks(data):
            if self._reserve(call, len(chunk), deadline).over:
                return
            self.send(frames.STDIN, call, chunk)

    def _reserve(self, call: int, size: int, deadline: float | None) -> CallState:
        """Wait until the guest has room for `size` bytes of the call's input, and take it."""
        state = self.wait(call, lambda state: state.over or state.window >= size, deadline)
        with self._condition:
            state.window -= size
        return state

    def wait(self, call: int, until: Callable[[CallState], bool], deadline: float | None) -> CallState:
        """Wait until the call's state satisfies `until`; `deadline` is on the monotonic clock, None is for ever.

        Raises:
            CallTimeoutError: The deadline passed.
            ChannelLostError: The guest went away first.
        """
        with self._condition:
            state = self._calls[call]
            while not until(state):
                if self._lost:
                    raise ChannelLostError("the guest went away")
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise CallTimeoutError
                self._condition.wait(left)
            return state

    def wait_hello(self, deadline: float) -> dict[str, str]:
        """Wait for the guest's server; what it says of itself."""
        with self._condition:
            while self._hello is None:
                if self._lost:
                    raise ChannelLostError("the guest went away")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise CallTimeoutError
                self._condition.wait(left)
            return self._hello

    def forget(self, call: int) -> None:
        """Drop what a call that is over has left."""
        with self._condition:
            self._calls.pop(call, None)

    @property
    def lost(self) -> bool:
        """Whether the guest's end is gone."""
        return self._lost

    def close(self) -> None:
        """Close this end: the guest's server then ends, and the guest with it."""
        with suppress(OSError):  # The other end may have been faster.
            self._stream.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._stream.close()

    def _read(self) -> None:
        reader = frames.FrameReader()
        # A broken stream is a lost guest, and its console tells why.
        with suppress(OSError, ValueError):
            while data := self._stream.recv(_RECEIVE_BYTES):
                with self._condition:
                    for kind, call, payload in reader.feed(data):
                        self._file(kind, call, payload)
                    self._condition.notify_all()
        with self._condition:
            self._lost = True
            self._condition.notify_all()

    def _file(self, kind: bytes, call: int, payload: bytes) -> None:
        if kind == frames.HELLO:
            self._hello = json.loads(payload)
            return
        state = self._calls.get(call)
        if state is None or state.over:
            return
        if kind in (frames.STDOUT, frames.STDERR):
            self._file_output(state, kind, payload)
            return
        value = json.loads(payload)
        if kind == frames.STARTED:
            state.pid = value
        elif kind == frames.STDIN_TAKEN:
            state.window += value
        elif kind == frames.EXIT:
            state.exit_code = value
        elif kind == frames.FAILED:
            state.error = (value["errno"], value["text"])
        else:
            raise ValueError(f"a frame of unknown kind {kind!r}")

    def _file_output(self, state: CallState, kind: bytes, payload: bytes) -> None:
        output = state.stdout if kind == frames.STDOUT else state.stderr
        if len(output) + len(payload) > OUTPUT_BYTES_MAX:
            state.error = (None, f"the command wrote more than {OUTPUT_BYTES_MAX} bytes")
            return
        output += payload
