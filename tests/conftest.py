"""What every test may use, and what holds for all property tests."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.lab.pytest_plugin", "tests.simulation.pytest_plugin"]

# A machine that is busy with guests is slow, not wrong: no example is failed for its time.
settings.register_profile("numaplace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("numaplace")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A run in the background is deaf to Ctrl-C, and so would be all that it starts, which tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # The same of nohup; the run itself stays deaf.
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)


@pytest.fixture
def privileged() -> None:
    """Let a test run that needs root on this kernel: elsewhere it is skipped, in CI that is a failure."""
    if os.geteuid() != 0:
        reason = "needs root: it changes or looks at more of this host's kernel than users may"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
