"""A picture adds up: whatever the mappings, nothing is lost in merging, and every remote byte has one fate."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from numaplace.model.ids import NodeId
from numaplace.model.move import LeftReason
from numaplace.model.picture import MappedPages, MappingKind, Picture, merged, remote_of

PAGE = 4096
N0, N1, N2 = NodeId(0), NodeId(1), NodeId(2)
HOME = frozenset({N1})
NODES = st.dictionaries(st.sampled_from([N0, N1, N2]), st.integers(1, 99).map(lambda pages: pages * PAGE))


@st.composite
def mappings(draw: st.DrawFn) -> MappedPages:
    """Any mapping: some of it shared on known nodes or unknown ones, some of it shared by nobody knows whom."""
    by_node = draw(NODES)
    total = sum(by_node.values())
    shared_by_node = {node: draw(st.integers(0, size)) for node, size in by_node.items()}
    shared = sum(shared_by_node.values())
    return MappedPages(
        draw(st.sampled_from(["a", "b"])),
        draw(st.sampled_from(MappingKind)),
        draw(st.sampled_from(["default", "bind:0"])),
        draw(st.sampled_from([PAGE, 512 * PAGE])),
        by_node,
        dirty_bytes=draw(st.integers(0, total)),
        thp_bytes=draw(st.none() | st.integers(0, total)),
        shared_bytes=shared,
        shared_by_node=draw(st.sampled_from([None, shared_by_node])),
        unknown_bytes=draw(st.integers(0, total - shared)),
    )


@given(st.lists(mappings(), max_size=8), st.frozensets(st.sampled_from([N0, N1, N2])), st.integers(0, 1 << 21))
def test_every_remote_byte_has_one_fate(found: list[MappedPages], home: frozenset[NodeId], stuck: int) -> None:
    """It could move, stays for a reason, or nobody knows; none is counted twice, none is negative."""
    free = {PAGE: {N1: 3 * PAGE}, 512 * PAGE: {N0: 99 * PAGE}}
    remote = remote_of(found, home, free, {LeftReason.PINNED: stuck, LeftReason.SHARED: stuck})
    assert remote.bytes == sum(size for m in found for node, size in m.by_node.items() if node not in home)
    fates = [remote.movable_bytes, remote.unknown_bytes, *remote.stays.values()]
    assert min(fates) >= 0
    assert sum(fates) == remote.bytes
    assert all(remote.stays.values())


@given(st.lists(mappings(), max_size=8))
def test_merging_loses_nothing(found: list[MappedPages]) -> None:
    """Bytes by node, counts and states are those of the parts; the largest comes first."""
    whole = merged(found)
    for field in ("mapped_bytes", "dirty_bytes", "shared_bytes", "unknown_bytes", "mappings"):
        parts = [m for m in found if m.mapped_bytes]
        assert sum(getattr(m, field) for m in whole) == sum(getattr(m, field) for m in parts)
    sizes = [m.mapped_bytes for m in whole]
    assert sizes == sorted(sizes, reverse=True)
    assert len({(m.name, m.kind, m.policy, m.page_bytes) for m in whole}) == len(whole)


@given(st.lists(mappings(), max_size=8), st.frozensets(st.sampled_from([N0, N1, N2])))
def test_merging_never_claims_to_know_more(found: list[MappedPages], home: frozenset[NodeId]) -> None:
    """What is said to move for certain moves in the parts too, and so with what stays."""
    apart, together = (remote_of(each, home, {}, {}) for each in (found, merged(found)))
    assert together.bytes == apart.bytes
    assert together.movable_bytes <= apart.movable_bytes
    for reason, size in together.stays.items():
        assert size <= apart.stays.get(reason, 0)


def anon(by_node: dict[NodeId, int]) -> MappedPages:
    """Private memory."""
    return MappedPages("x", MappingKind.ANON, "default", PAGE, by_node)


def test_what_an_agent_knows_to_be_held_does_not_move() -> None:
    """Its word is taken for what the look cannot see; what the look sees itself is not counted again."""
    found = [replace(anon({N0: 10 * PAGE}), shared_bytes=PAGE, shared_by_node={N0: PAGE})]
    stuck = {LeftReason.PINNED: 4 * PAGE, LeftReason.SHARED: PAGE}
    remote = remote_of(found, HOME, {}, stuck)
    assert remote.stays == {LeftReason.SHARED: PAGE, LeftReason.PINNED: 4 * PAGE}
    assert remote.movable_bytes == 5 * PAGE
    assert remote_of(found, HOME, {}, {LeftReason.PINNED: 99 * PAGE}).movable_bytes == 0


def test_the_pool_at_home_is_filled_once() -> None:
    """Two mappings of hugetlb pages compete for the same free ones; pools of another size are no help."""
    huge = 512 * PAGE
    found = [MappedPages(name, MappingKind.HUGETLB, "default", huge, {N0: 2 * huge}) for name in ("a", "b")]
    remote = remote_of(found, HOME, {huge: {N1: 3 * huge, N0: 9 * huge}, 2 * huge: {N1: 99 * huge}}, {})
    assert (remote.movable_bytes, remote.stays) == (3 * huge, {LeftReason.HUGETLB_POOL: huge})


def test_locality_and_policy_of_nothing() -> None:
    """A picture without pages is all at home."""
    empty = Picture("x", (), frozenset(), frozenset(), HOME, ())
    assert (empty.locality, empty.policy, empty.resident_bytes) == (1.0, "default", 0)
    half = replace(empty, mappings=(anon({N0: PAGE, N1: PAGE}),))
    assert (half.locality, half.by_node) == (0.5, {N0: PAGE, N1: PAGE})
