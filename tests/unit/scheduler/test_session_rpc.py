"""The session over real gRPC on loopback."""

import asyncio
import time
from pathlib import Path

from numaplace.model.move import MoveOrder
from numaplace.model.session import AcknowledgeOutcome, MoveAccepted
from tests.unit.scheduler.scene import home_change, make_snapshot, make_task, outcome_of
from tests.unit.scheduler.service import agent, service


def test_thread_end_to_end(tmp_path: Path) -> None:
    """Hello, snapshot, change, order, acceptance, outcome, acknowledgement."""

    async def play() -> None:
        async with service(tmp_path) as running, agent(running.address) as hand:
            await hand.say(make_snapshot([make_task()]))
            time.monotonic()
            await hand.say(home_change())
            order = await hand.hear(MoveOrder)
            await hand.say(MoveAccepted(order.id))
            await hand.say(outcome_of(order))
            assert (await hand.hear(AcknowledgeOutcome)).move == order.id

    asyncio.run(play())
