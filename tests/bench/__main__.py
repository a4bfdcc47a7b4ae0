"""Entry point of ``python -m tests.bench``."""

from tests.bench.cli import app

if __name__ == "__main__":
    app()
