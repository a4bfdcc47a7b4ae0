"""Kernel lists are read exactly as the kernel reads them and written as it writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace.model.cpuset import ID_MAX, format_id_list, parse_cpus, parse_id_list, parse_nodes

ids = st.integers(0, ID_MAX)


@given(st.frozensets(ids, max_size=60))
def test_what_is_written_is_read_again(members: frozenset[int]) -> None:
    """Any set survives, and its text is the shortest: no two items could be one."""
    text = format_id_list(members)
    assert parse_id_list(text) == members
    assert set(parse_cpus(f"{text}\n")) == set(map(int, parse_nodes(text))) == members
    ends = [int(end) for item in text.split(",") if item for end in (item.split("-")[0], item.split("-")[-1])]
    assert ends == sorted(ends)
    assert all(after - before > 1 for before, after in zip(ends[1::2], ends[2::2], strict=False))


@st.composite
def lists(draw: st.DrawFn) -> tuple[str, set[int]]:
    """A list and, by counting one by one as cpuset(7) describes it, what it means."""
    items: list[str] = []
    meant: set[int] = set()
    for _ in range(draw(st.integers(1, 5))):
        first = draw(st.integers(0, 100))
        last = draw(st.integers(first, 140))
        group = draw(st.integers(1, 12))
        used = draw(st.integers(1, group))
        form = draw(st.sampled_from(["one", "range", "stride"]))
        if form == "one":
            items.append(f"{first}")
            meant.add(first)
        elif form == "range":
            items.append(f"{first}-{last}")
            meant.update(range(first, last + 1))
        else:
            items.append(f"{first}-{last}:{used}/{group}")
            for start in range(first, last + 1, group):
                meant.update(i for i in range(start, start + used) if i <= last)
    return ",".join(items), meant


@given(lists())
def test_a_list_means_what_counting_says(case: tuple[str, set[int]]) -> None:
    """Ids, ranges and strides, overlapping in any order."""
    text, meant = case
    assert parse_id_list(text) == meant


def test_examples_of_the_manual() -> None:
    """cpuset(7), List format."""
    assert parse_id_list("0-4,9") == {0, 1, 2, 3, 4, 9}
    assert parse_id_list("0-2,7,12-14") == {0, 1, 2, 7, 12, 13, 14}
    assert parse_id_list("0-31:2/8") == {0, 1, 8, 9, 16, 17, 24, 25}
    assert parse_id_list("  \n") == frozenset()


@pytest.mark.parametrize(
    "text",
    ["a", "-1", "1-", "-", "1--2", "1,,2", ",", "1,", "3-1", "0x1", "1.0", "1 2", "1, 2", "+1", "٣", "1-2-3", "1:1/2",
     "0-3:0/2", "0-3:3/2", "0-3:1/0", f"{ID_MAX + 1}", f"0-{ID_MAX + 1}", "9" * 400, "0-65535," * 100 + "1"],
)  # fmt: skip
def test_anything_else_is_refused_with_a_reason(text: str) -> None:
    """A typo never becomes a set; hostile lists cost neither time nor memory."""
    with pytest.raises(ValueError, match=r"not a list|backwards|stride|again and again"):
        parse_id_list(text)


@given(st.text(st.sampled_from("0123456789-,:/ \n"), max_size=30) | st.text(max_size=20))
def test_any_text_is_a_set_or_a_value_error(text: str) -> None:
    """No other exception, and every set is within bounds."""
    try:
        found = parse_id_list(text)
    except ValueError:
        return
    assert all(0 <= i <= ID_MAX for i in found)
    assert parse_id_list(format_id_list(found)) == found
