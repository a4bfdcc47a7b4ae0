"""Keeps what takes long to set up, a guest and all that runs in it, while its kernel is wanted and it lives."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Generic, Self, TypeVar

Arena = TypeVar("Arena")


class Kept(Generic[Arena]):
    """One arena at a time; a context manager that ends it."""

    def __init__(self, make: Callable[[str], AbstractContextManager[Arena]]) -> None:
        """``make`` gives the arena of a kernel, as a context manager."""
        self._make = make
        self._stack = ExitStack()
        self._open: tuple[str, Arena] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the arena."""
        self.drop()

    def of(self, kernel: str) -> Arena:
        """The arena of this kernel: the one there is, or a new one in its place."""
        if self._open is None or self._open[0] != kernel:
            self.drop()
            self._open = (kernel, self._stack.enter_context(self._make(kernel)))
        return self._open[1]

    def drop(self) -> None:
        """End it: the next one is made anew."""
        self._open = None
        self._stack.close()
