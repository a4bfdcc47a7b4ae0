"""The lab for tests: the fixture `lab`, and a verdict that the emulation cannot spoil.

Rules it keeps:

- Guests are booted when a test first asks for them and shared by later tests; `Lab.fresh` is a test's own.
- As many guests live at once as the machine can carry; beyond that the one used longest ago goes. The guests that the
  running test has asked for stay, so ask in each test, never once for a whole module.
- A test that fails while the emulation oopsed one of its guests is run again, all its fixtures anew, a bounded number
  of times.
- So is one that fails and leaves a guest that answers nobody any more, whatever its kernel said of that: an emulated
  CPU whose timer is lost, as by a pause of the machine, locks up the others. Unless each run ends so it was no verdict.
- A guest whose kernel complained of a fault fails the test that used it, even if it lived on.
- Where guests cannot run the tests marked `lab` are skipped with the reason; in CI (CI=true) they fail.
"""

import os
from collections.abc import Iterator

import pytest
from _pytest.runner import runtestprotocol

from tests.lab import setup
from tests.lab.console import FaultKind
from tests.lab.description import Description
from tests.lab.guest import EmulationOopsError, Guest
from tests.lab.kernels import prepare, prepare_tools
from tests.lab.lab import boot, describe
from tests.lab.mirror import NoMirrorError
from tests.lab.packages import PackageError
from tests.lab.qemu import Options

TEST_ATTEMPTS = 3
GUESTS_MAX_VARIABLE = "NUMAPLACE_LAB_GUESTS_MAX"
_GUESTS_MAX_LEAST = 3
_MEMORY_SHARE = 0.6
_pool_key = pytest.StashKey["Pool"]()
_failed_key = pytest.StashKey[bool]()


class KernelFaultError(Exception):
    """A guest's kernel reported a fault and lived on."""


class Pool:
    """The guests of a test session."""

    def __init__(self, guests_max: int, memory_mb_max: int) -> None:
        self._guests_max = guests_max
        self._memory_mb_max = memory_mb_max
        self._shared: dict[str, Guest] = {}  # The one used longest ago first.
        self._used: list[Guest] = []
        self._oops: str | None = None

    def shared(self, name: str) -> Guest:
        """The session's guest of that name, booted if there is none alive."""
        guest = self._shared.pop(name, None)
        if guest is not None and not guest.alive:
            guest.close()
            guest = None
        if guest is None:
            guest = self.fresh(name)
        self._shared[name] = guest
        self._use(guest)
        return guest

    def fresh(self, description: str | Description, options: Options | None = None) -> Guest:
        """A guest of its own for the running test."""
        wanted = describe(description) if isinstance(description, str) else description
        self._make_room(wanted.memory_mb)
        guest = boot(wanted, options)
        self._use(guest)
        return guest

    def end_test(self, *, failed: bool = False) -> None:
        """Look at each guest that the test used, close those that are its own or broken.

        Args:
            failed: The test did: then each guest must show that it is not to blame.

        Raises:
            KernelFaultError: One's kernel reported a fault of its own.
        """
        used, self._used = self._used, []
        complaints = []
        for guest in used:
            fault = guest.fault()
            hung = failed and guest.alive and not guest.answers()
            if fault is not None and fault.kind is FaultKind.EMULATION:
                self._oops = f"guest {guest.name}: {fault.line}"
            elif hung:
                self._oops = f"guest {guest.name}: it answers nobody ({fault.line if fault else 'and says nothing'})"
            elif fault is not None and guest.alive:
                complaints.append(f"guest {guest.name}: {fault.line}\n{guest.console()}")
            if hung or fault is not None or guest not in self._shared.values():
                self._shared = {name: other for name, other in self._shared.items() if other is not guest}
                guest.close()
        if complaints:
            raise KernelFaultError("\n".join(complaints))

    def note_oops(self, text: str) -> None:
        """Remember that the running test met an oops of the emulation."""
        self._oops = text

    def take_oops(self) -> str | None:
        """What the emulation did to the running test, told once."""
        oops, self._oops = self._oops, None
        return oops

    def close(self) -> None:
        """Power every guest off."""
        for guest in [*self._shared.values(), *self._used]:
            guest.close()
        self._shared = {}
        self._used = []

    def _use(self, guest: Guest) -> None:
        if guest not in self._used:
            self._used.append(guest)

    def _make_room(self, memory_mb: int) -> None:
        """Close shared guests that the running test does not use, until another one fits or none is left."""
        idle = [name for name, guest in self._shared.items() if guest not in self._used]
        for name in idle:
            alive = [*self._shared.values(), *(guest for guest in self._used if guest not in self._shared.values())]
            taken_mb = sum(guest.description.memory_mb for guest in alive)
            if len(alive) < self._guests_max and taken_mb + memory_mb <= self._memory_mb_max:
                return
            self._shared.pop(name).close()


