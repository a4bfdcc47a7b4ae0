"""What a move may cost, and which pages it takes: options that policies and moves by hand share, and their parsers."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, TypeVar

import typer

from numaplace.cli import exits, units
from numaplace.model.policy import Policy
from numaplace.model.residency import PageKind

T = TypeVar("T")

Pace = Annotated[str | None, typer.Option(metavar="SIZE/s|none", help="The fastest a move may be.")]
StallMs = Annotated[float | None, typer.Option(metavar="MS", help="The longest that the job may wait.")]
Headroom = Annotated[str | None, typer.Option(metavar="SIZE", help="What stays free on a target node.")]
Kinds = Annotated[str | None, typer.Option(metavar="KIND,…", help="anon, file, shared: which pages follow.")]
KeepInterleave = Annotated[
    bool | None, typer.Option("--keep-interleave/--move-interleave", help="Memory spread on purpose.")
]


def cost(pace: str | None, stall_ms: float | None, headroom: str | None) -> dict[str, object]:
    """The fields of a budget that are named, read; raises exits.Failure."""
    given = {
        "pace_bytes_per_s": None if pace is None else (parsed("--pace", units.parse_pace, pace),),
        "stall_ms_max": None if stall_ms is None else (stall_ms,),
        "headroom_bytes": None if headroom is None else (parsed("--headroom", units.parse_size, headroom),),
    }
    return named(given)


def chosen(kinds: str | None, keep_interleave: bool | None) -> dict[str, object]:  # noqa: FBT001 - as the option gave it
    """The fields of a policy that say which pages go, as far as they are named; raises exits.Failure."""
    return named(
        {
            "kinds": None if kinds is None else (parsed("--kinds", parse_kinds, kinds),),
            "keep_interleave": None if keep_interleave is None else (keep_interleave,),
        }
    )


def named(given: Mapping[str, tuple[object] | None]) -> dict[str, object]:
    """The fields that are given; each value is in a tuple, because None is one."""
    return {field: value[0] for field, value in given.items() if value}


def policy_of(fields: Mapping[str, object], budget: Mapping[str, object]) -> Policy:
    """The default policy with these fields changed; raises exits.Failure if they cannot be meant so."""
    try:
        costs = replace(Policy().budget, **budget)  # type: ignore[arg-type]  # each field was read by its own kind
        return replace(Policy(), budget=costs, **fields)  # type: ignore[arg-type]  # the same
    except ValueError as error:
        raise exits.Failure(exits.USAGE, str(error)) from error


def parsed(option: str, parse: Callable[[str], T], text: str) -> T:
    """An option's value; raises exits.Failure that names the option."""
    try:
        return parse(text)
    except ValueError as error:
        raise exits.Failure(exits.USAGE, f"{option}: {error}") from error


def parse_kinds(text: str) -> frozenset[PageKind]:
    """Kinds of pages from ``anon,file``; raises ValueError with words for the user."""
    known = {kind.value: kind for kind in PageKind}
    words = [word.strip() for word in text.split(",")]
    unknown = [word for word in words if word not in known]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(known)}")
    return frozenset(known[word] for word in words)
