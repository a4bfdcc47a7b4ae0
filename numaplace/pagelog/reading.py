"""Reading a log of any kind: which kind it is, its content tells."""

from collections.abc import Iterator

from numaplace.pagelog import csv_log, json_log, perf_script
from numaplace.pagelog.log import PageLog, Place, Sample, count
from numaplace.pagelog.text import LIMITS, Limits, Lines, LogError, Stream, shown


def read_log(stream: Stream, place: Place, limits: Limits = LIMITS) -> PageLog:
    """Read a log to its end.

    Args:
        stream: a binary file or pipe.
        place: this host's nodes and CPUs, and the process whose pages are meant.
        limits: how much is read at most.

    Raises:
        LogError: it is no log, a line of it cannot be understood, or nothing in it is of use; with the line.
        OSError: it cannot be read.
    """
    return count(_samples(Lines(stream, limits)), place, limits)


def _samples(lines: Lines) -> Iterator[Sample]:
    """The records, by the first line that is neither empty nor a remark."""
    while text := lines.peek():
        line = text.strip()
        if line and not line.startswith("#"):
            break
        lines.skip()
    else:
        return iter(())
    if line[0] in "[{":
        return json_log.samples(lines)
    if csv_log.is_header(line):
        return csv_log.samples(lines)
    if perf_script.is_sample(text.rstrip("\r\n")):
        return perf_script.samples(lines)
    raise LogError(
        "neither CSV (its first line names the columns: address,node,weight), nor JSON, nor what `perf script` prints:"
        f" {shown(line)}",
        lines.number + 1,
    )
