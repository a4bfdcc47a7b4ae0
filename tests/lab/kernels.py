"""Kernels and tools for guests, prepared once in the user's cache from Debian's own packages.

A prepared kernel is a folder named by its release: the image that QEMU starts, the modules a guest might load, and
the part of the initramfs that all its guests share. A small file per kernel ("6.12") names the release in use, so
preparing a newer one never pulls the folder from under a running guest.

An xz-compressed image is unpacked on the host, because unpacking it inside costs seconds under emulation; QEMU starts
the bare kernel by its PVH entry.
"""

import hashlib
import json
import lzma
import os
import re
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.lab import cpio
from tests.lab.modules import WANTED, decompressed, dependencies, load_order, module_name
from tests.lab.packages import Package, PackageError, Suite, cache_folder, cache_lock, open_suite, placed

SUITES = {"6.1": ("bookworm",), "6.12": ("bookworm-backports", "trixie"), "sid": ("sid",)}
"""Which suites may hold each kernel, the first that does is taken."""
TOOLS = ("busybox-static", "numactl", "libnuma1", "numad", "mandoc")
"""What init runs on, and programs for guests: rivals in the bench and helpers in tests."""
TOOLS_SUITE = "bookworm"

_PART = re.compile(r"linux-(image|base|binary|modules)-\d\S*")
_KEPT_DRIVERS = ("virtio", "block", "char", "net")
_INIT = Path(__file__).with_name("init.sh")
_BOOT = Path(__file__).with_name("boot.sh")
# Fields of the x86 boot protocol, https://docs.kernel.org/arch/x86/boot.html
_SETUP_SECTORS_AT = 0x1F1
_PAYLOAD_AT = 0x248
_SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class Kernel:
    """A prepared kernel."""

    name: str
    release: str
    folder: Path

    @property
    def image(self) -> Path:
        """What QEMU's `-kernel` takes."""
        return self.folder / "image"


def prepared(name: str) -> Kernel | None:
    """The kernel `name` if it lies ready in the cache."""
    pointer = _pointer(name)
    if not pointer.exists():
        return None
    release = json.loads(pointer.read_text())["release"]
    kernel = Kernel(name, release, cache_folder() / "kernels" / release)
    return kernel if kernel.folder.is_dir() else None


def prepare(name: str, *, fresh: bool = False) -> Kernel:
    """The kernel `name`, fetched if it is not in the cache, or if `fresh` and the mirror has a newer one."""
    ready = prepared(name)
    if ready is not None and not fresh:
        return ready
    with cache_lock():
        ready = prepared(name)
        if ready is not None and not fresh:
            return ready
        return _fetch(name, fresh=fresh)


def prepare_tools() -> Path:
    """A folder whose `bin`, `usr/bin` and `usr/lib` hold TOOLS."""
    key = hashlib.sha256(repr((TOOLS_SUITE, TOOLS)).encode()).hexdigest()[:8]
    folder = cache_folder() / f"tools-{key}"
    if not folder.is_dir():
        with cache_lock():
            if not folder.is_dir():
                with placed(folder) as scratch:
                    open_suite(TOOLS_SUITE).unpack(list(TOOLS), scratch)
    return folder


def initramfs(kernel: Kernel, extra_modules: tuple[str, ...]) -> bytes:
    """The part that all guests with this kernel and these modules share; made once, then read."""
    key = hashlib.sha256(repr((WANTED, extra_modules, _INIT.read_bytes(), _BOOT.read_bytes())).encode()).hexdigest()[
        :16
    ]
    file = kernel.folder / f"initramfs-{key}"
    if not file.exists():
        scratch = file.with_suffix(f".{os.getpid()}")
        scratch.write_bytes(_initramfs(kernel, extra_modules))
        scratch.rename(file)
    return file.read_bytes()


def unpacked_image(image: bytes) -> bytes:
    """The bare kernel of a bzImage compressed with xz; any other image as it is, its unpacking in the guest is fast."""
    setup_sectors = image[_SETUP_SECTORS_AT] or 4
    offset, length = struct.unpack_from("<II", image, _PAYLOAD_AT)
    start = (setup_sectors + 1) * _SECTOR_BYTES + offset
    payload = image[start : start + length]
    if not payload.startswith(b"\xfd7zXZ"):
        return image
    # The unpacked size follows the stream, so what is left over is no error.
    return lzma.LZMADecompressor().decompress(payload)


def _pointer(name: str) -> Path:
    return cache_folder() / "kernels" / f"{name}.json"


