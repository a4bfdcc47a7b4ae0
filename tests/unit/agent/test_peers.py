"""The gate of the local socket: the kernel's word for who calls, limits by uid, and nobody's files but its own."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from node_agent.rpc import peers
from node_agent.rpc.peers import PeerGate, may_see
from tests.fakes.agent import folder_for_all

WITHIN_S = 60.0
NOBODY = 65534
ROOT = os.geteuid() == 0


@pytest.fixture
def path() -> Iterator[Path]:
    """Where the socket is to be."""
    with folder_for_all() as folder:
        yield folder / "run" / "agent.sock"


class Echo:
    """An inner server for each uid, that says its uid and then echoes."""

    def __init__(self) -> None:
        self.served: list[int] = []
        self.fails: Exception | None = None
        self._servers: list[asyncio.Server] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, uid: int, path: Path) -> object:
        """Serve one uid."""
        self.served.append(uid)
        if self.fails is not None:
            raise self.fails

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            writer.write(f"you are {uid}\n".encode())
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
            writer.close()

        server = await asyncio.start_unix_server(talk, path)
        self._servers.append(server)
        return server

    def close(self) -> None:
        """Stop serving."""
        for server in self._servers:
            server.close()
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def listening(path: Path, echo: Echo) -> AsyncIterator[PeerGate]:
    """A gate that listens."""
    gate = PeerGate(path, echo.serve)
    running = asyncio.create_task(gate.run())
    try:
        async with asyncio.timeout(WITHIN_S):
            while not (path.exists() and stat.S_IMODE(path.stat().st_mode) == 0o666) and not running.done():  # noqa: ASYNC110, ASYNC240 - a file appears
                await asyncio.sleep(0.001)
        yield gate
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        echo.close()
        await asyncio.sleep(0)


async def call(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Call as this process."""
    return await asyncio.open_unix_connection(path)


async def line(reader: asyncio.StreamReader) -> str:
    """A line, or nothing at the end."""
    async with asyncio.timeout(WITHIN_S):
        return (await reader.readline()).decode().strip()


def test_a_caller_reaches_the_server_of_its_uid(path: Path) -> None:
    """Also the second time, over one server; bytes go both ways, however many."""

    async def scenario() -> None:
        echo = Echo()
        async with listening(path, echo):
            for _ in range(2):
                reader, writer = await call(path)
                assert await line(reader) == f"you are {os.geteuid()}"
                sent = os.urandom(300_000)
                writer.write(sent)
                assert await reader.readexactly(len(sent)) == sent
                writer.close()
            assert echo.served == [os.geteuid()]

    asyncio.run(scenario())


_CALL_AS = """
import os, socket, sys
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
caller = socket.socket(socket.AF_UNIX)
caller.connect(sys.argv[1])
print(caller.makefile().readline().strip())
try:
    os.listdir(sys.argv[1] + ".peers")
    print("may enter")
except PermissionError:
    print("may not enter")
"""


@pytest.mark.skipif(not ROOT, reason="calling as another user takes root")
def test_another_user_is_known_by_the_kernels_word_and_cannot_go_around_the_gate(path: Path) -> None:
    """The uid is the connection's, and the folder of the inner sockets is closed to all but the agent."""

    async def scenario() -> str:
        async with listening(path, Echo()):
            program = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _CALL_AS, str(path), str(NOBODY), stdout=subprocess.PIPE
            )
            async with asyncio.timeout(WITHIN_S):
                said, _ = await program.communicate()
            return said.decode()

    assert asyncio.run(scenario()).splitlines() == [f"you are {NOBODY}", "may not enter"]


def test_a_caller_has_so_many_connections_and_gets_its_place_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit a connection is closed at once; one that ends makes room."""
    monkeypatch.setattr(peers, "CONNECTIONS_OF_UID_MAX", 3)

    async def scenario() -> None:
        async with listening(path, Echo()) as gate:
            held = [await call(path) for _ in range(3)]
            for reader, _ in held:
                assert await line(reader)
            refused, writer = await call(path)
            assert await line(refused) == ""
            writer.close()
            held[0][1].close()
            async with asyncio.timeout(WITHIN_S):
                while gate._open[os.geteuid()] > 2:  # noqa: ASYNC110 - the kernel tells the gate when it likes
                    await asyncio.sleep(0.001)
            reader, writer = await call(path)
            assert await line(reader)
            for each in (*(w for _, w in held[1:]), writer):
                each.close()

    asyncio.run(scenario())


def test_others_cannot_keep_root_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody together has a limit that does not count for whoever runs the agent."""
    monkeypatch.setattr(peers, "CONNECTIONS_MAX", 5)
    gate = PeerGate(path, Echo().serve)
    gate._open.update(dict.fromkeys(range(100_000, 100_010), 1))
    gate._open[0] += 1
    gate._open[NOBODY] += 1
    assert gate._has_room(0)
    assert not gate._has_room(NOBODY)


