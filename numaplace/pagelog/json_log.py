"""Logs as JSON: a list of objects, or one object after the other. An object that has only `meta` is a remark.

Read piece by piece: a log of a million records is never in memory as a whole.
"""

import json
import re
from collections.abc import Iterator

from numaplace.pagelog.log import Sample
from numaplace.pagelog.text import ADDRESS_MAX, Lines, LogError, address, checked_weight, shown

_BLANKS = re.compile(r"[ \t\r\n]*")
_decode = json.JSONDecoder().raw_decode
_NUMBER_MAX = 1 << 32


def samples(lines: Lines) -> Iterator[Sample]:
    """The records of the log; raises LogError where the text is no JSON or an object no record."""
    for number, value in _objects(lines):
        if not isinstance(value, dict):
            raise LogError(f"not an object: {shown(json.dumps(value))}", number)
        if set(value) != {"meta"}:
            yield _sample(value, number)


def _sample(value: dict[str, object], number: int) -> Sample:
    heavy = value.get("weight", 1)
    if isinstance(heavy, bool) or not isinstance(heavy, int | float):
        raise LogError(f"the weight is not a number: {shown(str(heavy))}", number)
    node, cpu, pid, tid = (_natural(value, key, number) for key in ("node", "cpu", "pid", "tid"))
    return Sample(number, _address(value, number), node, cpu, checked_weight(heavy, number), pid, tid)


def _address(value: dict[str, object], number: int) -> int:
    found = value.get("address")
    if isinstance(found, str):
        return address(found, number)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= ADDRESS_MAX:
        raise LogError("the object has no address" if found is None else "the address is none", number)
    return found


def _natural(value: dict[str, object], key: str, number: int) -> int | None:
    found = value.get(key)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < _NUMBER_MAX:
        raise LogError(f"the {key} is not a number from 0 on: {shown(str(found))}", number)
    return found


class _Text:
    """What was read and not yet understood: a buffer that grows by pieces, and a position in it."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._pieces = lines.pieces()
        self._counted = 0
        self.buffer = ""
        self.at = 0
        self.line = lines.number + 1

    def more(self) -> bool:
        """Read another piece, and forget what is behind the position; False at the end."""
        piece = next(self._pieces, "")
        self._count()
        self.buffer = self.buffer[self.at :] + piece
        self.at = self._counted = 0
        return bool(piece)

    def upcoming(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            match = _BLANKS.match(self.buffer, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self.more():
                return ""

    def value(self) -> object:
        """The value that begins here; raises LogError."""
        while True:
            try:
                found, end = _decode(self.buffer, self.at)
            except (ValueError, RecursionError) as error:
                # Perhaps it is only not all here yet; but an object has its bounds.
                if len(self.buffer) - self.at <= self._lines.limits.line_bytes and self.more():
                    continue
                raise self.error("not JSON") from error
            self._count()
            self.at = end
            return found

    def error(self, words: str) -> LogError:
        """The fault, and where."""
        self._count()
        return LogError(f"{words}: {shown(self.buffer[self.at : self.at + 100])}", self.line)

    def _count(self) -> None:
        """Count the lines up to the position."""
        self.line += self.buffer.count("\n", self._counted, self.at)
        self._counted = self.at


def _objects(lines: Lines) -> Iterator[tuple[int, object]]:
    """Each value with the line that it begins on: a list's items, or the values that follow each other."""
    text = _Text(lines)
    if text.upcoming() != "[":
        while text.upcoming():
            value = text.value()
            yield text.line, value
        return
    text.at += 1
    if text.upcoming() != "]":
        while True:
            if not text.upcoming():
                raise text.error("the log ends within its list")
            value = text.value()
            yield text.line, value
            mark = text.upcoming()
            if mark not in {",", "]"} or not mark:
                raise text.error("the log ends within its list" if not mark else "a comma is missing")
            if mark == "]":
                break
            text.at += 1
    text.at += 1
    if text.upcoming():
        raise text.error("text after the list's end")
