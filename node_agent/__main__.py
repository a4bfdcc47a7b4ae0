"""``python -m node_agent`` is ``numaplace-agent``."""

from node_agent.cli import main

main()
