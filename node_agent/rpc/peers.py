"""Who calls on the local socket: the kernel tells the uid of each connection, gRPC for Python does not pass it on.

So a small gate owns the public socket. It reads SO_PEERCRED of each connection and joins it to an inner gRPC server
that was made for just this uid and listens in a folder that only the agent may enter. A service instance thus knows
its caller's uid as surely as the kernel does, and nothing a caller sends can change it.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from numaplace.telemetry import keys

log = structlog.get_logger(__name__)

CONNECTIONS_MAX = 256
CHUNK_BYTES = 64 << 10
_UCRED = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)

Serve = Callable[[int, Path], Awaitable[None]]
"""Start a server for one uid at one socket path."""


class PeerGate:
    """The public Unix socket. ``serve`` starts the inner server of a uid the first time that it calls."""

    def __init__(self, path: Path, serve: Serve) -> None:
        self._path = path
        self._inner = path.with_name(f"{path.name}.peers")
        self._serve = serve
        self._starting: dict[int, asyncio.Task[None]] = {}
        self._open = 0

    async def run(self) -> None:
        """Accept callers until cancelled."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._inner.mkdir(mode=0o700, exist_ok=True)
        self._inner.chmod(0o700)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        server = await asyncio.start_unix_server(self._welcome, self._path)
        self._path.chmod(0o666)  # anyone may ask; what they may ask for is decided by their uid
        try:
            async with server:
                await server.serve_forever()
        finally:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= CONNECTIONS_MAX:
            log.warning("local connection refused", **{keys.ERROR: f"more than {CONNECTIONS_MAX} are open"})
            writer.close()
            return
        self._open += 1
        try:
            await self._join(reader, writer)
        except OSError as error:
            log.debug("local connection ended", **{keys.ERROR: str(error)})
        finally:
            self._open -= 1
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = _peer_uid(writer.get_extra_info("socket"))
        inner = self._inner / f"{uid}.sock"
        if uid not in self._starting:
            self._starting[uid] = asyncio.ensure_future(self._serve(uid, inner))
        await asyncio.shield(self._starting[uid])
        inner_reader, inner_writer = await asyncio.open_unix_connection(inner)
        try:
            ends = [_copy(reader, inner_writer), _copy(inner_reader, writer)]
            await asyncio.wait([asyncio.ensure_future(end) for end in ends], return_when=asyncio.FIRST_COMPLETED)
        finally:
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
