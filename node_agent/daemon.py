"""The agent's own process, which stays in memory for months: ``node_agent.launch`` executes it, nobody else.

Libraries load others that they would do without, and each is memory for nothing on every host of a cluster. Those that
are left out here are optional by their users' own words: structlog looks for rich to print tracebacks, which we do not
want of it, and asyncio for ssl, which gRPC brings on its own.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from node_agent.launch import take_settings

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


def main() -> None:
    """Run the agent with the settings that were handed over."""
    sys.meta_path.insert(0, LeftOut())
    from node_agent.service import serve  # noqa: PLC0415 - with all it imports, and without what is left out

    serve(take_settings(int(sys.argv[1])))


if __name__ == "__main__":
    main()
