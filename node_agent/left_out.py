"""What the agent's own process does without, though libraries that it needs would load it.

Libraries load others that they would do without, and each is memory for nothing on every host of a cluster, and time
at each start. Those that are left out here are optional by their users' own words: structlog looks for rich to print
tracebacks, which we do not want of it, and asyncio for ssl, which gRPC brings on its own.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

LEFT_OUT = frozenset({"rich", "ssl"})


class LeftOut:
    """Stands first among those who find modules, and says that some are not there."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        del path, target
        if name in LEFT_OUT:
            raise ModuleNotFoundError(f"{name} is left out of the agent", name=name)
        return None


def leave_out() -> None:
    """From now on; whoever calls this has imported little yet."""
    sys.meta_path.insert(0, LeftOut())
