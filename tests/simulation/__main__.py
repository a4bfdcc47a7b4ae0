"""Entry point of `python -m tests.simulation`."""

from tests.simulation.cli import main

if __name__ == "__main__":
    main()