def _fetch(name: str, *, fresh: bool) -> Kernel:
    suite, parts = _find(name, fresh=fresh)
    release = parts[0].split("-", 2)[2]
    kernel = Kernel(name, release, cache_folder() / "kernels" / release)
    if not kernel.folder.is_dir():
        with placed(kernel.folder) as scratch, TemporaryDirectory(dir=cache_folder()) as unpacked:
            suite.unpack(parts, Path(unpacked))
            _keep(Path(unpacked), release, scratch)
    pointer = _pointer(name)
    scratch_pointer = pointer.with_suffix(".new")
    scratch_pointer.write_text(json.dumps({"release": release, "suite": suite.name}) + "\n")
    scratch_pointer.rename(pointer)
    return kernel


def _find(name: str, *, fresh: bool) -> tuple[Suite, list[str]]:
    """The suite that holds kernel `name`, and the packages that it consists of, the image first."""
    seen = []
    for suite_name in SUITES[name]:
        try:
            suite = open_suite(suite_name, fresh=fresh)
            meta = suite.show("linux-image-amd64")
        except PackageError as error:
            seen.append(f"{suite_name}: {error}")
            continue
        if name == "sid" or meta.version.startswith(f"{name}."):
            return suite, _parts(suite, meta)
        seen.append(f"{suite_name}: linux-image-amd64 is {meta.version}")
    raise PackageError(f"no suite has a kernel {name}: {'; '.join(seen)}")


def _parts(suite: Suite, meta: Package) -> list[str]:
    """Newer kernels come as an image that only depends on a binary and its modules."""
    images = [name for name in meta.depends if _PART.fullmatch(name)]
    if not images:
        raise PackageError(f"{meta.name} {meta.version} depends on no linux-image")
    more = [name for name in suite.show(images[0]).depends if _PART.fullmatch(name)]
    return [images[0], *more]


def _keep(tree: Path, release: str, target: Path) -> None:
    """Move what guests may need from an unpacked package to `target`."""
    # Newer packages keep everything below /usr/lib/modules.
    modules = _first(tree / "lib/modules" / release, tree / "usr/lib/modules" / release)
    image = _first(tree / "boot" / f"vmlinuz-{release}", modules / "vmlinuz").read_bytes()
    (target / "image").write_bytes(unpacked_image(image))
    _first(tree / "boot" / f"config-{release}", modules / "config").rename(target / "config")
    drivers = modules / "kernel" / "drivers"
    for unneeded in [path for path in drivers.iterdir() if path.name not in _KEPT_DRIVERS]:
        shutil.rmtree(unneeded)
    for unneeded in [path for path in (drivers / "net").iterdir() if path.is_dir()]:
        shutil.rmtree(unneeded)
    shutil.rmtree(modules / "kernel" / "sound", ignore_errors=True)
    modules.rename(target / "modules")


def _first(*paths: Path) -> Path:
    """The first of `paths` that exists."""
    for path in paths:
        if path.exists():
            return path
    raise PackageError(f"the package lacks {' and '.join(str(path) for path in paths)}: its layout is new to the lab")


def _initramfs(kernel: Kernel, extra_modules: tuple[str, ...]) -> bytes:
    busybox = (prepare_tools() / "bin" / "busybox").read_bytes()
    loaded = _modules(kernel, extra_modules)
    applets = (
        "sh",
        "mount",
        "insmod",
        "mkdir",
        "rmdir",
        "cat",
        "cp",
        "ln",
        "ip",
        "hostname",
        "sleep",
        "poweroff",
        "switch_root",
    )
    folders = ("bin", "dev", "proc", "sys", "rw", "host", "new", "all", "modules")
    return cpio.archive(
        [
            *(cpio.folder(name) for name in folders),
            cpio.device("dev/console", 5, 1),
            cpio.device("dev/kmsg", 1, 11),
            cpio.file("bin/busybox", busybox, executable=True),
            *(cpio.link(f"bin/{applet}", "busybox") for applet in applets),
            cpio.file("init", _INIT.read_bytes(), executable=True),
            cpio.file("boot.sh", _BOOT.read_bytes()),
            cpio.file("modules/order", "".join(f"{name}\n" for name, _ in loaded).encode()),
            *(cpio.file(f"modules/{name}", content) for name, content in loaded),
        ]
    )


def _modules(kernel: Kernel, extra: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """File names and contents of what a guest loads, in that order."""
    root = kernel.folder / "modules"
    paths = {module_name(path.name): str(path) for path in root.rglob("*.ko*")}
    builtin = frozenset(module_name(line) for line in (root / "modules.builtin").read_text().splitlines())
    order = load_order([*WANTED, *extra], paths, builtin, lambda path: dependencies(_content(path)))
    return [(f"{module_name(path)}.ko", _content(path)) for path in order]


def _content(path: str) -> bytes:
    return decompressed(Path(path).read_bytes())
