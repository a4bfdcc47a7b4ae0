"""How many guests this machine runs at once, whoever boots them: each guest holds one of a few slots while it lives.

An emulated guest keeps several cores busy; more guests than cores make all of them slow enough to time out. A slot is
a locked file in the cache folder: the lock belongs to the guest's supervisor, so the kernel frees it whatever happens.
Slots are polite, not strict: who has waited long enough goes ahead, so that a program that needs several guests, or a
forgotten one, never blocks others for good.
"""

import fcntl
import logging
import os
import time

from tests.lab.packages import cache_folder

WAIT_S_MAX = 60.0
SLOTS_LEAST = 4
_ASK_EVERY_S = 0.25

_log = logging.getLogger(__name__)


def take(wait_s: float = WAIT_S_MAX) -> int:
    """A descriptor that holds a slot, or none after `wait_s`; closing its last copy frees the slot."""
    folder = cache_folder() / "slots"
    folder.mkdir(parents=True, exist_ok=True)
    files = [str(folder / str(number)) for number in range(max(SLOTS_LEAST, os.cpu_count() or 1))]
    deadline = time.monotonic() + wait_s
    while True:
        for file in files:
            slot = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(slot)
            else:
                return slot
        if time.monotonic() >= deadline:
            _log.warning("all %d slots for guests are taken for %.0f s; booting one more", len(files), wait_s)
            return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        time.sleep(_ASK_EVERY_S)
