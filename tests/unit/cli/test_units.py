"""Amounts are read and written so that nobody mistakes them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace.cli import units


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1048575, "1.0 MiB"), (400 << 20, "400.0 MiB"),
     (1 << 40, "1.0 TiB"), (5 << 60, "5120.0 PiB")],
)  # fmt: skip
def test_sizes(size_bytes: int, text: str) -> None:
    """One decimal, the unit that fits."""
    assert units.size(size_bytes) == text


@given(st.integers(0, 1 << 56))
def test_a_size_that_was_written_can_be_read(size_bytes: int) -> None:
    """And is the same but for the decimals that were not written."""
    assert units.parse_size(units.size(size_bytes)) == pytest.approx(size_bytes, rel=0.06)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("4096", 4096), ("64M", 64 << 20), ("64MiB", 64 << 20), ("64MB", 64_000_000), ("1.5g", 3 << 29), ("7B", 7),
     (" 2 KiB ", 2048), ("1tb", 10**12)],
)  # fmt: skip
def test_sizes_as_people_write_them(text: str, size_bytes: int) -> None:
    """Powers of 1024 but for MB and its like."""
    assert units.parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "M", "-1", "1,5M", "1 MX", "1e9", "٣", "nan", "0x10", "9" * 40, "64 M iB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """With words."""
    with pytest.raises(ValueError, match=r"not a size|more than any machine"):
        units.parse_size(text)


def test_paces() -> None:
    """None is no limit; zero would never end."""
    assert units.parse_pace("500MB/s") == 500_000_000
    assert units.parse_pace("1G") == 1 << 30
    assert units.parse_pace("none") is None
    with pytest.raises(ValueError, match="never end"):
        units.parse_pace("0")
    assert units.pace(1 << 20) == "1.0 MiB/s"


@pytest.mark.parametrize(
    ("part", "text"), [(0, "0 %"), (0.0001, "<1 %"), (0.5, "50 %"), (0.9999, ">99 %"), (1, "100 %")]
)
def test_shares(part: float, text: str) -> None:
    """Only the whole is 100 %, only nothing is 0 %."""
    assert units.share(part) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ms"), (0.0123, "12 ms"), (3.44, "3.4 s"), (300, "5 min"), (7200, "2 h"), (9 * 86_400, "9 d")],
)
def test_durations(seconds: float, text: str) -> None:
    """Two digits are enough."""
    assert units.duration(seconds) == text


def test_counted_things() -> None:
    """One is one."""
    assert [units.counted(n, "task", "tasks") for n in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]


def test_moments() -> None:
    """A clock that runs ahead is not the future."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert units.ago(None, now) == "-"
    assert units.ago(now - timedelta(seconds=90), now) == "2 min ago"
    assert units.ago(now + timedelta(seconds=90), now) == "0 ms ago"
