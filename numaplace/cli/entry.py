"""Where the `numaplace` command begins, and the one place where it ends."""

import io
import os
import sys
from collections.abc import Sequence

from numaplace.cli import exits
from numaplace.cli.once import shown_plainly


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code (:mod:`numaplace.cli.exits`)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
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
    except BrokenPipeError:
        # Whoever read has left. Nothing may be left to write when the interpreter ends, or it says 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(exits.FAILED)


def _run(given: list[str]) -> None:
    if shown_plainly(given):
        sys.exit(exits.OK)
    from numaplace.cli.app import built  # noqa: PLC0415 - the parser is most of what there is to load

    built(*given[:1])(args=given, prog_name="numaplace")
