"""How much an agent, or all of them together, can make the scheduler remember."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Counts beyond which the scheduler refuses or forgets; numaplace.wire bounds the size of each single value."""

    hosts_max: int = 10_000
    tasks_per_host_max: int = 50_000
    policies_max: int = 10_000
    history_max: int = 10_000
    open_per_host_max: int = 50_000

    def __post_init__(self) -> None:
        if min(self.hosts_max, self.tasks_per_host_max, self.policies_max, self.history_max) < 1:
            raise ValueError("bounds must be at least 1")
