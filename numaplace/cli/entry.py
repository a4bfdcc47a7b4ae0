"""Where the `numaplace` command begins, and the one place where it ends."""

import errno
import io
import os
import sys
from collections.abc import Sequence

from numaplace.cli import exits

_OF_WRITING = frozenset(
    {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EAGAIN, errno.ENXIO}
)
"""What a terminal, a pipe or a full disk answers to what is written."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code (:mod:`numaplace.cli.exits`)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _open_what_is_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Files and processes are called by any name: what a terminal cannot show is a question mark there.
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            _run(given)
        finally:
            sys.stdout.flush()
    except exits.Failure as failure:
        sys.stderr.write(f"numaplace: {failure.words}\n")
        sys.exit(failure.code)
    except KeyboardInterrupt:
        sys.exit(exits.INTERRUPTED)
    except OSError as error:
        if error.filename is not None or error.errno not in _OF_WRITING:
            raise  # a fault of ours: nobody should have opened or called that without care
        # Nothing may be left to write when the interpreter ends, or it says 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # whoever read has left, and needs no words
            sys.stderr.write(f"numaplace: the answer could not be written: {error.strerror}\n")
        sys.exit(exits.FAILED)


def _run(given: list[str]) -> None:
    from numaplace.cli.once import shown_plainly  # noqa: PLC0415 - so that Ctrl-C is heard while it loads

    if shown_plainly(given):
        sys.exit(exits.OK)
    from numaplace.cli.app import built  # noqa: PLC0415 - the parser is most of what there is to load

    built(*given[:1])(args=given, prog_name="numaplace")


def _open_what_is_closed() -> None:
    """Who closed a standard stream (``>&-``) wants nothing of it; Python has None in its place.

    A program that run executes finds it closed again: these descriptors are not inherited.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - as long as we run
