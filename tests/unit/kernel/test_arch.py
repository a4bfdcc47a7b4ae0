"""System call numbers: a wrong one is another call, so each architecture is compared with an independent list."""

import platform

import pytest

from numaplace.kernel import arch

# Copied line by line from the kernel's tables, in another form than the module's.
TABLES = {
    "x86_64": "256 migrate_pages, 279 move_pages, 237 mbind, 238 set_mempolicy, 239 get_mempolicy,"
    " 300 fanotify_init, 301 fanotify_mark, 310 process_vm_readv, 323 userfaultfd,"
    " 434 pidfd_open, 450 set_mempolicy_home_node",
    "aarch64": "238 migrate_pages, 239 move_pages, 235 mbind, 237 set_mempolicy, 236 get_mempolicy,"
    " 262 fanotify_init, 263 fanotify_mark, 270 process_vm_readv, 282 userfaultfd,"
    " 434 pidfd_open, 450 set_mempolicy_home_node",
    "riscv64": "238 migrate_pages, 239 move_pages, 235 mbind, 237 set_mempolicy, 236 get_mempolicy,"
    " 262 fanotify_init, 263 fanotify_mark, 270 process_vm_readv, 282 userfaultfd,"
    " 434 pidfd_open, 450 set_mempolicy_home_node",
    "ppc64le": "258 migrate_pages, 301 move_pages, 259 mbind, 261 set_mempolicy, 260 get_mempolicy,"
    " 323 fanotify_init, 324 fanotify_mark, 351 process_vm_readv, 364 userfaultfd,"
    " 434 pidfd_open, 450 set_mempolicy_home_node",
    "s390x": "287 migrate_pages, 310 move_pages, 268 mbind, 270 set_mempolicy, 269 get_mempolicy,"
    " 332 fanotify_init, 333 fanotify_mark, 340 process_vm_readv, 355 userfaultfd,"
    " 434 pidfd_open, 450 set_mempolicy_home_node",
}


@pytest.mark.parametrize("machine", sorted(TABLES))
def test_numbers_are_those_of_the_kernels_table(machine: str) -> None:
    """Every call has on every architecture the number of the kernel's own table."""
    numbers = arch.numbers_of(machine)
    for row in TABLES[machine].split(","):
        number, name = row.split()
        assert getattr(numbers, name) == int(number), name


def test_every_known_architecture_is_in_this_test() -> None:
    """An architecture cannot be added without its numbers being checked here."""
    assert set(arch.NUMBERS) == set(TABLES)


@pytest.mark.parametrize("machine", ["i686", "ppc64", "mips64", "x86_64 ", ""])
def test_unknown_machine_is_refused_by_name(machine: str) -> None:
    """An unknown machine is refused with its name and the known ones, never given another's numbers."""
    with pytest.raises(arch.UnsupportedArchitecture, match="x86_64") as caught:
        arch.numbers_of(machine)
    assert caught.value.machine == machine


def test_32_bit_interpreter_on_a_64_bit_kernel_is_refused() -> None:
    """`uname` says x86_64 to a 32-bit Python too, whose calls have other numbers and structures."""
    with pytest.raises(arch.UnsupportedArchitecture, match="32-bit"):
        arch.numbers_of("x86_64", pointer_bytes=4)


def test_native_numbers_are_those_of_this_machine() -> None:
    """The machine that runs the tests is found by itself."""
    assert arch.native_numbers() is arch.NUMBERS[platform.machine()]
