"""Who calls on the local socket: the kernel tells the uid of each connection, gRPC for Python does not pass it on.

So a small gate owns the public socket. It reads SO_PEERCRED of each connection and joins it to an inner gRPC server
that was made for just this uid and listens in a folder that only the agent may enter. A service instance thus knows
its caller's uid as surely as the kernel does, and nothing a caller sends can change it.

Limits are per uid, so that nobody can keep others away from the socket, and root has always room.
"""

import asyncio
import contextlib
import errno
import os
import socket
import stat
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from numaplace.telemetry import events, keys

log = structlog.get_logger(__name__)

CONNECTIONS_MAX = 192
"""Of all users; each takes three descriptors, and an ordinary limit is 1024."""
CONNECTIONS_OF_UID_MAX = 64
UIDS_MAX = 64
"""A user with subordinate uids may call under each of them, and each has a server of its own."""
PATH_BYTES_MAX = 107
"""struct sockaddr_un holds 108 with the final zero: unix(7)."""
CHUNK_BYTES = 64 << 10
_UCRED = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)

Serve = Callable[[int, Path], Awaitable[object]]
"""Start a server for one uid at one socket path, and return it: gRPC stops a server that nobody holds."""


class PeerGate:
    """The public Unix socket. ``serve`` starts the inner server of a uid the first time that it calls."""

    def __init__(self, path: Path, serve: Serve) -> None:
        self._path = path
        self._inner = path.with_name(f"{path.name}.peers")
        self._serve = serve
        self._starting: dict[int, asyncio.Future[object]] = {}
        self._open: Counter[int] = Counter()
        self._callers: set[asyncio.Task[None]] = set()
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Accept callers until cancelled. Raises OSError, with words that say what to change."""
        self._prepare()
        server = await asyncio.start_unix_server(self._welcome, self._path)
        self._path.chmod(0o666)  # anyone may ask; what they may ask for is decided by their uid
        ours = self._path.stat()
        self.listening.set()
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for caller in self._callers:
                caller.cancel()
            await asyncio.gather(*self._callers, return_exceptions=True)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(self._path.stat(), ours):  # else it is that of an agent started since
                    self._path.unlink()

    def _prepare(self) -> None:
        longest = f"{self._inner}/{2**32 - 1}.sock"
        if len(os.fsencode(longest)) > PATH_BYTES_MAX:
            raise OSError(
                errno.ENAMETOOLONG, "a socket's path is limited to 107 bytes; give a shorter --socket", longest
            )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            self._inner.mkdir(mode=0o700)
        inner = self._inner.lstat()
        if not stat.S_ISDIR(inner.st_mode) or inner.st_uid != os.geteuid():
            raise OSError(errno.EPERM, "the folder must be the agent's own; remove it", str(self._inner))
        self._inner.chmod(0o700)
        with contextlib.suppress(FileNotFoundError):
            self._remove_stale(self._path.lstat())

    def _remove_stale(self, found: os.stat_result) -> None:
        if not stat.S_ISSOCK(found.st_mode):
            raise OSError(errno.EEXIST, "is no socket; give another --socket, or move it away", str(self._path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            answer = probe.connect_ex(str(self._path))
        if answer != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, "another agent listens there; stop it, or give another --socket",
                          str(self._path))  # fmt: skip
        self._path.unlink()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller = asyncio.current_task()
        if caller is None:
            raise AssertionError("asyncio calls this in a task")
        uid = _peer_uid(writer.get_extra_info("socket"))
        self._callers.add(caller)
        self._open[uid] += 1
        try:
            if self._has_room(uid):
                await self._join(uid, reader, writer)
            else:
                log.warning(events.CALL_FAILED, **{keys.UID: uid, keys.ERROR: "too many local connections are open"})
        except OSError as error:
            log.debug(events.CALL_FAILED, **{keys.UID: uid, keys.ERROR: str(error)})
        finally:
            self._callers.discard(caller)
            self._open[uid] -= 1
            if not self._open[uid]:
                del self._open[uid]
            writer.close()

    def _has_room(self, uid: int) -> bool:
        if uid in (0, os.geteuid()):
            return self._open[uid] <= CONNECTIONS_OF_UID_MAX
        known = uid in self._starting or len(self._starting) < UIDS_MAX
        return known and self._open[uid] <= CONNECTIONS_OF_UID_MAX and self._open.total() <= CONNECTIONS_MAX

    async def serve(self, uid: int) -> Path:
        """Start the server of a uid, if it has not called yet; returns its socket. Raises OSError.

        The gate must be listening.
        """
        inner = self._inner / f"{uid}.sock"
        if uid not in self._starting:
            self._starting[uid] = asyncio.ensure_future(self._serve(uid, inner))
        try:
            await asyncio.shield(self._starting[uid])
        except Exception as error:  # gRPC's words for a server that cannot start vary; the next call tries again
            self._starting.pop(uid, None)
            raise OSError(f"no server for uid {uid}: {error}") from error
        return inner

    async def _join(self, uid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await self.serve(uid)
        inner_reader, inner_writer = await asyncio.open_unix_connection(inner)
        ends = [asyncio.ensure_future(_copy(*pair)) for pair in ((reader, inner_writer), (inner_reader, writer))]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            inner_writer.close()


def _peer_uid(sock: socket.socket) -> int:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(credentials)[1])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()


def may_see(caller_uid: int, owner_uid: int) -> bool:
    """Root, and whoever runs the agent, may ask for anything; others only for what is theirs."""
    return caller_uid in (0, os.geteuid(), owner_uid)
