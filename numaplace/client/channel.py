"""Channels that carry out :class:`~numaplace.client.calls.Call` values, one for threads and one for asyncio.

Every failure leaves here as a NumaplaceError, and every unary call has a deadline.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

from numaplace.client.calls import PAGES_MAX, Call, Page
from numaplace.client.errors import NumaplaceError, ProtocolError, translated
from numaplace.client.target import Target
from numaplace.wire import WireError

T = TypeVar("T")


class Channel:
    """A connection for threads; it dials at the first call. Close it, or use it in a ``with`` block."""

    def __init__(self, target: Target) -> None:
        self._target = target
        credentials = target.tls and target.tls.credentials()
        self._channel = (
            grpc.secure_channel(target.address, credentials, target.options)
            if credentials
            else grpc.insecure_channel(target.address, target.options)
        )

    def close(self) -> None:
        """End all calls and the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def run(self, call: Call[T]) -> T:
        """The answer of a unary call."""
        method = self._channel.unary_unary(
            call.method, request_serializer=_serialized, response_deserializer=call.answer.FromString
        )
        try:
            return _read(call, method(call.request, timeout=call.deadline_s), self._target)
        except grpc.RpcError as error:
            raise translated(error, self._target.address, self._target.advice) from error

    def stream(self, call: Call[T]) -> Generator[T, None, None]:
        """The answers of a stream until it ends; closing the iterator ends the call."""
        method = self._channel.unary_stream(
            call.method, request_serializer=_serialized, response_deserializer=call.answer.FromString
        )
        answers = method(call.request, timeout=call.deadline_s)
        try:
            for answer in answers:
                yield _read(call, answer, self._target)
        except grpc.RpcError as error:
            raise translated(error, self._target.address, self._target.advice) from error
        finally:
            answers.cancel()

    def whole(self, page: Callable[[str], Call[Page[T]]]) -> tuple[T, ...]:
        """All items of a list that comes in pages."""
        items: list[T] = []
        token = ""
        for _ in range(PAGES_MAX):
            part = self.run(page(token))
            items += part.items
            token = part.next_token
            if not token:
                return tuple(items)
        raise _endless(self._target)


class AsyncChannel:
    """The same for asyncio: make and use it on one event loop; ``async with`` closes it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        credentials = target.tls and target.tls.credentials()
        self._channel = (
            grpc.aio.secure_channel(target.address, credentials, target.options)
            if credentials
            else grpc.aio.insecure_channel(target.address, target.options)
        )

    async def close(self) -> None:
        """End all calls and the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def run(self, call: Call[T]) -> T:
        """The answer of a unary call."""
        method = self._channel.unary_unary(
            call.method, request_serializer=_serialized, response_deserializer=call.answer.FromString
        )
        answer: Awaitable[Any] = method(call.request, timeout=call.deadline_s)
        try:
            return _read(call, await answer, self._target)
        except grpc.RpcError as error:
            raise translated(error, self._target.address, self._target.advice) from error

    async def stream(self, call: Call[T]) -> AsyncGenerator[T, None]:
        """The answers of a stream until it ends; closing the iterator ends the call."""
        method = self._channel.unary_stream(
            call.method, request_serializer=_serialized, response_deserializer=call.answer.FromString
        )
        answers = method(call.request, timeout=call.deadline_s)
        try:
            async for answer in answers:
                yield _read(call, answer, self._target)
        except grpc.RpcError as error:
            raise translated(error, self._target.address, self._target.advice) from error
        finally:
            answers.cancel()

    async def whole(self, page: Callable[[str], Call[Page[T]]]) -> tuple[T, ...]:
        """All items of a list that comes in pages."""
        items: list[T] = []
        token = ""
        for _ in range(PAGES_MAX):
            part = await self.run(page(token))
            items += part.items
            token = part.next_token
            if not token:
                return tuple(items)
        raise _endless(self._target)


def _serialized(message: Any) -> bytes:  # noqa: ANN401 - grpc passes on what it was given
    data: bytes = message.SerializeToString()
    return data


def _read(call: Call[T], answer: object, target: Target) -> T:
    try:
        return call.read(answer)
    except WireError as error:
        raise ProtocolError(f"the answer of {target.address} cannot be understood: {error}") from error


def _endless(target: Target) -> NumaplaceError:
    return ProtocolError(f"the list of {target.address} has no end after {PAGES_MAX} pages")
