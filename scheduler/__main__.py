"""``python -m scheduler`` is ``numaplace-scheduler``."""

from scheduler.cli import main

main()
