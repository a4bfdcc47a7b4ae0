"""A scheduler on this host and agents on stages, joined by mTLS with certificates made for the occasion."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from numaplace.client import SchedulerClient, Tls
from numaplace.model.ids import HostId, JobId
from numaplace.model.views import HostState
from numaplace.model.views import Job as JobView
from tests.harness.stage import PROJECT, Running, Stage
from tests.lab.guest import HOST_ADDRESS, Guest

LISTENING_WITHIN_S = 60.0
CONNECTED_WITHIN_S = 180.0
ADOPTED_WITHIN_S = 120.0
_POLL_S = 0.1


class ClusterError(Exception):
    """A part of the cluster did not come up; the text holds its last words."""


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Certificates:
    """A folder that ``numaplace-scheduler certs`` filled."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, hosts: tuple[str, ...]) -> "Certificates":
        """A CA, the scheduler's, each host's and one user's certificate."""
        certs = [sys.executable, "-m", "scheduler", "certs"]
        names = ["--name", "localhost", "--name", "127.0.0.1", "--name", HOST_ADDRESS]
        calls = [["init", *names], *(["host", host] for host in hosts), ["user", "demo"]]
        for call in calls:
            subprocess.run([*certs, *call, "--dir", str(folder)], check=True, capture_output=True, cwd=PROJECT)
        return cls(folder)

    def user_tls(self) -> Tls:
        """What the client needs."""
        return Tls(
            ca=self.folder / "ca.pem", certificate=self.folder / "user-demo.pem", key=self.folder / "user-demo.key"
        )


class SchedulerProcess:
    """``numaplace-scheduler run`` on this host, with SQLite."""

    def __init__(self, folder: Path, certificates: Certificates, *arguments: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._certificates = certificates
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, again after a kill; returns once it listens."""
        files = self._certificates.folder
        with (self._folder / "scheduler.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "scheduler", "run", "--listen", f"127.0.0.1:{self.port}",
                    "--db", str(self._folder / "scheduler.sqlite"), "--tls-ca", str(files / "ca.pem"),
                    "--tls-cert", str(files / "scheduler.pem"), "--tls-key", str(files / "scheduler.key"),
                    *self._arguments,
                ],
                stdout=log, stderr=log, cwd=PROJECT, env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        self._wait_listening()

    def _wait_listening(self) -> None:
        deadline = time.monotonic() + LISTENING_WITHIN_S
        while time.monotonic() < deadline and self._process and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(_POLL_S)
        raise ClusterError(f"the scheduler does not listen:\n{self.log()}")

    def log(self) -> str:
        """What it said."""
        return (self._folder / "scheduler.log").read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def client(self) -> SchedulerClient:
        """A client of it."""
        return SchedulerClient(f"127.0.0.1:{self.port}", tls=self._certificates.user_tls())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.kill()


class AgentProcess:
    """``numaplace-agent run`` on a stage; its log goes to a file there."""

    STATE = "/run/numaplace-demo"

    def __init__(self, stage: Stage, host: str, scheduler: SchedulerProcess, certificates: Certificates) -> None:
        self._stage = stage
        self._host = host
        address = HOST_ADDRESS if isinstance(stage, Guest) else "127.0.0.1"
        self._argv = [
            "sh", "-c", f'exec python -u -m node_agent "$@" >> {self.STATE}/agent.log 2>&1', "agent",
            "run", "--host", host, "--scheduler", f"{address}:{scheduler.port}",
            "--state-dir", self.STATE, "--socket", self.socket,
            "--tls-ca", f"{self.STATE}/ca.pem", "--tls-cert", f"{self.STATE}/host.pem",
            "--tls-key", f"{self.STATE}/host.key",
        ]  # fmt: skip
        stage.run(["mkdir", "-p", self.STATE])
        files = {"ca.pem": "ca.pem", f"host-{host}.pem": "host.pem", f"host-{host}.key": "host.key"}
        for made, copy in files.items():
            stage.write(f"{self.STATE}/{copy}", (certificates.folder / made).read_bytes())
        self._running: Running | None = None

    @property
    def socket(self) -> str:
        """Its local socket."""
        return f"{self.STATE}/agent.sock"

    @property
    def pid(self) -> int:
        """The running agent's pid on its stage."""
        assert self._running is not None
        return self._running.pid

    def start(self, *arguments: str) -> None:
        """Start it, again after a kill."""
        self._running = self._stage.popen([*self._argv, *arguments])

    def kill(self) -> None:
        """SIGKILL, and wait for its end: only then does it let go of its journal and socket."""
        if self._running is not None:
            self._running.__exit__(None, None, None)
            self._running = None

    def log(self) -> str:
        """What it said."""
        return self._stage.run(["cat", f"{self.STATE}/agent.log"], check=False).stdout

    def wait_connected(self, client: SchedulerClient) -> None:
        """Until the scheduler has its snapshot."""
        for _ in polls(CONNECTED_WITHIN_S):
            if any(
                host.id == HostId(self._host) and host.state is HostState.CONNECTED and host.topology.nodes
                for host in client.hosts()
            ):
                return
        raise ClusterError(f"the agent of {self._host} did not connect:\n{self.log()}")

    def adopt(self, job: str, pid: int) -> None:
        """``numaplace adopt``, by the local socket."""
        adopt = ["numaplace", "adopt", job, "--pid", str(pid), "--socket", self.socket]
        done = self._stage.run(adopt, timeout_s=ADOPTED_WITHIN_S, check=False)
        if done.exit_code != 0:
            raise ClusterError(f"the job could not be adopted: {done.stderr}\nthe agent said:\n{self.log()}")


def wait_job(client: SchedulerClient, job: str) -> JobView:
    """Until the scheduler knows where the job's pages are."""
    for _ in polls(CONNECTED_WITHIN_S):
        for each in client.jobs():
            if each.id == JobId(job) and any(t.task.residency.resident_bytes for t in each.tasks):
                return each
    raise ClusterError(f"the scheduler does not know the job {job}")


def polls(within_s: float) -> Iterator[None]:
    """Ask again and again, with a little sleep between."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        yield
        time.sleep(_POLL_S)
