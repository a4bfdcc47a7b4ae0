"""A log's text within bounds: whoever hands over rubbish, or a file without end, is told on which line it broke."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

_DIGITS_MAX = 20  # of a 64-bit number
_WORDS_MAX = 60
ADDRESS_MAX: Final = (1 << 64) - 1
WEIGHT_MAX: Final = 1e100
"""Far above any latency or count, and so far below what a float holds that no sum of weights becomes infinite."""


class LogError(ValueError):
    """A log that cannot be used, in words for whoever gave it; `line` counts from 1, None if it is all of it."""

    def __init__(self, words: str, line: int | None = None) -> None:
        super().__init__(words if line is None else f"line {line}: {words}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is read at most: bytes of one line or object, bytes in all, and pages (times nodes) that are kept."""

    line_bytes: int = 65_536
    log_bytes: int = 4 << 30
    votes: int = 4 << 20


LIMITS: Final = Limits()


class Stream(Protocol):
    """What a log is read from: a binary file or pipe."""

    def readline(self, size: int = ..., /) -> bytes:
        """A line with its newline, or as much of it as fits."""
        ...


class Lines:
    """The text of a stream: by lines, or by pieces where lines have no meaning. `number` is the line given last."""

    def __init__(self, stream: Stream, limits: Limits = LIMITS) -> None:
        self.number = 0
        self.limits = limits
        self._stream = stream
        self._read_bytes = 0
        self._peeked: bytes | None = None

    def peek(self) -> str:
        """The beginning of the next line, which stays the next; empty at the end. Raises LogError, see `pieces`."""
        self._peeked = self._next()
        return self._peeked.decode("utf-8", "replace")

    def skip(self) -> None:
        """Pass the line that was looked at."""
        self._peeked = None
        self.number += 1

    def pieces(self) -> Iterator[str]:
        """What is left, cut at ends of lines, and within lines that are longer than a line may be.

        Raises:
            LogError: too much in all, or no text.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while data := self._next():
            self._peeked = None
            yield decoder.decode(data)
            self.number += data.endswith(b"\n")

    def __iter__(self) -> Iterator[str]:
        """What is left, each line without its end.

        Raises:
            LogError: a line too long, too much in all, or no text.
        """
        while data := self._next():
            self._peeked = None
            self.number += 1
            if len(data) > self.limits.line_bytes:
                raise LogError(f"longer than {self.limits.line_bytes} bytes: this is no page log", self.number)
            yield data.decode("utf-8", "replace").rstrip("\r\n")

    def _next(self) -> bytes:
        if self._peeked is not None:
            return self._peeked
        data = self._stream.readline(self.limits.line_bytes + 1)
        self._read_bytes += len(data)
        if self._read_bytes > self.limits.log_bytes:
            raise LogError(f"the log has more than {self.limits.log_bytes} bytes: take fewer samples", self.number + 1)
        if b"\0" in data or data.startswith((b"PERFILE2", b"\x1f\x8b")):
            raise LogError(_binary(data), self.number + 1)
        return data


def _binary(data: bytes) -> str:
    if data.startswith(b"PERFILE2"):
        return "this is perf's own file: give what `perf script -i FILE` prints"
    return "this is no text"


def shown(text: str) -> str:
    """Foreign text for an error: cut, and without anything that a terminal would obey."""
    return repr(text if len(text) <= _WORDS_MAX else text[:_WORDS_MAX] + "…")


def natural(text: str, what: str, line: int) -> int:
    """A number of plain decimal digits; raises LogError."""
    text = text.strip()
    if not (text.isascii() and text.isdecimal()) or len(text) > _DIGITS_MAX:
        raise LogError(f"the {what} is not a number: {shown(text)}", line)
    return int(text)


def address(text: str, line: int) -> int:
    """An address, decimal or hexadecimal behind 0x; raises LogError."""
    text = text.strip()
    if text[:2] in {"0x", "0X"}:
        digits = text[2:]
        if not digits.isascii() or not digits.isalnum() or len(digits) > _DIGITS_MAX:
            raise LogError(f"not an address: {shown(text)}", line)
        try:
            found = int(digits, 16)
        except ValueError:
            raise LogError(f"not an address: {shown(text)}", line) from None
    elif text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX:
        found = int(text)
    else:
        raise LogError(f"not an address (decimal, or hexadecimal behind 0x): {shown(text)}", line)
    if found > ADDRESS_MAX:
        raise LogError(f"more than an address has bits: {shown(text)}", line)
    return found


def weight(text: str, line: int) -> float:
    """A weight: a plain number, not negative; raises LogError."""
    try:
        found = float(text)
    except ValueError:
        raise LogError(f"the weight is not a number: {shown(text)}", line) from None
    return checked_weight(found, line)


def checked_weight(found: float, line: int) -> float:
    """The weight, if it can be one; raises LogError."""
    if not 0 <= found <= WEIGHT_MAX:
        raise LogError(f"a weight is a number from 0 to {WEIGHT_MAX:.0e}, not {shown(str(found))}", line)
    return float(found)