class Lab:
    """What the fixture `lab` is: guests for one test."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def guest(self, name: str) -> Guest:
        """A guest that other tests use too: leave it as it was found."""
        _require_kernel(describe(name).kernel)
        return self._pool.shared(name)

    def fresh(self, description: str | Description, options: Options | None = None) -> Guest:
        """A guest for this test alone, closed at its end."""
        wanted = describe(description) if isinstance(description, str) else description
        _require_kernel(wanted.kernel)
        return self._pool.fresh(wanted, options)


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Guests of the NUMA lab, for a test marked `lab`."""
    pool = request.config.stash[_pool_key]
    yield Lab(pool)
    pool.end_test(failed=request.node.stash.get(_failed_key, False))


def unavailable() -> str | None:
    """Why guests cannot run here; None if they can."""
    if os.environ.get("NUMAPLACE_LAB") == "off":
        return "NUMAPLACE_LAB=off"
    missing = setup.missing_packages()
    if missing:
        return f"missing: {', '.join(missing)} (python -m tests.lab setup)"
    try:
        prepare_tools()
    except (PackageError, NoMirrorError) as error:
        return str(error)
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Make the session's pool; nothing is booted yet."""
    memory_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (1 << 20)
    default = max(_GUESTS_MAX_LEAST, os.cpu_count() or 1)
    guests_max = int(os.environ.get(GUESTS_MAX_VARIABLE, default))
    config.stash[_pool_key] = Pool(guests_max, int(memory_mb * _MEMORY_SHARE))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Power off what is left."""
    config.stash[_pool_key].close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or in CI fail, a test that needs a guest where none can run."""
    if item.get_closest_marker("lab") is not None:
        reason = unavailable()
        if reason is not None:
            _give_up(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # pluggy passes the report through
    """Note a failure, and whether it is an oops of the emulation, whichever guest it came from."""
    item.stash[_failed_key] = item.stash.get(_failed_key, False) or call.excinfo is not None
    if call.excinfo is not None and isinstance(call.excinfo.value, EmulationOopsError):
        item.config.stash[_pool_key].note_oops(str(call.excinfo.value))
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test marked `lab`, again if it failed by the emulation's fault."""
    if item.get_closest_marker("lab") is None:
        return None
    pool = item.config.stash[_pool_key]
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for attempt in range(1, TEST_ATTEMPTS + 1):
        item.stash[_failed_key] = False
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        oops = pool.take_oops()
        if oops is None or attempt == TEST_ATTEMPTS or not any(report.failed for report in reports):
            break
        _say(item.config, f"{item.nodeid}: {oops}; run again ({attempt + 1} of {TEST_ATTEMPTS})")
        # Fixtures of wider scopes may hold the dead guest.
        item.session._setupstate.teardown_exact(None)
        item._initrequest()  # type: ignore[attr-defined]  # as pytest itself does before each run
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _require_kernel(name: str) -> None:
    """The newest kernel may lag (its suite moves daily): without it a test is skipped, whatever CI says."""
    try:
        prepare(name)
    except (PackageError, NoMirrorError) as error:
        if name == "sid":
            pytest.skip(f"kernel {name}: {error}")
        _give_up(f"kernel {name}: {error}")


def _give_up(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"the NUMA lab cannot run: {reason}", pytrace=False)
    pytest.skip(f"the NUMA lab cannot run: {reason}")


def _say(config: pytest.Config, line: str) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.ensure_newline()
        reporter.write_line(line, yellow=True)
