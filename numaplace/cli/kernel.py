"""What the kernel refuses, as one line and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager

from numaplace.cli import exits
from numaplace.kernel.errors import Denied, KernelCallError, KernelFormatError, NoSuchFile, ProcessGone


@contextmanager
def refusals_as_exits() -> Iterator[None]:
    """Turn what numaplace.kernel raises into exits.Failure."""
    try:
        yield
    except (KernelCallError, KernelFormatError) as error:
        code = exits.NOT_FOUND if isinstance(error, ProcessGone | NoSuchFile) else exits.FAILED
        raise exits.Failure(code, refusal_words(error)) from error


def refusal_words(error: KernelCallError | KernelFormatError) -> str:
    """What was refused, and what helps where something does."""
    if isinstance(error, Denied):
        return f"{error.strerror}; run it as root, or as its owner"
    return str(error.strerror if isinstance(error, KernelCallError) else error)
