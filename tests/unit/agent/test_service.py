"""How the agent as a service ends: once, whatever else wants it to end while it tidies up."""

import asyncio
import os
import signal
from typing import Any

import pytest

from node_agent import service

WITHIN_S = 60.0


@pytest.mark.parametrize("first", ["signal", "file"])
def test_what_ends_it_twice_does_not_cut_the_tidying_short(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ends a whole session sends a private agent SIGTERM, and a moment later its command is gone too."""
    tidied = []

    async def scenario() -> None:
        held, holder = os.pipe()
        running = asyncio.Event()

        def end(by: str) -> None:
            if by == "signal":
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                os.close(holder)

        async def agent(*_: object, **__: object) -> None:
            running.set()
            try:
                await asyncio.Event().wait()
            finally:
                end("file" if first == "signal" else "signal")
                for _turn in range(10):  # the loop looks at files and signals in each
                    await asyncio.sleep(0)
                tidied.append(first)

        monkeypatch.setattr(service, "run_agent", agent)
        configured: Any = None
        async with asyncio.timeout(WITHIN_S):
            until = asyncio.create_task(service._until_ended(configured, held, lambda: None))
            await running.wait()
            end(first)
            await until
        os.close(held)

    asyncio.run(scenario())
    assert tidied == [first]
