"""What surrounds every process of a run."""

from dataclasses import dataclass
from random import Random

from tests.simulation.ledger import Ledger
from tests.simulation.network import Network
from tests.simulation.timeline import Timeline
from tests.simulation.trace import Trace


@dataclass(frozen=True, slots=True)
class Setting:
    """The clock, the dice, the network, and those who watch."""

    timeline: Timeline
    rng: Random
    net: Network
    ledger: Ledger
    trace: Trace
