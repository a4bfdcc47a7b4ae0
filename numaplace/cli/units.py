"""Amounts as people write and read them: sizes, paces, lengths of time, shares.

Units with an i (MiB) and bare letters (M) are powers of 1024, units without (MB) powers of 1000.
"""

import re
from datetime import datetime

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgtp])(i?b)?|b)?", re.IGNORECASE)
_POWERS = "kmgtp"
SIZE_MAX = 1 << 56


def size(size_bytes: float) -> str:
    """``112.0 MiB``: one decimal from KiB on."""
    scaled = float(size_bytes)
    for unit in _UNITS:
        if abs(scaled) < 1023.95 or unit == _UNITS[-1]:  # noqa: PLR2004 - what would round to 1024.0 is the next unit's
            break
        scaled /= 1024
    return f"{scaled:.0f} B" if unit == "B" else f"{scaled:.1f} {unit}"


def pace(bytes_per_s: float) -> str:
    """``250.0 MiB/s``."""
    return f"{size(bytes_per_s)}/s"


def share(part: float) -> str:
    """``97 %``; only the whole is 100 %, only nothing is 0 %."""
    percent = round(100 * part)
    if percent == 100 and part < 1:  # noqa: PLR2004 - the whole
        return ">99 %"
    if percent == 0 and part > 0:
        return "<1 %"
    return f"{percent} %"


def counted(number: int, one: str, many: str) -> str:
    """``1 process``, ``2 processes``."""
    return f"{number} {one if number == 1 else many}"


def duration(seconds: float) -> str:
    """``12 ms``, ``3.4 s``, ``5 min``, ``2 h``, ``9 d``: two digits are enough."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    for unit_s, name, until_s in ((60, "min", 3600), (3600, "h", 86_400), (86_400, "d", float("inf"))):
        if seconds < until_s:
            return f"{seconds / unit_s:.0f} {name}"
    raise AssertionError("no time is longer than the last")


def ago(then: datetime | None, now: datetime) -> str:
    """``3.4 s ago``; a dash for never."""
    return "-" if then is None else f"{duration(max(0.0, (now - then).total_seconds()))} ago"


def parse_size(text: str) -> int:
    """Bytes from ``64M``, ``64MiB``, ``1.5GB`` or ``4096``; raises ValueError with words for the user."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or not text.isascii():
        raise ValueError(f"not a size like 64M, 1.5GiB or 4096: {text!r}")
    number, letter, suffix = match.groups()
    base = 1000 if suffix is not None and suffix.lower() == "b" else 1024
    found = float(number) * base ** (_POWERS.index(letter.lower()) + 1 if letter else 0)
    if found > SIZE_MAX:
        raise ValueError(f"more than any machine has: {text!r}")
    return int(found)


def parse_pace(text: str) -> int | None:
    """Bytes per second from ``500MB/s`` or ``1G``; None for ``none``: as fast as the job does not feel it."""
    if text.strip().lower() == "none":
        return None
    found = parse_size(text.strip().removesuffix("/s"))
    if found == 0:
        raise ValueError("a pace of nothing would never end; say none for no limit")
    return found
