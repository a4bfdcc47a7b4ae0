"""Which kernel modules a guest needs, and in what order they load.

Debian's packages hold no `modules.dep` (it is made at installation), so the dependencies are read from the modules
themselves: each names them in its `.modinfo` section as `depends=a,b`. A module that is built into the kernel needs no
loading. Names are compared as the kernel does, with `-` and `_` alike.
"""

import lzma
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath

WANTED = ("virtio_pci", "virtio_console", "virtio_net", "9p", "9pnet_virtio", "overlay")
"""What every guest needs, before it has a root file system."""

_DEPENDS = re.compile(rb"(?:^|\0)depends=([^\0]*)\0")


class ModuleError(Exception):
    """A kernel lacks a module, or its file is not one."""


def module_name(path: str) -> str:
    """`kernel/fs/9p/9p.ko.xz` → `9p`, with `-` as `_`."""
    return PurePosixPath(path).name.split(".ko")[0].replace("-", "_")


def decompressed(data: bytes) -> bytes:
    """A module as `insmod` of any busybox takes it."""
    if data.startswith(b"\xfd7zXZ"):
        return lzma.decompress(data)
    if not data.startswith(b"\x7fELF"):
        raise ModuleError("a module is neither an ELF file nor compressed with xz")
    return data


def dependencies(module: bytes) -> list[str]:
    """The names that a decompressed module's `.modinfo` lists."""
    found = _DEPENDS.search(module)
    if found is None:
        raise ModuleError("a module has no depends= in its .modinfo")
    return [name.replace("-", "_") for name in found[1].decode().split(",") if name]


def load_order(
    wanted: Iterable[str],
    paths: Mapping[str, str],
    builtin: frozenset[str],
    dependencies_of: Callable[[str], list[str]],
) -> list[str]:
    """Paths of all modules that `wanted` needs, each after those it depends on.

    Args:
        wanted: Module names.
        paths: Path of each loadable module, by name.
        builtin: Names of what is built into the kernel.
        dependencies_of: Reads a module's dependencies, by its path.

    Raises:
        ModuleError: A name is neither loadable nor built in.
    """
    order: list[str] = []
    seen: set[str] = set()

    def visit(name: str) -> None:
        if name in seen or name in builtin:
            return
        seen.add(name)
        if name not in paths:
            raise ModuleError(f"this kernel has no module {name}")
        for dependency in dependencies_of(paths[name]):
            visit(dependency)
        order.append(paths[name])

    for name in wanted:
        visit(name)
    return order
