"""System call numbers by architecture.

The calls that move and place memory have no libc wrappers, and their numbers differ by architecture. A wrong number
is not an error but another system call, so the table is explicit, an unknown machine is refused at start, and a
32-bit interpreter on a 64-bit kernel (which `uname` does not show) is refused too: its calls take other structures.

Numbers are from the kernel's own tables: arch/x86/entry/syscalls/syscall_64.tbl, scripts/syscall.tbl (asm-generic:
aarch64 and riscv64), arch/powerpc/kernel/syscalls/syscall.tbl, arch/s390/kernel/syscalls/syscall.tbl. Calls from 424
on have one number everywhere.
"""

import functools
import os
import struct
from typing import NamedTuple


class UnsupportedArchitecture(RuntimeError):  # noqa: N818 - says what happened
    """This machine's system call numbers are not known; nothing that moves memory can run on it."""

    def __init__(self, machine: str, pointer_bytes: int) -> None:
        known = ", ".join(sorted(NUMBERS))
        super().__init__(
            f"no system call numbers for {8 * pointer_bytes}-bit Python on {machine!r}; known, 64-bit only: {known}"
        )
        self.machine = machine


class SyscallNumbers(NamedTuple):
    """The number of each system call that this package makes by number."""

    migrate_pages: int
    move_pages: int
    mbind: int
    set_mempolicy: int
    get_mempolicy: int
    fanotify_init: int
    fanotify_mark: int
    process_vm_readv: int
    userfaultfd: int
    pidfd_open: int = 434
    set_mempolicy_home_node: int = 450


_GENERIC = SyscallNumbers(
    migrate_pages=238,
    move_pages=239,
    mbind=235,
    set_mempolicy=237,
    get_mempolicy=236,
    fanotify_init=262,
    fanotify_mark=263,
    process_vm_readv=270,
    userfaultfd=282,
)

# By the machine name that uname gives.
NUMBERS = {
    "x86_64": SyscallNumbers(
        migrate_pages=256,
        move_pages=279,
        mbind=237,
        set_mempolicy=238,
        get_mempolicy=239,
        fanotify_init=300,
        fanotify_mark=301,
        process_vm_readv=310,
        userfaultfd=323,
    ),
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
    "ppc64le": SyscallNumbers(
        migrate_pages=258,
        move_pages=301,
        mbind=259,
        set_mempolicy=261,
        get_mempolicy=260,
        fanotify_init=323,
        fanotify_mark=324,
        process_vm_readv=351,
        userfaultfd=364,
    ),
    "s390x": SyscallNumbers(
        migrate_pages=287,
        move_pages=310,
        mbind=268,
        set_mempolicy=270,
        get_mempolicy=269,
        fanotify_init=332,
        fanotify_mark=333,
        process_vm_readv=340,
        userfaultfd=355,
    ),
}


def numbers_of(machine: str, pointer_bytes: int = 8) -> SyscallNumbers:
    """Return the numbers for a machine name as uname gives it and a pointer size.

    Raises:
        UnsupportedArchitecture: the machine is not in the table, or the interpreter is not a 64-bit one.
    """
    if pointer_bytes != 8 or machine not in NUMBERS:  # noqa: PLR2004 - the bytes of a 64-bit pointer
        raise UnsupportedArchitecture(machine, pointer_bytes)
    return NUMBERS[machine]


@functools.cache
def native_numbers() -> SyscallNumbers:
    """Return the numbers for the machine and interpreter that run this.

    Raises:
        UnsupportedArchitecture: see `numbers_of`.
    """
    return numbers_of(os.uname().machine, struct.calcsize("P"))
