"""What every test may use."""

pytest_plugins = ["tests.lab.pytest_plugin"]
