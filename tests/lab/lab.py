"""Boot a guest by its description's name.

A guest whose boot ends in an oops of the emulation alone is named in the log and booted again, a bounded number of
times.
"""

import logging
import os
import time
from dataclasses import replace
from pathlib import Path

from tests.lab.channel import CallTimeoutError, Channel, ChannelLostError
from tests.lab.console import tail
from tests.lab.description import Description, DescriptionError, parse
from tests.lab.guest import EmulationOopsError, Guest, GuestDiedError
from tests.lab.machine import MachineError, start
from tests.lab.qemu import ACCELERATORS, Options

GUESTS = Path(__file__).with_name("guests")
BOOT_ATTEMPTS = 3
BOOT_TIMEOUT_S = 120.0
"""For a host that many guests share; alone on two cores a guest is up in under 15 s."""

_log = logging.getLogger(__name__)


def names() -> list[str]:
    """All descriptions' names."""
    return sorted(file.stem for file in GUESTS.glob("*.toml"))


def describe(name: str) -> Description:
    """The description `name`; DescriptionError if there is none or it is not valid."""
    file = GUESTS / f"{name}.toml"
    if not file.is_file():
        raise DescriptionError(f"no guest is named {name!r}; there are: {', '.join(names())}")
    return parse(name, file.read_text())


def accelerator() -> str:
    """TCG unless the environment says NUMAPLACE_LAB_ACCEL=kvm; MachineError if it says anything else."""
    name = os.environ.get("NUMAPLACE_LAB_ACCEL", "tcg")
    if name not in ACCELERATORS:
        raise MachineError(f"NUMAPLACE_LAB_ACCEL={name}: must be one of {', '.join(ACCELERATORS)}")
    return name


def boot(guest: str | Description, options: Options | None = None, *, timeout_s: float = BOOT_TIMEOUT_S) -> Guest:
    """Boot a guest and wait until it takes commands.

    Args:
        guest: A description, or the name of one in `guests/`.
        options: Forwarded ports and disks.
        timeout_s: Seconds until a boot counts as failed.

    Raises:
        DescriptionError: The name is unknown or its file is not valid.
        MachineError: QEMU is missing or refuses.
        GuestDiedError: The guest's kernel or init failed, or it took too long.
        EmulationOopsError: The emulation alone failed it BOOT_ATTEMPTS times.
    """
    description = describe(guest) if isinstance(guest, str) else guest
    for attempt in range(1, BOOT_ATTEMPTS + 1):
        try:
            return _boot(description, replace(options or Options(), accelerator=accelerator()), timeout_s)
        except EmulationOopsError as oops:
            if attempt == BOOT_ATTEMPTS:
                raise
            _log.warning("%s; booting it again (%d of %d)", oops, attempt + 1, BOOT_ATTEMPTS)
    raise AssertionError("every attempt returns or raises")


def _boot(description: Description, options: Options, timeout_s: float) -> Guest:
    started = time.monotonic()
    machine, stream = start(description, options)
    channel = Channel(stream)
    guest = Guest(description, machine, channel, 0.0)
    try:
        channel.wait_hello(started + timeout_s)
    except ChannelLostError:
        death = guest.death()
        guest.close()
        raise death from None
    except CallTimeoutError:
        console = tail(guest.console())
        guest.close()
        raise GuestDiedError(f"guest {description.name} was not up after {timeout_s} s\n{console}") from None
    except BaseException:
        guest.close()
        raise
    guest.boot_s = time.monotonic() - started
    return guest
