"""Kernel modules load after all that they depend on, as the modules themselves say."""

import lzma

import pytest

from tests.lab.modules import ModuleError, decompressed, dependencies, load_order, module_name

TREE = {"9p": ["9pnet", "netfs"], "9pnet": [], "netfs": [], "9pnet_virtio": ["9pnet", "virtio"], "overlay": []}


def order(wanted: list[str], builtin: frozenset[str] = frozenset({"virtio"})) -> list[str]:
    """Load order within TREE, where a module's path is its name."""
    return load_order(wanted, {name: name for name in TREE}, builtin, TREE.__getitem__)


def test_dependencies_come_first_and_once() -> None:
    """Each module once, each after its dependencies; what is built in is not loaded."""
    assert order(["9p", "9pnet_virtio", "9p"]) == ["9pnet", "netfs", "9p", "9pnet_virtio"]


def test_a_wanted_module_may_be_built_in() -> None:
    """Newer kernels build in what older ones load."""
    assert order(["virtio", "overlay"]) == ["overlay"]


def test_a_module_that_does_not_exist_is_named() -> None:
    """A kernel without it is an error here, not a guest that hangs."""
    with pytest.raises(ModuleError, match="no module virtio"):
        order(["9pnet_virtio"], frozenset())


@pytest.mark.parametrize(
    ("path", "name"),
    [("kernel/fs/9p/9p.ko.xz", "9p"), ("kernel/drivers/char/virtio-rng.ko", "virtio_rng"), ("a_b.ko", "a_b")],
)
def test_names_are_compared_as_the_kernel_does(path: str, name: str) -> None:
    """A dash in a file's name is an underscore in the kernel."""
    assert module_name(path) == name


def test_dependencies_are_read_from_the_module() -> None:
    """The `depends=` field of .modinfo, which is there even if it is empty."""
    assert dependencies(b"\x7fELF..\0license=GPL\0depends=9pnet,virtio-ring\0retpoline=Y\0") == ["9pnet", "virtio_ring"]
    assert dependencies(b"\x7fELF..\0depends=\0") == []
    with pytest.raises(ModuleError, match="no depends="):
        dependencies(b"\x7fELF..\0softdepends=x\0")


def test_a_module_is_unpacked() -> None:
    """Compressed or not, what insmod gets is ELF; anything else is refused."""
    assert decompressed(lzma.compress(b"\x7fELF1")) == decompressed(b"\x7fELF1") == b"\x7fELF1"
    with pytest.raises(ModuleError, match="neither an ELF file nor"):
        decompressed(b"(\xb5/\xfd")
