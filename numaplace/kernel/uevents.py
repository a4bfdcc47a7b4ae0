"""uevents: what the kernel tells of devices, among them CPUs and memory blocks that go offline and come back.

A netlink socket that anybody may open in the host's network namespace; in another one it stays silent. Each message is
``ACTION@DEVPATH`` and then ``KEY=VALUE`` fields, all ended by NUL (lib/kobject_uevent.c). Messages of udev's own, which
come over the same protocol in another group, are not asked for.
"""

import errno
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from numaplace.kernel.errors import KernelFormatError, translate
from numaplace.kernel.files import decode

_PROTOCOL = 15  # NETLINK_KOBJECT_UEVENT
_KERNEL_GROUP = 1
_MESSAGE_BYTES = 8192  # UEVENT_BUFFER_SIZE is 2048
_MESSAGES_MAX = 256


@dataclass(frozen=True, slots=True)
class Uevent:
    """One message: what happened (``online``, ``offline``, ``add`` …) to which device, by its path below /sys."""

    action: str
    device: str


@dataclass(frozen=True, slots=True)
class UeventReading:
    """What one reading brought; `lost` says that the socket's buffer overflowed."""

    events: tuple[Uevent, ...]
    lost: bool = False


def parse(message: bytes) -> Uevent:
    """Parse the head of a message; raises KernelFormatError."""
    head = message.partition(b"\0")[0]
    action, at, device = head.partition(b"@")
    if not at or not action.isalpha() or not device.startswith(b"/"):
        raise KernelFormatError("uevent", decode(head))
    return Uevent(decode(action), decode(device))


class UeventWatch:
    """The kernel's uevents. A context manager; `fileno` is readable when messages wait."""

    def __init__(self) -> None:
        """Open the socket.

        Raises:
            Denied: a security module or a seccomp filter forbids it.
            KernelCallError: the kernel has no netlink or no uevents.
        """
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, _PROTOCOL
            )
        except OSError as error:
            raise translate("opening a uevent socket", error.errno or errno.EIO) from error
        try:
            self._socket.bind((0, _KERNEL_GROUP))
        except OSError as error:
            self._socket.close()
            raise translate("binding a uevent socket", error.errno or errno.EIO) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop; a second call does nothing."""
        self._socket.close()

    def read(self) -> UeventReading:
        """Return the messages that wait, a bounded number, without blocking; messages of other senders are dropped.

        Raises:
            KernelFormatError: the kernel sent something else than a uevent.
            KernelCallError: the socket is broken.
        """
        events: list[Uevent] = []
        for _ in range(_MESSAGES_MAX):
            try:
                message, (sender, _group) = self._socket.recvfrom(_MESSAGE_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return UeventReading(tuple(events), lost=True)
                raise translate("reading uevents", error.errno or errno.EIO) from error
            # Any process of root's may send here; the kernel's own port is 0.
            if sender == 0:
                events.append(parse(message))
        return UeventReading(tuple(events))
