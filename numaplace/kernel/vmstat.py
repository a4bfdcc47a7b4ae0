"""Reader of /proc/vmstat: what the whole host migrated, and how its allocations fell.

The counters count all movers of the host together, and in base pages: one 2 MB page adds 512 to `pgmigrate_success`.
A kernel without transparent huge pages has no `thp_` counters, one without NUMA no `numa_` ones: those read as zero,
as nothing of the kind can happen there. Format: `name number` lines, of which each version adds some.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from numaplace.kernel.errors import KernelFormatError
from numaplace.kernel.files import HOST, parse_int, read_text


@dataclass(frozen=True, slots=True)
class MigrationCounters:
    """Migrations since boot, all movers together: base pages moved and failed; huge pages moved, failed and split."""

    pgmigrate_success: int
    pgmigrate_fail: int
    thp_migration_success: int
    thp_migration_fail: int
    thp_migration_split: int

    def since(self, earlier: "MigrationCounters") -> "MigrationCounters":
        """Return what was added since an earlier reading."""
        return MigrationCounters(
            *(getattr(self, field.name) - getattr(earlier, field.name) for field in fields(MigrationCounters))
        )


@dataclass(frozen=True, slots=True)
class NumaCounters:
    """Allocations by how they fell, and what automatic balancing did, since boot, in base pages."""

    numa_hit: int
    numa_miss: int
    numa_foreign: int
    numa_interleave: int
    numa_local: int
    numa_other: int
    numa_pte_updates: int
    numa_hint_faults: int
    numa_hint_faults_local: int
    numa_pages_migrated: int


def parse(text: str, source: str = "vmstat") -> dict[str, int]:
    """Parse the content of /proc/vmstat; raises KernelFormatError."""
    if not text.endswith("\n"):
        raise KernelFormatError(source, text[-80:])
    values: dict[str, int] = {}
    for line in text[:-1].split("\n"):
        name, blank, number = line.partition(" ")
        if not blank or not name.isidentifier() or name in values:
            raise KernelFormatError(source, line)
        values[name] = parse_int(number, source)
    return values


def migration_counters(values: Mapping[str, int]) -> MigrationCounters:
    """Pick the migration counters from what `parse` returned."""
    return MigrationCounters(*(values.get(field.name, 0) for field in fields(MigrationCounters)))


def read_migration_counters(root: Path = HOST) -> MigrationCounters:
    """Read the migration counters alone: a mover asks for them between batches. Raises KernelFormatError."""
    path = root / "proc/vmstat"
    text = "\n" + read_text(path)
    return MigrationCounters(*(_counter(text, field.name, str(path)) for field in fields(MigrationCounters)))


def _counter(text: str, name: str, source: str) -> int:
    found = text.find(f"\n{name} ")
    if found < 0:
        return 0
    begin = found + len(name) + 2
    end = text.find("\n", begin)
    return parse_int(text[begin:end], source)


def numa_counters(values: Mapping[str, int]) -> NumaCounters:
    """Pick the NUMA counters from what `parse` returned."""
    return NumaCounters(*(values.get(field.name, 0) for field in fields(NumaCounters)))


def read_vmstat(root: Path = HOST) -> dict[str, int]:
    """Read all counters of the host; raises KernelFormatError."""
    path = root / "proc/vmstat"
    return parse(read_text(path), str(path))
