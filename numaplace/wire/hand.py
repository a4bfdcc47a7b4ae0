"""Moves by hand on the wire: what to move from where to where, and what it would cost."""

from numaplace.model.cpuset import format_id_list
from numaplace.model.hand import PICKED_PAGES_MAX, HandMove, PickedPages, Prediction, Transfer
from numaplace.model.ids import NodeId
from numaplace.model.policy import Policy
from numaplace.v1 import local_pb2 as pb
from numaplace.wire import checks, move
from numaplace.wire.checks import WireError
from numaplace.wire.policy import policy_from_proto, policy_to_proto

ADDRESS_MAX = (1 << 63) - 1
"""The upper half is the kernel's on every architecture."""
REQUEST_BYTES_MAX = PICKED_PAGES_MAX * 10 + (128 << 10)
"""The largest request that can be meant: 8 bytes for each page's address, 2 for its node, and names and a policy."""


def hand_move_to_proto(
    what: HandMove, policy: Policy, *, pid: int | None = None, cgroup: str | None = None, job: str | None = None
) -> pb.HandMoveRequest:
    """A move by hand as it is asked for, of whatever one name is given."""
    request = pb.HandMoveRequest(policy=policy_to_proto(policy), pid=pid, cgroup=cgroup, job=job)
    match what:
        case Transfer(sources, targets):
            request.transfer.sources, request.transfer.targets = format_id_list(sources), format_id_list(targets)
        case PickedPages(addresses, nodes, shared):
            request.pages.addresses.extend(addresses)
            request.pages.nodes.extend(nodes)
            request.pages.shared = shared
    return request


def hand_move_from_proto(message: pb.HandMoveRequest, at: str = "move") -> tuple[HandMove, Policy]:
    """A move by hand and its policy as they were asked for; raises WireError. The target is the reader's to look up."""
    checks.present(message, "policy", at)
    policy = policy_from_proto(message.policy, f"{at}.policy")
    match message.WhichOneof("what"):
        case "transfer":
            return _transfer(message.transfer, f"{at}.transfer"), policy
        case "pages":
            return _pages(message.pages, f"{at}.pages"), policy
        case _:
            raise WireError(at, "says neither from where to where nor which pages")


def _transfer(message: pb.Transfer, at: str) -> Transfer:
    sources, targets = checks.nodes(message.sources, f"{at}.sources"), checks.nodes(message.targets, f"{at}.targets")
    try:
        return Transfer(sources, targets)
    except ValueError as error:
        raise WireError(at, str(error)) from error


def _pages(message: pb.PickedPages, at: str) -> PickedPages:
    if message.addresses:
        checks.count(max(message.addresses), f"{at}.addresses", 0, ADDRESS_MAX)
    if message.nodes:
        checks.count(max(message.nodes), f"{at}.nodes", 0, checks.NODE_ID_MAX)
    try:
        return PickedPages(tuple(message.addresses), tuple(map(NodeId, message.nodes)), shared=message.shared)
    except ValueError as error:
        raise WireError(at, str(error)) from error


def prediction_to_proto(prediction: Prediction) -> pb.Prediction:
    """A prediction as it is told."""
    strategy = prediction.strategy
    return pb.Prediction(
        move_bytes=prediction.move_bytes,
        seconds=prediction.seconds,
        stall_ms=prediction.stall_ms,
        left=move.left_to_proto(prediction.left),
        strategy=None if strategy is None else move.STRATEGIES.to_proto(strategy),
        strategy_reason=checks.clean(prediction.strategy_reason),
    )


def prediction_from_proto(message: pb.Prediction, at: str = "prediction") -> Prediction:
    """A prediction as it was told; raises WireError."""
    return Prediction(
        move_bytes=checks.size_bytes(message.move_bytes, f"{at}.move_bytes"),
        seconds=checks.number(message.seconds, f"{at}.seconds"),
        stall_ms=checks.number(message.stall_ms, f"{at}.stall_ms"),
        left=move.left_from_proto(message.left, f"{at}.left"),
        strategy=move.STRATEGIES.optional_from_proto(message.strategy, f"{at}.strategy"),
        strategy_reason=checks.words(message.strategy_reason, f"{at}.strategy_reason"),
    )
