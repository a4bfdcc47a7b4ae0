"""What can go wrong with a call, as a caller can act on it; the one place where gRPC's status codes are translated."""

# ruff: noqa: N818 - a name says what happened, and all of them derive from NumaplaceError

from collections.abc import Iterable, Mapping
from typing import cast

import grpc

from numaplace import wire


class NumaplaceError(Exception):
    """A call that failed: ``words`` say what happened and, where something helps, what to do.

    ``reason`` is the service's stable word for it (google.rpc.ErrorInfo), empty if it gave none.
    """

    def __init__(self, words: str, reason: str = "") -> None:
        super().__init__(words)
        self.words = words
        self.reason = reason


class NotFound(NumaplaceError):
    """There is no such host, job, move, policy or process."""


class InvalidRequest(NumaplaceError):
    """The request cannot be meant so; the words name the field."""


class NotNow(NumaplaceError):
    """The request is right, but not in the present state (the move has ended, the policy has changed meanwhile)."""


class NotAllowed(NumaplaceError):
    """The caller may not ask for this, or did not prove who it is."""


class Unavailable(NumaplaceError):
    """Nobody answers there, or not now; the words say where was asked."""


class TimedOut(Unavailable):
    """No answer within the deadline."""


class Busy(NumaplaceError):
    """The service is at a limit; ask again later."""


class ServerFault(NumaplaceError):
    """The service failed, or does not know the call."""


class ProtocolError(NumaplaceError):
    """The answer cannot be understood: one side is much newer than the other, or damaged."""


_KINDS: Mapping[grpc.StatusCode, type[NumaplaceError]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: NotNow,
    grpc.StatusCode.ABORTED: NotNow,
    grpc.StatusCode.ALREADY_EXISTS: NotNow,
    grpc.StatusCode.CANCELLED: NotNow,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
    grpc.StatusCode.UNAUTHENTICATED: NotAllowed,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOut,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Busy,
    grpc.StatusCode.UNIMPLEMENTED: ServerFault,
    grpc.StatusCode.INTERNAL: ServerFault,
    grpc.StatusCode.UNKNOWN: ServerFault,
    grpc.StatusCode.DATA_LOSS: ServerFault,
}


def translated(error: grpc.RpcError, asked: str, advice: str) -> NumaplaceError:
    """The error of a call to ``asked`` (an address); ``advice`` is what to look at if nobody answers there."""
    # Every error that a call raises is also its grpc.Call; the annotations of grpc do not say so.
    code: grpc.StatusCode = error.code()
    details: str = error.details() or ""
    kind = _KINDS.get(code, ServerFault)
    said = wire.clean(details)
    words = said or f"{code.name.lower().replace('_', ' ')} (no details were given)"
    if kind is Unavailable:
        words = f"nobody answers at {asked}; {advice} ({said})"
    elif kind is TimedOut:
        words = f"no answer from {asked} in time; {advice}"
    elif code is grpc.StatusCode.UNIMPLEMENTED:
        words = f"{asked} does not know this call; it may be of another version ({said})"
    return kind(words, _reason(error))


def _reason(error: grpc.RpcError) -> str:
    # Pairs, although the stubs' metadatum is not iterable.
    metadata = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, value in metadata:
        if key == wire.DETAILS_KEY and isinstance(value, bytes):
            return wire.error_reason(value)
    return ""
