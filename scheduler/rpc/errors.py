"""The one place where a refusal becomes a gRPC status: words for people, and a stable reason for programs."""

from typing import NoReturn, TypeVar

import grpc

from numaplace import wire
from scheduler.state.instructions import CloseCause

Request = TypeVar("Request")
Response = TypeVar("Response")


class RefusalError(Exception):
    """A call is refused; ``reason`` is UPPER_SNAKE_CASE and stable."""

    def __init__(self, status: grpc.StatusCode, reason: str, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.reason = reason
        self.words = words


def not_found(what: str, name: str) -> RefusalError:
    """Nobody knows this name."""
    return RefusalError(grpc.StatusCode.NOT_FOUND, f"{what.upper()}_NOT_FOUND", f"no {what} is called {name!r}")


def invalid(words: str) -> RefusalError:
    """The request makes no sense."""
    return RefusalError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", words)


CLOSED = {
    CloseCause.TAKEN_OVER: grpc.StatusCode.ABORTED,
    CloseCause.PROTOCOL: grpc.StatusCode.FAILED_PRECONDITION,
    CloseCause.BAD_REPORT: grpc.StatusCode.INVALID_ARGUMENT,
    CloseCause.TOO_MANY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    CloseCause.UNRESPONSIVE: grpc.StatusCode.ABORTED,
    CloseCause.STOPPING: grpc.StatusCode.UNAVAILABLE,
}
"""Why the state closes a session, as a status."""


def closed(cause: CloseCause, words: str) -> RefusalError:
    """The state has closed a session."""
    return RefusalError(CLOSED[cause], f"SESSION_{cause.name}", words)


async def abort(context: grpc.aio.ServicerContext[Request, Response], refusal: RefusalError) -> NoReturn:
    """End the call with this refusal."""
    details = wire.error_details(refusal.status.value[0], refusal.words, refusal.reason)
    await context.abort(refusal.status, refusal.words, ((wire.DETAILS_KEY, details),))
    raise AssertionError("abort returned")
