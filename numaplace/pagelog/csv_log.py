"""Logs as comma-separated values: a header names the columns; lines that begin with # are remarks."""

from collections.abc import Iterator

from numaplace.pagelog.log import Sample
from numaplace.pagelog.text import Lines, LogError, address, natural, shown, weight

COLUMNS = ("address", "node", "cpu", "weight", "pid", "tid")
_QUOTES = ' \t"'


def is_header(line: str) -> bool:
    """Whether a line names columns, the address among them."""
    return "address" in _fields(line)


def _fields(line: str) -> list[str]:
    return [field.strip(_QUOTES).lower() for field in line.split(",")]


def _positions(header: str, line: int) -> dict[str, int]:
    """Where the known columns are; columns that are not known are passed over."""
    fields = _fields(header)
    known = [field for field in fields if field in COLUMNS]
    if len(known) != len(set(known)):
        raise LogError(f"a column is there twice: {shown(header)}", line)
    if "node" not in known and "cpu" not in known:
        raise LogError("the header has neither a column node nor a column cpu", line)
    return {field: fields.index(field) for field in known}


def samples(lines: Lines) -> Iterator[Sample]:
    """The records behind the header, which comes first.

    Raises:
        LogError: a line that does not fit the header.
    """
    walk = iter(lines)
    header = next(walk)
    at = _positions(header, lines.number)
    width = len(header.split(","))
    address_at, weight_at = at["address"], at.get("weight")
    others = [(name, at[name]) if name in at else None for name in ("node", "cpu", "pid", "tid")]
    for text in walk:
        if not text or text.startswith("#"):
            continue
        number = lines.number
        fields = text.split(",")
        if len(fields) != width:
            raise LogError(f"{len(fields)} fields, and the header has {width}: {shown(text)}", number)
        if '"' in text:
            fields = [field.strip(_QUOTES) for field in fields]
        node, cpu, pid, tid = (
            natural(fields[column[1]], column[0], number) if column and fields[column[1]] else None for column in others
        )
        heavy = weight(fields[weight_at], number) if weight_at is not None and fields[weight_at].strip() else 1.0
        yield Sample(number, address(fields[address_at], number), node, cpu, heavy, pid, tid)
