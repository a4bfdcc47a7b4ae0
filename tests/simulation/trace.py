"""What happened in a run, kept as values and turned into words only if somebody wants to read them."""

import hashlib
import re
from dataclasses import dataclass

WORDS_MAX = 1200
"""A snapshot can be long; the value is there to be recognised."""
_ENUM = re.compile(r"<\w+\.(\w+): '[^']*'>")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened: when, to whom, what, with which value."""

    at_s: float
    who: str
    what: str
    value: object

    def __str__(self) -> str:
        value = "" if self.value is None else _ENUM.sub(r"\1", repr(self.value))
        return f"{self.at_s:10.4f}  {self.who:<12} {self.what:<14} {value[:WORDS_MAX]}"


class Trace:
    """The lines of a run in their order."""

    def __init__(self) -> None:
        self._lines: list[tuple[float, str, str, object]] = []

    def note(self, at_s: float, who: str, what: str, value: object = None) -> None:
        """Something happened; the value must never change afterwards."""
        self._lines.append((at_s, who, what, value))

    def lines(self, last: int | None = None) -> list[str]:
        """The lines, or the last of them, in words."""
        chosen = self._lines if last is None else self._lines[-last:]
        return [str(Line(*line)) for line in chosen]

    def digest(self) -> str:
        """Equal for equal runs, whatever the process: values count by their order, times to the nanosecond."""
        digest = hashlib.sha256()
        for at_s, who, what, value in self._lines:
            digest.update(f"{at_s:.9f} {who} {what} {type(value).__name__}\n".encode())
        return digest.hexdigest()
