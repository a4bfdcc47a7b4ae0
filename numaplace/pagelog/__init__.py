"""Page logs: what a profiler says of who uses which page, read from its text and made into pages to move. Pure.

A log is a list of records (address, node, weight): who runs on `node` used the page of `address` so much. It may be

- CSV with a header that names the columns `address`, `node` or `cpu`, and perhaps `weight`, `pid`, `tid`;
- JSON, a list of objects or one object a line, with those names as keys;
- the text that `perf script` prints for samples with a data address (`perf mem record`, `perf c2c record`, IBS, SPE).

How to use it, as `numaplace move --pages` does::

    log = read_log(stream, Place(page_bytes, nodes, node_of_cpu, pid, threads))    # LogError, with the line
    log.skipped                                                                    # what was passed over, and why
    picking = log.pick(huge_blocks=..., budget_bytes=..., lies_on=...)             # what was chosen, and what not
    pages = log.picked(huge_blocks=..., budget_bytes=..., shared=False)            # the same as PickedPages

`stream` is binary. Addresses are decimal, or hexadecimal behind `0x` (perf's own are always hexadecimal).
"""

from numaplace.pagelog.log import PageLog, Picking, Place, Sample, Skip
from numaplace.pagelog.reading import read_log
from numaplace.pagelog.text import LIMITS, Limits, LogError

__all__ = ["LIMITS", "Limits", "LogError", "PageLog", "Picking", "Place", "Sample", "Skip", "read_log"]
