"""What every test may use, and what holds for all property tests."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.lab.pytest_plugin", "tests.simulation.pytest_plugin"]

# A machine that is busy with guests is slow, not wrong: no example is failed for its time.
settings.register_profile("numaplace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("numaplace")
