"""``python -m numaplace.cli`` is the `numaplace` command."""

from numaplace.cli import main

main()
