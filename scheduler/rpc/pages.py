"""Long lists in pages: a token names the last entry that was given, so that entries may come and go between pages."""

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import TypeVar

from scheduler.rpc.errors import RefusalError, invalid

T = TypeVar("T")

PAGE_SIZE = 100
"""The size of a page for whoever asks for none."""
PAGE_SIZE_MAX = 1000
TOKEN_CHARS_MAX = 8192


def page_of(items: Iterable[T], key: Callable[[T], tuple[float, str]], size: int, token: str) -> tuple[list[T], str]:
    """The next page in the order of the keys, and the token of the page after it, empty at the end.

    Keys are distinct. Raises RefusalError for a size or token that makes no sense.
    """
    if size < 0:
        raise invalid("page_size must not be negative")
    size = min(size or PAGE_SIZE, PAGE_SIZE_MAX)
    after = _read(token) if token else None
    ordered = sorted((item for item in items if after is None or key(item) > after), key=key)
    page = ordered[:size]
    return page, _written(key(page[-1])) if len(ordered) > size else ""


def _written(key: tuple[float, str]) -> str:
    return base64.urlsafe_b64encode(f"{key[0]!r} {key[1]}".encode()).decode()


def _read(token: str) -> tuple[float, str]:
    try:
        if len(token) > TOKEN_CHARS_MAX:
            raise _bad_token()
        number, name = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode().split(" ", 1)
        return float(number), name
    except (binascii.Error, UnicodeError, ValueError):
        raise _bad_token() from None


def _bad_token() -> RefusalError:
    return invalid("page_token is not one of ours; begin again without it")
