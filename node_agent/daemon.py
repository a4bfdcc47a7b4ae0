"""The agent's own process, which stays in memory for months: ``node_agent.launch`` executes it, nobody else."""

import sys

from node_agent.launch import take_settings
from node_agent.left_out import leave_out


def main() -> None:
    """Run the agent with the settings that were handed over."""
    leave_out()
    from node_agent.service import serve  # noqa: PLC0415 - with all it imports, and without what is left out

    serve(take_settings(int(sys.argv[1])))


if __name__ == "__main__":
    main()
