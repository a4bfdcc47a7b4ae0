"""Each function makes its own system call on every architecture: by the number of that machine's table."""

import mmap

import pytest

from numaplace import mempolicy
from numaplace.kernel import arch, syscalls
from numaplace.mempolicy import PolicyMode


class Recording:
    """A C library that notes the numbers of the calls and lets all succeed."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def syscall(self, number: object, *_: object) -> int:
        """The function that makes system calls by number."""
        value = getattr(number, "value", None)
        assert isinstance(value, int)
        self.made.append(value)
        return 0


@pytest.mark.parametrize("machine", sorted(arch.NUMBERS))
def test_each_function_makes_its_call(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong number would be another call, and would succeed."""
    area = mmap.mmap(-1, mmap.PAGESIZE)
    libc, numbers = Recording(), arch.numbers_of(machine)
    monkeypatch.setattr(syscalls, "native_numbers", lambda: numbers)
    monkeypatch.setattr(syscalls, "_libc", lambda: libc)
    for call, wanted in (
        (lambda: mempolicy.set_mempolicy(PolicyMode.LOCAL), [numbers.set_mempolicy]),
        (mempolicy.get_mempolicy, [numbers.get_mempolicy]),
        (lambda: mempolicy.mbind(area, PolicyMode.BIND, {0}), [numbers.mbind]),
        (lambda: mempolicy.set_mempolicy_home_node(area, 0), [numbers.set_mempolicy_home_node]),
        (lambda: mempolicy.where(area), [numbers.move_pages]),
        (lambda: mempolicy.migrate_pages(0, {0}, {1}), [numbers.migrate_pages]),
    ):
        libc.made.clear()
        call()
        assert libc.made == wanted
