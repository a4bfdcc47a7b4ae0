"""Logs of every kind are read alike; what is wrong with one is said in one line that says where."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numaplace.model.ids import CpuId, NodeId
from numaplace.pagelog import Limits, LogError, PageLog, Place, Skip, read_log

LOGS = Path(__file__).parent / "logs"
PAGE = 4096
FIRST = 0x7F5D_5A00_0000
PLACE = Place(
    PAGE,
    frozenset({NodeId(0), NodeId(1)}),
    {CpuId(0): NodeId(0), CpuId(1): NodeId(0), CpuId(2): NodeId(1), CpuId(3): NodeId(1)},
    pid=4711,
    threads=frozenset({4711, 4712}),
)

CSV = b"address,node,weight\n0x7f5d5a000010,1,3\n140038918635520,0,1\n# a remark\n\n0x7f5d5a001000,0,2.5\n"
JSON = json.dumps(
    [
        {"address": "0x7f5d5a000010", "node": 1, "weight": 3},
        {"address": FIRST, "node": 0},
        {"address": "0x7f5d5a001000", "cpu": 1, "weight": 2.5, "colour": "blue"},
    ]
).encode()
JSON_LINES = b"".join(json.dumps(each).encode() + b"\n" for each in [{"meta": {"method": "x"}}, *json.loads(JSON)])

# What `perf script` 6.1 prints of page faults; its lines of memory accesses are as its sources have them.
PERF = (LOGS / "faults.txt").read_bytes()
WITH_CHAINS = b"""\
true 4711 [001]   934.741305:          1 page-faults:     7f5d5a000010 __progname+0x0 (/usr/bin/true)               7
\tffffffff8175336a elf_load+0x28a ([kernel.kallsyms])
\t    7f43696f2ad7 [unknown] ([unknown])

true 4712 [002]   934.742379:          1 page-faults:     7f5d5a001110 dl_close_state.2+0x0 (/usr/lib/ld.so.2)         9
"""  # fmt: skip
MEM_LOADS = (LOGS / "mem.txt").read_bytes()
IBS = (LOGS / "ibs.txt").read_bytes()


def read(text: bytes, place: Place = PLACE, limits: Limits | None = None) -> PageLog:
    """The log of this text."""
    return read_log(io.BytesIO(text), place, limits or Limits())


def by_page(log: PageLog) -> Mapping[int, Mapping[NodeId, float]]:
    """Weights by page and node, as the log's chooser sees them."""
    return {start: weights for start, _, weights in log._units(frozenset(), PAGE)}


THREE = {FIRST: {0: 1.0, 1: 3.0}, FIRST + PAGE: {0: 2.5}}


@pytest.mark.parametrize("text", [CSV, JSON, JSON_LINES, b"\n# remark\n" + CSV, CSV.replace(b"\n", b"\r\n")])
def test_csv_and_json_say_the_same(text: bytes) -> None:
    """The kind is found by the content, remarks are passed over, addresses may be decimal or hexadecimal."""
    log = read(text)
    assert by_page(log) == THREE
    assert (log.records, log.pages, dict(log.skipped)) == (3, 2, {})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (PERF, {FIRST: {1: 3.0, 0: 1.0}}),
        (WITH_CHAINS, {FIRST: {0: 7.0}, FIRST + PAGE: {1: 9.0}}),
        (MEM_LOADS, {FIRST: {1: 144.0}, FIRST + PAGE: {0: 1.0}}),
        (b"4712 [001]     7f5d5a000000\n", {FIRST: {0: 1.0}}),
        (b"work 4711/4712 [003] 1.5: mem-loads:u: 7f5d5a000000 33\n", {FIRST: {1: 33.0}}),
        (b"work 4711/4712 [003] 1.5: mem-loads:u: 7f5d5a000000 33 401136 add+0x1 (/a b)\n", {FIRST: {1: 33.0}}),
        (b"work 4711/4712 [003] 1.5: mem-loads:u: 7f5d5a000000 x+0x0 ([heap]) 401136 f+0x1 (/a)\n", {FIRST: {1: 1.0}}),
    ],
)
def test_samples_of_perf_count_for_the_node_of_their_cpu(text: bytes, found: dict[int, dict[int, float]]) -> None:
    """Whatever fields were printed: the data address, the CPU, and the measured latency where there is one."""
    assert by_page(read(text)) == found


