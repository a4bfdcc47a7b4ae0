"""The form of what the host and the server in a guest say to each other over the one port between them.

Pure, and of the standard library's cheapest parts: starting Python costs seconds under emulation. Every frame carries
the number of the call it belongs to, so that any number of commands run at once.
"""

import struct
from collections.abc import Iterator

PORT_NAME = "numaplace.lab"
HEADER = struct.Struct("!cII")
"""A frame's kind, the number of the call, and the bytes that follow."""
PAYLOAD_BYTES_MAX = 64 * 1024
STDIN_WINDOW_BYTES = 256 * 1024

# Host to guest.
RUN = b"r"  # JSON: argv, env, cwd, tty
STDIN = b"i"
STDIN_END = b"e"
SIGNAL = b"s"  # JSON: a number
RESIZE = b"w"  # JSON: [rows, columns]
READ = b"f"  # JSON: path
WRITE = b"g"  # JSON: path; the content follows as STDIN … STDIN_END
# Guest to host.
HELLO = b"H"  # JSON: what the guest is
STARTED = b"P"  # JSON: pid
STDOUT = b"O"
STDERR = b"T"
STDIN_TAKEN = b"A"  # JSON: bytes
EXIT = b"X"  # JSON: exit code, negative for a signal
FAILED = b"N"  # JSON: errno, text


def frame(kind: bytes, call: int, payload: bytes = b"") -> bytes:
    """One frame; `payload` must not exceed PAYLOAD_BYTES_MAX."""
    assert len(payload) <= PAYLOAD_BYTES_MAX
    return HEADER.pack(kind, call, len(payload)) + payload


def chunks(data: bytes) -> Iterator[bytes]:
    """`data` in pieces that fit a frame."""
    for start in range(0, len(data), PAYLOAD_BYTES_MAX):
        yield data[start : start + PAYLOAD_BYTES_MAX]


class FrameReader:
    """Cuts a stream of bytes into frames; a frame of an impossible length is an error, as the stream is lost then."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
        """Yield each frame that `data` completes: kind, call, payload."""
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            kind, call, length = HEADER.unpack_from(self._buffer)
            if length > PAYLOAD_BYTES_MAX:
                raise ValueError(f"a frame of {length} bytes: the stream is out of step")
            end = HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
            yield kind, call, payload
