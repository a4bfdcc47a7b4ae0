"""Archives are what the kernel, and every cpio program, reads."""

from tests.lab.cpio import archive, device, file, folder, link


def test_an_archive_is_newc_with_aligned_records() -> None:
    """Header, name and content are padded to four bytes each, and the trailer ends it."""
    data = archive([folder("d"), file("d/f", b"12345", executable=True), link("l", "d/f"), device("c", 5, 1)])
    assert len(data) % 4 == 0
    records = parse(data)
    assert [(name, mode, content) for name, mode, content, _ in records] == [
        ("d", 0o40755, b""),
        ("d/f", 0o100755, b"12345"),
        ("l", 0o120777, b"d/f"),
        ("c", 0o20600, b""),
        ("TRAILER!!!", 0, b""),
    ]
    assert records[3][3] == (5, 1)


def parse(data: bytes) -> list[tuple[str, int, bytes, tuple[int, int]]]:
    """Read a newc archive by its definition: thirteen fields of eight hex digits after the magic number."""
    records = []
    at = 0
    while at < len(data):
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name_end = at + 110 + fields[11]
        start = name_end + -name_end % 4
        end = start + fields[6]
        name = data[at + 110 : name_end - 1].decode()
        records.append((name, fields[1], data[start:end], (fields[9], fields[10])))
        at = end + -end % 4
    return records
