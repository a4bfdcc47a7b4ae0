"""A rule of the diagnosis: which fact it is about, and what it finds in it. A fact that stayed unseen is said to be."""

from collections.abc import Callable, Iterable
from typing import TypeAlias, TypeVar

from numaplace.doctor.facts import Facts, Seen, Unseen
from numaplace.doctor.finding import Finding, State

T = TypeVar("T")
U = TypeVar("U")

Rule: TypeAlias = Callable[[Facts], Iterable[Finding]]


def rule(word: str, of: Callable[[Facts], Seen[T]], judge: Callable[[T], Iterable[Finding]]) -> Rule:
    """A rule on the fact that ``of`` picks. ``judge`` is asked only if it was seen; ``word`` is for when it was not."""

    def find(facts: Facts) -> Iterable[Finding]:
        fact = of(facts)
        if isinstance(fact, Unseen):
            remedy = "run numaplace doctor as root to see it" if fact.as_root else ""
            return (Finding(word, State.NOTE, f"not looked at: {fact.why}", remedy),)
        return judge(fact)

    return find


def both(one: Seen[T], other: Seen[U]) -> Seen[tuple[T, U]]:
    """Two facts that are judged together, unseen if either is."""
    if isinstance(one, Unseen):
        return one
    return other if isinstance(other, Unseen) else (one, other)