def test_samples_without_a_data_address_are_counted() -> None:
    """An IBS record of no memory access, an event that has no address, kernel addresses: passed over, and told."""
    text = IBS + b"work 4711 [001] 1.5: 1 cycles: 401136 main+0x2 (/x)\nwork 4711 [001] 1.5: l1d: ffffa7c22b4b2a00\n"
    log = read(text)
    assert by_page(log) == {FIRST + PAGE: {1: 612.0}}
    assert log.skipped == {Skip.NO_ADDRESS: 2, Skip.KERNEL_ADDRESS: 1}


def test_records_of_other_processes_and_unknown_cpus_are_counted() -> None:
    """A pid, or else a tid, must be the process's; a CPU that went offline says nothing of a node."""
    text = b"address,cpu,pid,tid\n8192,0,4711,\n8192,0,,4712\n8192,0,,4713\n8192,0,1,4712\n8192,9,,\n"
    log = read(text)
    assert by_page(log) == {8192: {0: 2.0}}
    assert log.skipped == {Skip.OTHER_PROCESS: 2, Skip.UNKNOWN_CPU: 1}
    anybody = read(text, Place(PAGE, PLACE.nodes, PLACE.node_of_cpu))
    assert by_page(anybody) == {8192: {0: 4.0}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "the log is empty"),
        (b"\n# nothing\n", "the log is empty"),
        (b"address,node\n", "the log is empty"),
        (b"[]", "the log is empty"),
        (b"hello\n", "line 1: neither CSV"),
        (b"0x1000,1,3\n", "line 1: neither CSV"),
        (b"PERFILE2\x68\0\0\0", "line 1: this is perf's own file: give what `perf script"),
        (b"\x1f\x8b\x08\x00", "line 1: this is no text"),
        (b"address,node\n4096,0\n\0\0", "line 3: this is no text"),
        (b"address,weight\n", "line 1: the header has neither a column node nor a column cpu"),
        (b"address,node,node\n", "line 1: a column is there twice"),
        (b"address,node\n4096,0\n7f12,0\n", "line 3: not an address (decimal, or hexadecimal behind 0x): '7f12'"),
        (b"address,node\n0x1_0,0\n", "line 2: not an address"),
        (b"address,node\n0x,0\n", "line 2: not an address"),
        (b"address,node\n0x10000000000000000,0\n", "line 2: more than an address has bits"),
        (b"address,node\n4096,0,7\n", "line 2: 3 fields, and the header has 2"),
        (b"address,node\n4096,one\n", "line 2: the node is not a number: 'one'"),
        (b"address,node\n4096,\xd9\xa1\n", "line 2: the node is not a number"),
        (b"address,node\n4096,\n", "line 2: the record names neither a node nor a CPU"),
        (b"address,node\n4096,2\n", "line 2: this host has no node 2 with memory; it has 0-1"),
        (b"address,node,weight\n4096,0,nan\n", "line 2: a weight is a number from 0 to"),
        (b"address,node,weight\n4096,0,-1\n", "line 2: a weight is a number from 0 to"),
        (b"address,node,weight\n4096,0,much\n", "line 2: the weight is not a number"),
        (b"address,node,weight\n4096,0,0\n", "none of the log's 1 records is of use: 1 of no weight"),
        (b"address,node,pid\n4096,0,1\n4096,0,2\n", "none of the log's 2 records is of use: 2 of another process"),
        (b'[{"address": 4096, "node": 0}', "line 1: the log ends within its list"),
        (b'[{"address": 4096, "node": 0},', "line 1: the log ends within its list"),
        (b'[{"address": 4096, "node": 0}\n{"address"', "line 2: a comma is missing"),
        (b'[{"address": 4096, "node": 0}]\n\n{}', "line 3: text after the list's end"),
        (b'{"address": 4096, "node": 0}\n{"address": ', "line 2: not JSON"),
        (b'{"address": 4096, "node": 0}\n[' + b"[" * 30000, "line 2: not JSON"),
        (b"[1]", "line 1: not an object"),
        (b'{"node": 0}', "line 1: the object has no address"),
        (b'{"address": -1, "node": 0}', "line 1: the address is none"),
        (b'{"address": true, "node": 0}', "line 1: the address is none"),
        (b'{"address": 4096, "node": "0"}', "line 1: the node is not a number from 0 on"),
        (b'{"address": 4096, "node": 0, "weight": Infinity}', "line 1: a weight is a number from 0 to"),
        (b'{"address": 4096, "node": 0, "weight": 1' + 400 * b"0" + b"}", "line 1: a weight is a number from 0 to"),
        (b"address,node,weight\n4096,0,1e101\n", "line 2: a weight is a number from 0 to"),
        (b'{"address": 4096, "node": 0, "weight": "3"}', "line 1: the weight is not a number"),
        (b'{"address": 4096, "node": ' + b"9" * 5000 + b"}", "line 1: not JSON"),
        (b"work 4711 1.5: 1 mem: 7f00 33\n", "line 1: the sample does not say on which CPU it was taken"),
        (PERF + b"rubbish\n", "line 3: not a sample"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: bytes, words: str) -> None:
    """One line, in words, never a traceback of something else."""
    with pytest.raises(LogError) as caught:
        read(text)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_a_log_has_its_bounds() -> None:
    """Lines, bytes and pages beyond their limit are refused, however much would follow."""
    small = Limits(line_bytes=100, log_bytes=400, votes=3)
    many = b"address,node\n" + b"".join(b"%d,0\n" % (PAGE * page) for page in range(1, 50))
    for text, words in [
        (b"address,node\n" + b"1" * 101, "line 2: longer than 100 bytes"),
        (b"address,node\n" + b"#\n" * 400, "line 195: the log has more than 400 bytes"),
        (many, "line 5: the log speaks of more than 3 pages"),
        (b'{"address": 4096, "node": 0, "words": "' + b"a" * 300, "line 1: not JSON"),
    ]:
        with pytest.raises(LogError) as caught:
            read(text, limits=small)
        assert str(caught.value).startswith(words)


def test_json_on_one_line_is_longer_than_any_line_may_be() -> None:
    """The bounds are an object's: programs print a list of a million on one line."""
    objects = [{"address": PAGE * page, "node": page % 2} for page in range(1, 2000)]
    log = read(json.dumps(objects).encode(), limits=Limits(line_bytes=100))
    assert log.records == 1999


@given(st.sampled_from([CSV, JSON, JSON_LINES, PERF, WITH_CHAINS, MEM_LOADS, IBS]), st.data())
def test_cut_and_spoiled_logs_are_read_or_refused(text: bytes, data: st.DataObject) -> None:
    """A log that was cut, or has bytes changed or added, gives a log or a LogError, and nothing else."""
    end = data.draw(st.integers(0, len(text)))
    spoiled = text[:end] + data.draw(st.binary(max_size=20)) + data.draw(st.sampled_from([b"", text[end:]]))
    try:
        log = read(spoiled)
    except LogError:
        return
    assert log.votes
    assert all(weight > 0 for weight in log.votes.values())


@given(st.text(max_size=200))
def test_any_text_is_refused_in_words(text: str) -> None:
    """Rubbish of every kind."""
    try:
        log = read(text.encode())
    except LogError:
        return
    assert log.records