def test_a_user_of_many_uids_cannot_start_servers_without_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers are bounded; who has one keeps it."""
    monkeypatch.setattr(peers, "UIDS_MAX", 2)
    gate = PeerGate(path, Echo().serve)
    loop = asyncio.new_event_loop()
    gate._starting = {1000: loop.create_future(), 1001: loop.create_future()}
    loop.close()
    gate._open.update([1000, 1002])
    assert gate._has_room(1000)
    assert not gate._has_room(1002)


def test_a_server_that_cannot_start_is_tried_again_with_the_next_call(path: Path) -> None:
    """One failure does not lock a user out for the agent's life."""

    async def scenario() -> None:
        echo = Echo()
        echo.fails = RuntimeError("no more ports")
        async with listening(path, echo):
            reader, writer = await call(path)
            assert await line(reader) == ""
            writer.close()
            echo.fails = None
            reader, writer = await call(path)
            assert await line(reader)
            writer.close()

    asyncio.run(scenario())


def test_shutdown_does_not_wait_for_callers_and_leaves_no_socket(path: Path) -> None:
    """Somebody who watches must not keep the agent from stopping."""

    async def scenario() -> None:
        async with listening(path, Echo()):
            reader, writer = await call(path)
            await line(reader)
        assert await line(reader) == ""
        writer.close()
        assert not path.exists()  # noqa: ASYNC240 - the file is what is tested

    asyncio.run(scenario())


async def _refused(path: Path) -> str:
    """The words with which a gate refuses to start."""
    with pytest.raises(OSError, match=r".+") as caught:
        await PeerGate(path, Echo().serve).run()
    return str(caught.value)


def test_a_stale_socket_is_replaced_and_a_living_one_is_not(path: Path) -> None:
    """A killed agent leaves its socket behind; a running one is told of, and goes on."""

    async def scenario() -> None:
        path.parent.mkdir()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        async with listening(path, Echo()):
            assert "another agent listens there" in await _refused(path)
            reader, writer = await call(path)
            assert await line(reader)
            writer.close()

    asyncio.run(scenario())


def test_an_agents_end_leaves_its_successors_socket(path: Path) -> None:
    """A restart overlaps: the old one must not take the new one's socket away."""

    async def scenario() -> None:
        async with listening(path, Echo()):
            path.unlink()  # noqa: ASYNC240 - a preparation
            path.write_text("the successor's")  # noqa: ASYNC240 - a preparation
        assert path.read_text() == "the successor's"  # noqa: ASYNC240 - the file is what is tested

    asyncio.run(scenario())


def test_a_file_in_the_way_is_left_alone(path: Path) -> None:
    """A misspelt --socket must not delete anybody's file, least of all as root."""
    path.parent.mkdir()
    path.write_text("precious")
    assert "is no socket" in asyncio.run(_refused(path))
    assert path.read_text() == "precious"


def test_a_path_too_long_for_the_kernel_is_told(tmp_path: Path) -> None:
    """The kernel has 108 bytes for it, and says nothing useful."""
    assert "shorter --socket" in asyncio.run(_refused(tmp_path / ("x" * 100) / "agent.sock"))


def test_a_socket_where_none_can_be_is_told(tmp_path: Path) -> None:
    """As an agent that is not root's is told, whose default lies where only root may write."""
    (tmp_path / "file").touch()
    assert "give another --socket" in asyncio.run(_refused(tmp_path / "file" / "agent.sock"))


def test_inner_sockets_lie_in_no_folder_of_others(path: Path, tmp_path: Path) -> None:
    """Whoever owns that folder could answer for the agent, or call as root."""
    path.parent.mkdir()
    inner = path.with_name("agent.sock.peers")
    inner.symlink_to(tmp_path)
    assert "must be the agent's own" in asyncio.run(_refused(path))
    if ROOT:
        inner.unlink()
        inner.mkdir()
        os.chown(inner, NOBODY, NOBODY)
        assert "must be the agent's own" in asyncio.run(_refused(path))


def test_who_may_see_what() -> None:
    """Root and whoever runs the agent see all; others what is theirs; what belongs to several is root's."""
    assert may_see(0, 1000)
    assert may_see(os.geteuid(), 1000)
    assert may_see(1000, 1000)
    assert not may_see(NOBODY, 1000)
    assert not may_see(NOBODY, 0)
