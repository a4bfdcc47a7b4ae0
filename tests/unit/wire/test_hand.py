"""Moves by hand on the wire: they arrive as they were asked for, and nothing else is taken for one."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from numaplace import wire
from numaplace.model.hand import PICKED_PAGES_MAX, HandMove, PickedPages, Transfer
from numaplace.model.ids import NodeId
from numaplace.model.policy import Policy
from numaplace.v1 import local_pb2
from tests import strategies

HERE, THERE = frozenset({NodeId(0)}), frozenset({NodeId(1)})


@given(strategies.hand_moves, strategies.policies)
def test_a_move_by_hand_comes_back_from_bytes_as_it_was_asked_for(what: HandMove, policy: Policy) -> None:
    """What, and by which policy; a pid stays a pid."""
    data = wire.hand_move_to_proto(what, policy, pid=4711).SerializeToString()
    request = local_pb2.HandMoveRequest.FromString(data)
    assert wire.hand_move_from_proto(request) == (what, policy)
    assert (request.WhichOneof("target"), request.pid) == ("pid", 4711)


@given(strategies.hand_moves, st.data())
def test_a_damaged_request_gives_a_value_or_a_wire_error(what: HandMove, data: st.DataObject) -> None:
    """Whatever bytes a caller sends."""
    damaged = bytearray(wire.hand_move_to_proto(what, Policy(), cgroup="/a").SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        wire.hand_move_from_proto(local_pb2.HandMoveRequest.FromString(bytes(damaged)))
    except (wire.WireError, DecodeError):
        return


def _transfer(sources: str, targets: str) -> local_pb2.HandMoveRequest:
    request = wire.hand_move_to_proto(Transfer(HERE, THERE), Policy())
    request.transfer.sources, request.transfer.targets = sources, targets
    return request


def _pages(addresses: list[int], nodes: list[int]) -> local_pb2.HandMoveRequest:
    request = wire.hand_move_to_proto(PickedPages((0,), (NodeId(0),)), Policy())
    request.pages.ClearField("addresses")
    request.pages.ClearField("nodes")
    request.pages.addresses.extend(addresses)
    request.pages.nodes.extend(nodes)
    return request


def _without(field: str) -> local_pb2.HandMoveRequest:
    request = _transfer("0", "1")
    request.ClearField(field)
    return request


BAD: list[tuple[str, Callable[[], Any]]] = [
    ("move", lambda: _without("transfer")),
    ("move.policy", lambda: _without("policy")),
    ("move.transfer", lambda: _transfer("", "1")),
    ("move.transfer", lambda: _transfer("0", "")),
    ("move.transfer.sources", lambda: _transfer("1024", "1")),
    ("move.transfer.targets", lambda: _transfer("0", "1-0")),
    ("move.pages", lambda: _pages([], [])),
    ("move.pages", lambda: _pages([1, 2], [0])),
    ("move.pages", lambda: _pages([], [0])),
    ("move.pages.addresses", lambda: _pages([1 << 63], [0])),
    ("move.pages.nodes", lambda: _pages([1], [1024])),
    ("move.pages", lambda: _pages([1] * (PICKED_PAGES_MAX + 1), [0] * (PICKED_PAGES_MAX + 1))),
]


@pytest.mark.parametrize(("field", "request_"), BAD, ids=[f"{n}-{field}" for n, (field, _) in enumerate(BAD)])
def test_the_error_names_the_field(field: str, request_: Callable[[], local_pb2.HandMoveRequest]) -> None:
    """Whoever asked for what cannot be can find what was wrong with it."""
    with pytest.raises(wire.WireError) as caught:
        wire.hand_move_from_proto(request_())
    assert caught.value.field == field


def test_the_examples_are_good_before_they_are_changed() -> None:
    """The cases above fail for what they change, not for something else."""
    for request in (_transfer("0", "1"), _pages([1], [0])):
        wire.hand_move_from_proto(request)


def test_the_largest_list_of_pages_fits_into_a_request_and_a_larger_one_is_no_value() -> None:
    """What a server takes at the most is what can be meant; who has more learns what to do before anything is sent."""
    nodes = (NodeId(1023),)
    most = PickedPages((1 << 62,) * PICKED_PAGES_MAX, nodes * PICKED_PAGES_MAX)
    request = wire.hand_move_to_proto(most, Policy(), cgroup="/" * 4096)
    assert 0 <= wire.REQUEST_BYTES_MAX - request.ByteSize() < 1 << 17
    with pytest.raises(ValueError, match="page budget"):
        PickedPages((0,) * (PICKED_PAGES_MAX + 1), nodes * (PICKED_PAGES_MAX + 1))


def test_an_unequal_list_of_pages_is_no_value() -> None:
    """Each page has its node, and there is at least one; a transfer leads from somewhere to somewhere."""
    with pytest.raises(ValueError, match="each page needs its node"):
        PickedPages((1, 2), (NodeId(0),))
    with pytest.raises(ValueError, match="at least one page"):
        PickedPages((), ())
    with pytest.raises(ValueError, match="from"):
        Transfer(frozenset(), THERE)
    with pytest.raises(ValueError, match="to"):
        Transfer(HERE, frozenset())
