"""A process's memory on the kernel that runs the tests: it stays the owner's, or it is closed to whoever asked."""

import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from node_agent.core.facts import ProcessRef
from node_agent.linux.pages import QueryReader
from node_agent.linux.process_memory import LinuxProcessMemory
from numaplace.kernel import procfs
from numaplace.kernel.errors import ProcessGone

ME = os.getpid()
REF = ProcessRef(ME, procfs.read_identity(ME).start_ticks)
READER = QueryReader(0)


def test_memory_of_another_user_than_was_named_is_not_opened() -> None:
    """Since it was asked whose it is a set-user-id program may have come. No descriptor is left over."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ProcessGone):
        LinuxProcessMemory(REF, READER, os.geteuid() + 1)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    for owner in (os.geteuid(), None):
        with closing(LinuxProcessMemory(REF, READER, owner)) as memory:
            assert memory.regions()


def test_a_process_that_gets_other_rights_is_gone_for_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its mappings are told nor its pages moved any more; for whoever named no owner it is as before."""
    address = np.array([id(REF) & ~0xFFF], np.uint64)
    with (
        closing(LinuxProcessMemory(REF, READER, os.geteuid())) as mine,
        closing(LinuxProcessMemory(REF, READER)) as any_,
    ):
        monkeypatch.setattr(procfs, "read_owner", lambda _: os.geteuid() + 1)
        for call in (
            mine.regions,
            lambda: mine.query(address),
            lambda: mine.move(address, np.zeros(1, np.int32), np.zeros(1, np.int32), move_all=False),
        ):
            with pytest.raises(ProcessGone):
                call()
        assert any_.regions()
