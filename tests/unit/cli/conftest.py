"""The command against a fake scheduler and a fake agent: what it prints, and how it ends."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from numaplace.cli import main
from tests.fakes import samples, services
from tests.fakes.services import Cluster, Machine


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def cluster() -> Cluster:
    """What the fake scheduler knows."""
    return samples.cluster()


@pytest.fixture
def machine() -> Machine:
    """What the fake agent knows."""
    return samples.machine()


@pytest.fixture
def services_env(
    cluster: Cluster, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """Both services, and the environment that names them."""
    with services.scheduler(cluster) as address, services.agent(machine, tmp_path / "agent.sock") as socket:
        named = {"NUMAPLACE_SCHEDULER": address, "NUMAPLACE_SOCKET": str(socket)}
        for key, value in named.items():
            monkeypatch.setenv(key, value)
        yield named


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process."""

    def run(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        written = capsys.readouterr()
        code = caught.value.code
        assert isinstance(code, int)
        return Ended(code, written.out, written.err)

    return run
