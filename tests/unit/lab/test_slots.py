"""The lab's slots: as many guests at once as the machine has cores, and never a deadlock."""

import os
from pathlib import Path

import pytest

from tests.lab import slots


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(slots, "SLOTS_LEAST", 3)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def test_a_slot_is_free_again_once_its_last_copy_is_closed() -> None:
    """A slot lives as long as any process holds it."""
    taken = [slots.take(wait_s=0) for _ in range(3)]
    copy = os.dup(taken[0])
    os.close(taken[0])
    assert _is_spare(slots.take(wait_s=0))
    os.close(copy)
    assert not _is_spare(slots.take(wait_s=0))


def test_who_waited_long_enough_goes_ahead() -> None:
    """Slots are polite: when all are taken for too long, one more guest is booted."""
    assert not any(_is_spare(slots.take(wait_s=0)) for _ in range(3))
    assert _is_spare(slots.take(wait_s=0))


def _is_spare(slot: int) -> bool:
    """Whether the descriptor holds no slot."""
    return Path(f"/proc/self/fd/{slot}").readlink() == Path(os.devnull)
