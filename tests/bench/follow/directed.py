"""The director in a guest, as the host speaks to it: an order goes in, an answer comes out."""

import json
from types import TracebackType
from typing import Any, Self

from tests.lab.guest import Guest

ANSWER_S_MAX = 240.0
"""Far beyond what an order waits itself: a busy machine."""


class BenchError(Exception):
    """A measurement could not be made; the text says why."""


class Directed:
    """A running director; a context manager."""

    def __init__(self, guest: Guest, socket: str) -> None:
        self._process = guest.popen(["python", "-u", "-m", "tests.bench.follow.director", socket])
        self._answers = self._process.lines(timeout_s=ANSWER_S_MAX)
        next(self._answers)

    def order(self, do: str, **what: object) -> dict[str, Any]:
        """Have it do something; raises BenchError if it could not."""
        self._process.write(json.dumps({"do": do, **what}) + "\n")
        answer: dict[str, Any] = json.loads(next(self._answers))
        if "error" in answer:
            raise BenchError(f"{do}: {answer['error']}")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._process.__exit__(kind, error, trace)
