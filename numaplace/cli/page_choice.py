"""The pages that a profiler's log asks to move: read, voted, and chosen, and what was not chosen said by its reason.

Hottest first, so that a budget buys the most. A huge page is one; a page that lies where it should takes nothing of
the budget. That the log may be of another process, or of an earlier one of this pid, is looked for where it can be.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from numaplace.cli import exits, units
from numaplace.cli.kernel import refusals_as_exits
from numaplace.kernel.procfs import is_alive
from numaplace.mempolicy import locate
from numaplace.model.hand import PickedPages
from numaplace.model.ids import NodeId
from numaplace.pagelog import LogError, PageLog, Picking, read_log
from numaplace.pagelog.log import HUGE_BYTES
from numaplace.profile.huge import huge_blocks
from numaplace.profile.target import read_target

STDIN = Path("-")


def choose(file: Path, pid: int, budget_bytes: int | None, *, shared: bool) -> PickedPages | None:
    """The pages to move, by the log in a file; None if all lie where they should. Raises exits.Failure."""
    name = "the log" if file == STDIN else str(file)
    with refusals_as_exits():
        target = read_target(pid)
        try:
            with _opened(file) as stream:
                log = read_log(stream, target.place)
        except OSError as error:
            raise exits.Failure(exits.USAGE, f"{name} cannot be read: {error.strerror}") from error
        except LogError as error:
            raise exits.Failure(exits.USAGE, f"{name}: {error}") from error
        picking = _picked(log, pid, budget_bytes)
        if not is_alive(target.process):
            raise exits.Failure(exits.NOT_FOUND, f"process {pid} has ended while its log was read")
    sys.stderr.write(f"{told(log, picking)}\n")
    if not picking.addresses:
        return None
    try:
        return PickedPages(picking.addresses, picking.nodes, shared)
    except ValueError as error:
        raise exits.Failure(exits.USAGE, f"{name}: {error}, for instance --budget 1G") from error


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    if file == STDIN:
        yield sys.stdin.buffer
    else:
        with file.open("rb") as stream:
            yield stream


def _picked(log: PageLog, pid: int, budget_bytes: int | None) -> Picking:
    addresses = sorted(log.addresses)
    blocks = huge_blocks(pid, sorted({address - address % HUGE_BYTES for address in addresses}), HUGE_BYTES)
    wanted = sorted({*addresses, *blocks})
    lies_on = {at: NodeId(node) for at, node in zip(wanted, locate(wanted, pid=pid), strict=True) if node >= 0}
    return log.pick(huge_blocks=blocks, budget_bytes=budget_bytes, lies_on=lies_on)


def told(log: PageLog, picking: Picking) -> str:
    """What was chosen of the log, and what not, in a line."""
    passed = [f"{number} {reason.value}" for reason, number in log.skipped.items()]
    left = [
        f"{number} {words}"
        for number, words in (
            (picking.at_home, "lie where they should"),
            (picking.tied, "are used alike from several nodes"),
            (picking.over_budget, "are beyond the budget"),
        )
        if number
    ]
    words = f"{log.records} records"
    if passed:
        words += f" ({', '.join(passed)} passed over)"
    pages = units.counted(len(picking.addresses), "page", "pages")
    words += f" of {units.counted(log.pages, 'page', 'pages')}: {pages} to move, {units.size(picking.picked_bytes)}"
    return ", ".join([words, *left])
