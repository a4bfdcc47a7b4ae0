"""What `perf script` prints for samples with a data address: of `perf mem record`, `perf c2c record`, IBS, SPE, faults.

A line is (tools/perf/builtin-script.c, process_event), each field only if it was asked for and sampled::

    comm  pid/tid  [cpu]  time:  period  event:  addr  sym (dso)  data_src |OP …|BLK …  weight  ins_lat  ip  sym (dso)

A call chain follows in lines that begin with a tab. The page is that of `addr`, the node that of `cpu`, the weight the
latency that the hardware measured; it prints 0 where it measured none, which counts as 1. Nothing in a line says which
of its bare numbers is what, hence the rules below; the best line is the one without `ip` and `sym`::

    perf script -F comm,pid,tid,cpu,time,event,addr,data_src,weight
"""

import re
from collections.abc import Iterator

from numaplace.pagelog.log import Sample
from numaplace.pagelog.text import Lines, LogError, shown

FIELDS = "comm,pid,tid,cpu,time,event,addr,data_src,weight"

_WHO = r"\s*(?:\S.{0,63}?\s+)?(?:([0-9]{1,10})/([0-9]{1,10})|([0-9]{1,10}))\s+"
_LINE = re.compile(
    _WHO + r"\[([0-9]{3,5})\]\s+(?:[0-9]{1,12}\.[0-9]{1,9}:\s+)?(?:[0-9]{1,20}\s+)?(?:\S+:\s+)?([0-9a-f]{1,16})(\s.*)?",
    re.ASCII,
)
_WITHOUT_CPU = re.compile(_WHO + r"[0-9]{1,12}\.[0-9]{1,9}:\s.*", re.ASCII)
# A number is the weight if the line ends behind it or another address (the instruction's) follows; a number before a
# symbol is that symbol's address.
_WEIGHT = re.compile(r"(?<=\s)([0-9]{1,19})(?=\s*$|\s+[0-9a-f]{1,16}(?:\s|$))", re.ASCII)
_SECOND_ADDRESS = re.compile(r"\s[0-9a-f]{1,16}(?:\s|$)", re.ASCII)


def is_sample(line: str) -> bool:
    """Whether a line is a sample's."""
    return _LINE.fullmatch(line) is not None or _WITHOUT_CPU.fullmatch(line) is not None


def samples(lines: Lines) -> Iterator[Sample]:
    """The samples; raises LogError for a line that is none."""
    for text in lines:
        if not text or text[0] in "\t#":
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise LogError(_fault(text), lines.number)
        pid, tid, only_tid, cpu, address, tail = match.groups("")
        yield Sample(
            lines.number,
            _data_address(address, tail),
            None,
            int(cpu),
            _weight(tail),
            int(pid) if pid else None,
            int(tid or only_tid),
        )


def _data_address(address: str, tail: str) -> int:
    """The data address; zero if the line's one address is the instruction's, as of events that have no other."""
    tail = tail.strip()
    is_instruction = tail.endswith(")") and "|" not in tail and not _SECOND_ADDRESS.search(f" {tail}")
    return 0 if is_instruction else int(address, 16)


def _weight(tail: str) -> float:
    match = _WEIGHT.search(tail)
    return float(match[1]) or 1.0 if match else 1.0


def _fault(text: str) -> str:
    if _WITHOUT_CPU.fullmatch(text):
        return (
            "the sample does not say on which CPU it was taken: record with --sample-cpu, and print it with"
            f" perf script -F {FIELDS}"
        )
    return f"not a sample with a data address as `perf script -F {FIELDS}` prints it: {shown(text)}"
