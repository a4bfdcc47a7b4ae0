"""Moves a job's pages by hand with a private agent: `python -m tests.jobs.by_hand PID`, a line of JSON for each thing.

First that the agent serves and how long that took; then the outcome of a move of all pages from node 0 to node 1 at a
pace of 8 MiB/s, cancelled as soon as it has moved some; then of the same at full pace; then the progress of one back
to node 0 at the slow pace, which goes on until somebody kills this program.
"""

import json
import sys
import time

from numaplace.client import AgentClient
from numaplace.client.private import private_agent
from numaplace.model.hand import Transfer
from numaplace.model.ids import NodeId, Nodes
from numaplace.model.move import MoveOrder, MoveOutcome, MoveProgress
from numaplace.model.policy import Budget, Policy

MB = 1 << 20
SLOW = Policy(budget=Budget(pace_bytes_per_s=8 * MB))
FIRST: Nodes = frozenset({NodeId(0)})
SECOND: Nodes = frozenset({NodeId(1)})


def say(**what: object) -> None:
    """A line of JSON."""
    print(json.dumps(what), flush=True)  # noqa: T201 - its answer


def move(agent: AgentClient, pid: int, what: Transfer, policy: Policy, *, cancelled: bool = False) -> MoveOutcome:
    """Move to the end, or cancel it once it has moved some."""
    order = None
    for event in agent.move(what, pid=pid, policy=policy):
        match event:
            case MoveOrder():
                order = event.id
            case MoveProgress() if cancelled and event.moved_bytes and order:
                agent.cancel(order)
                cancelled = False
            case MoveOutcome():
                return event
            case _:
                pass
    raise AssertionError("a move by hand ends with its outcome")


def main() -> None:
    """Move as the module says."""
    pid = int(sys.argv[1])
    began_s = time.monotonic()
    with private_agent() as agent:
        say(serving_s=time.monotonic() - began_s)
        for policy, cancelled in ((SLOW, True), (Policy(), False)):
            ended = move(agent, pid, Transfer(FIRST, SECOND), policy, cancelled=cancelled)
            say(state=ended.state.value, moved_bytes=ended.moved_bytes, words=ended.words)
        for event in agent.move(Transfer(SECOND, FIRST), pid=pid, policy=SLOW):
            if isinstance(event, MoveProgress):
                say(moved_bytes=event.moved_bytes)


if __name__ == "__main__":
    main()
