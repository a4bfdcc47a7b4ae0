"""The real process: killed at any moment, started on bad ground, told to stop."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from numaplace.model.move import MoveOrder, MoveOutcome, MoveState
from numaplace.model.session import AcknowledgeOutcome, MoveAccepted
from numaplace.v1 import numaplace_pb2 as pb
from numaplace.v1 import numaplace_pb2_grpc
from tests.unit.scheduler.scene import home_change, make_snapshot, make_task, outcome_of
from tests.unit.scheduler.service import agent

START_WITHIN_S = 60


class Process:
    """``python -m scheduler run`` and its log."""

    def __init__(self, *flags: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scheduler", "run", *flags],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.log: list[dict[str, Any]] = []
        self._lines: Queue[dict[str, Any] | None] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with contextlib.suppress(json.JSONDecodeError):
                self._lines.put(json.loads(line))
        self._lines.put(None)

    def address(self) -> str:
        """Where it listens, once it does."""
        while (entry := self._lines.get(timeout=START_WITHIN_S)) is not None:
            self.log.append(entry)
            if entry["event"] == "started":
                return str(entry["address"])
        raise AssertionError(f"it ended instead: {self.log}")

    def signal(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        self._process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for the end; returns the exit code."""
        code = self._process.wait(START_WITHIN_S)
        while (entry := self._lines.get(timeout=START_WITHIN_S)) is not None:
            self.log.append(entry)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return code

    def close(self) -> None:
        """Leave nothing behind."""
        if self._process.poll() is None:
            self.signal(signal.SIGKILL)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Starts processes on one database, and ends them."""
    started: list[Process] = []

    def begin(*flags: str) -> Process:
        database = ("--db", str(tmp_path / "scheduler.db"), "--listen", "127.0.0.1:0")
        started.append(Process(*database, *flags))
        return started[-1]

    yield begin
    for process in started:
        process.close()


def test_sigkill_loses_no_order_and_runs_none_twice(start: Any) -> None:  # noqa: ANN401 - a factory
    """Killed after sending, after the acceptance, and after the acknowledgement: each order goes on as itself."""
    drifted = make_task(home=1, version=2)

    async def until_ordered(address: str) -> MoveOrder:
        async with agent(address) as hand:
            await hand.say(make_snapshot([make_task()]))
            await hand.say(home_change())
            return await hand.hear(MoveOrder)

    async def accept_again(address: str, order: MoveOrder) -> None:
        async with agent(address) as hand:
            await hand.say(make_snapshot([drifted]))
            assert await hand.hear(MoveOrder) == order
            await hand.say(MoveAccepted(order.id))
            await hand.say(outcome_of_other(order))
            await hand.hear(AcknowledgeOutcome)

    async def finish(address: str, order: MoveOrder) -> None:
        async with agent(address) as hand:
            await hand.say(make_snapshot([drifted], open_moves=[order]))
            await hand.say(outcome_of(order))
            assert (await hand.hear(AcknowledgeOutcome)).move == order.id
            assert not [heard for heard in hand.heard if isinstance(heard, MoveOrder)]

    async def look(address: str, order: MoveOrder) -> pb.Move:
        async with agent(address) as hand:
            stub: Any = numaplace_pb2_grpc.MovesStub(hand.channel)
            move: pb.Move = await stub.GetMove(pb.GetMoveRequest(name=f"moves/{order.id}"))
            return move

    first = start()
    order = asyncio.run(until_ordered(first.address()))
    assert first.signal(signal.SIGKILL) == -signal.SIGKILL
    second = start()
    asyncio.run(accept_again(second.address(), order))
    assert second.signal(signal.SIGKILL) == -signal.SIGKILL
    third = start()
    address = third.address()
    asyncio.run(finish(address, order))
    assert third.signal(signal.SIGKILL) == -signal.SIGKILL
    fourth = start()
    move = asyncio.run(look(fourth.address(), order))
    assert move.outcome.state == 4
    assert fourth.signal(signal.SIGTERM) == 0


def outcome_of_other(order: MoveOrder) -> MoveOutcome:
    """The end of a move that the agent made alone: its acknowledgement shows that all before it is stored."""
    return MoveOutcome("alone-1", order.task, MoveState.COMPLETED, "done")  # type: ignore[arg-type] # a move's name


def test_sigterm_ends_soon_with_sessions_open(start: Any) -> None:  # noqa: ANN401 - a factory
    """Agents are told; nobody waits for sessions that never end by themselves."""
    process = start()

    async def play(address: str) -> None:
        async with agent(address) as hand:
            await hand.say(make_snapshot([make_task()]))
            assert await asyncio.to_thread(process.signal, signal.SIGTERM) == 0
            assert "the scheduler stops" in ((await hand.error()).details() or "")

    asyncio.run(play(process.address()))
    assert process.log[-1]["event"] == "stopped"


def test_corrupt_database_is_named_and_left_alone(start: Any, tmp_path: Path) -> None:  # noqa: ANN401 - a factory
    """Exit code 65 (EX_DATAERR), which systemd does not restart, and words that say what to do."""
    database = tmp_path / "scheduler.db"
    database.write_bytes(b"garbage" * 1000)
    process = start()
    assert process.ended() == 65
    assert str(database) in process.log[-1]["error"]
    assert "move the file away" in process.log[-1]["advice"]
    assert database.read_bytes() == b"garbage" * 1000


def test_second_scheduler_on_the_same_database_is_refused(start: Any) -> None:  # noqa: ANN401 - a factory
    """Exit code 75 (EX_TEMPFAIL): it may be the one that is about to end."""
    start().address()
    second = start()
    assert second.ended() == 75
    assert "locked by another process" in second.log[-1]["error"]


def test_taken_port_is_named(start: Any) -> None:  # noqa: ANN401 - a factory
    """Exit code 69 (EX_UNAVAILABLE)."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start("--listen", f"127.0.0.1:{taken.getsockname()[1]}")
        assert process.ended() == 69
    assert "cannot listen on" in process.log[-1]["error"]


def test_plaintext_beyond_loopback_is_refused(start: Any) -> None:  # noqa: ANN401 - a factory
    """Exit code 78 (EX_CONFIG), and the three ways out."""
    process = start("--listen", "0.0.0.0:0")
    assert process.ended() == 78
    assert "--insecure" in process.log[-1]["error"]
