"""numactl's notation: what is meant by it among the ids that may be used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace.model.choice import NotAmongError, choose
from numaplace.model.cpuset import format_id_list

GAPS = frozenset({0, 1, 4, 5, 8})


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("0", {0}),
        ("0,8", {0, 8}),
        ("0-8", GAPS),
        ("1-4,8", {1, 4, 8}),
        ("all", GAPS),
        ("+0", {0}),
        ("+2-3", {4, 5}),
        ("+0,4", {0, 8}),
        ("!0", {1, 4, 5, 8}),
        ("!1-8", {0}),
        ("!+0", {1, 4, 5, 8}),
        ("!+0-1,3", {4, 8}),
        ("00", {0}),
    ],
)
def test_what_is_meant(text: str, meant: set[int]) -> None:
    """Ranges leave out what may not be used, + counts, ! inverts among what may be used."""
    assert choose(text, GAPS) == meant


@pytest.mark.parametrize(("text", "strange"), [("2", 2), ("0-7", 7), ("!9", 9), ("99999", 99_999), ("+5", None)])
def test_what_may_not_be_used_is_refused_by_its_number(text: str, strange: int | None) -> None:
    """The ends of a range must be among them; a place beyond the last has no number."""
    with pytest.raises(NotAmongError) as caught:
        choose(text, GAPS)
    assert caught.value.id == strange


@pytest.mark.parametrize(
    "text", ["", "!", "+", "0,", "a", "0-", "4-1", "0x1", "-1", "1.5", " 0", "+all", "!all", "٣", "0-1-4", "9" * 12]
)
def test_what_is_no_list_is_refused(text: str) -> None:
    """Also a list that means nothing at all."""
    with pytest.raises(ValueError, match=r"."):
        choose(text, GAPS)


@pytest.mark.parametrize("text", ["netdev:eth0", "file:/data", "ip:10.0.0.1", "block:sda", "pci:1:0", "same", "!same"])
def test_notations_that_there_are_not_here_are_named(text: str) -> None:
    """Devices name nodes for numactl too: whoever asks for that is told to give numbers."""
    with pytest.raises(ValueError, match="by their numbers"):
        choose(text, GAPS)


@given(among=st.frozensets(st.integers(0, 300), min_size=2), data=st.data())
def test_a_choice_and_its_inverse_are_all(among: frozenset[int], data: st.DataObject) -> None:
    """Whatever is chosen and whatever is left make what may be used, by number and by place."""
    chosen = data.draw(st.frozensets(st.sampled_from(sorted(among)), min_size=1, max_size=len(among) - 1))
    places = {sorted(among).index(i) for i in chosen}
    listed = ",".join(map(str, sorted(chosen)))
    assert choose(listed, among) == chosen == choose(f"+{format_id_list(places)}", among)
    assert choose(f"!{listed}", among) == among - chosen
