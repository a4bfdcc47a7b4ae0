"""Reading and writing kernel files: whole, without buffering layers, with errno translated.

Kernel text is generated at the read, so a file must be read to its end from one descriptor. Files of a process need
care of their own: the process may vanish between the listing, the open and the read (ENOENT, ESRCH), while ENOENT may
also say that this kernel has no such file. `read_process` tells the two apart by asking for the process's `stat`.

Raw descriptors instead of `open()`: the sweep over processes reads thousands of these files a second.
"""

import errno
import os
import re
from pathlib import Path

from numaplace.kernel.errors import (
    KernelCallError,
    KernelFormatError,
    ProcessGone,
    Unsupported,
    translate,
    translate_file,
)
from numaplace.model.cpuset import parse_cpus, parse_nodes
from numaplace.model.ids import Cpus, Nodes

HOST = Path("/")
"""The root of the running host; tests give the root of a captured one."""

_CHUNK_BYTES = 16_384
_DIGITS_MAX = 20  # of a 64-bit number
_ESCAPE = re.compile(r"\\([0-7]{3})")
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR})


def read_bytes(path: str | Path, part_bytes: int = _CHUNK_BYTES) -> bytes:
    """Return all of a kernel file.

    Args:
        path: the file.
        part_bytes: how much to ask for at once, where the kernel holds a lock for as long as one read takes.

    Raises:
        OSError: as the kernel gave it; callers that know what the file is about translate it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunk = os.read(descriptor, part_bytes)
        chunks = [chunk]
        while chunk:
            # Most files end in their first read, but only an empty read says so: seq_file returns short ones.
            chunk = os.read(descriptor, part_bytes)
            chunks.append(chunk)
    finally:
        os.close(descriptor)
    return b"".join(chunks)


def decode(data: bytes) -> str:
    """Decode kernel text. Names in it are bytes of any kind; they survive a round trip through `os.fsencode`."""
    return data.decode("utf-8", "surrogateescape")


def read_text(path: Path) -> str:
    """Return all of a file of sysfs, cgroupfs or the like.

    Raises:
        NoSuchFile: there is no such file, on this kernel or any more.
        Unsupported: the feature behind it is off.
        KernelCallError: any other refusal.
    """
    try:
        return decode(read_bytes(path))
    except OSError as error:
        raise translate_file(f"reading {path}", error) from error


def write_text(path: Path, text: str) -> None:
    """Write a kernel file in one `write(2)`, as the kernel parses each write on its own.

    Raises:
        NoSuchFile: there is no such file, on this kernel or any more.
        KernelCallError: the kernel refused the words (EINVAL, EBUSY, ENOSPC) or the writer (`Denied`).
    """
    try:
        # O_TRUNC means nothing to the kernel's files, and keeps a captured host's from mixing old text with new.
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(descriptor, os.fsencode(text))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise translate_file(f"writing {text!r} to {path}", error) from error


def read_process(root: Path, pid: int, name: str, part_bytes: int = _CHUNK_BYTES) -> bytes:
    """Return all of `/proc/PID/NAME`; NAME may lie deeper, as `task/TID/stat` does. `part_bytes` as in `read_bytes`.

    Raises:
        ProcessGone: the process (or thread) vanished, even in mid-read.
        Unsupported: the process is there, but this kernel has no such file.
        Denied: no ptrace access.
    """
    try:
        return read_bytes(f"{root}/proc/{pid}/{name}", part_bytes)
    except OSError as error:
        raise process_error(root, pid, name, error) from error


def process_error(root: Path, pid: int, name: str, error: OSError) -> KernelCallError:
    """Translate a refusal of `/proc/PID/NAME`, telling a vanished process from a missing feature."""
    call = f"reading {name}"
    if error.errno not in _MISSING:
        return translate(call, error.errno or errno.EIO, pid)
    thread = name.rpartition("/")[0]
    if os.path.exists(f"{root}/proc/{pid}/{thread}/stat"):  # noqa: PTH110 - no Path objects in the sweep
        return Unsupported(call, errno.ENOSYS, pid)
    return ProcessGone(call, errno.ESRCH, pid)


def read_process_text(root: Path, pid: int, name: str, part_bytes: int = _CHUNK_BYTES) -> str:
    """Return all of `/proc/PID/NAME` as text; arguments and errors as with `read_process`."""
    return decode(read_process(root, pid, name, part_bytes))


def read_int(path: Path) -> int:
    """Return the one decimal number in a file; raises as `read_text`, and KernelFormatError."""
    return parse_int(read_text(path).strip(), str(path))


def read_nodes(path: Path) -> Nodes:
    """Return the node list in a file; raises as `read_text`, and KernelFormatError."""
    return nodes_in(read_text(path), str(path))


def read_cpus(path: Path) -> Cpus:
    """Return the CPU list in a file; raises as `read_text`, and KernelFormatError."""
    return cpus_in(read_text(path), str(path))


def nodes_in(text: str, source: str) -> Nodes:
    """Parse a kernel list as nodes; raises KernelFormatError that names the source."""
    try:
        return parse_nodes(text)
    except ValueError as error:
        raise KernelFormatError(source, text) from error


def cpus_in(text: str, source: str) -> Cpus:
    """Parse a kernel list as CPUs; raises KernelFormatError that names the source."""
    try:
        return parse_cpus(text)
    except ValueError as error:
        raise KernelFormatError(source, text) from error


def parse_int(text: str, source: str, base: int = 10) -> int:
    """Parse a number of plain ASCII digits, with a sign at most: `int()` takes underscores, blanks and `0x` too.

    Raises:
        KernelFormatError: it is anything else.
    """
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isalnum()) or len(digits) > _DIGITS_MAX or digits[:2] in {"0x", "0X"}:
        raise KernelFormatError(source, text)
    try:
        return int(text, base)
    except ValueError as error:
        raise KernelFormatError(source, text) from error


def unescape(text: str) -> str:
    r"""Undo the kernel's octal escapes (`\040`), which `seq_path` puts for bytes that would break a field."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text) if "\\" in text else text
