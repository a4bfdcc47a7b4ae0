"""The gRPC server with all services, health and reflection, on one address."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from numaplace.v1 import numaplace_pb2, numaplace_pb2_grpc, session_pb2
from scheduler.ports import Desk, Observer
from scheduler.rpc.services import Hosts, Jobs, Moves, Policies
from scheduler.rpc.session import AgentSessions, add_to

MESSAGE_BYTES_MAX = 64 << 20
"""A snapshot of 50 000 tasks is about half of this."""
OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.so_reuseport", 0),
    # Agents ping every 10 s, calls or none; a host that is gone without a word is noticed as soon.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)
SERVICES = tuple(
    descriptor.full_name
    for file in (session_pb2.DESCRIPTOR, numaplace_pb2.DESCRIPTOR)
    for descriptor in file.services_by_name.values()
)


class ListenError(Exception):
    """The address cannot be listened on."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Contents of the PEM files for mTLS."""

    ca: bytes
    certificate: bytes
    key: bytes


class Renewal:
    """The certificate as it is on disk at each handshake: a renewed one needs no restart.

    Files that cannot be read, or do not belong together because they are just being replaced, leave the last good ones
    in use: gRPC keeps what it has if it is given nothing, or nothing sound.
    """

    def __init__(self, first: TlsFiles, read: Callable[[], TlsFiles | None]) -> None:
        """``read`` gives what the files hold now, None if they cannot be read."""
        self._last, self._read = first, read

    def credentials(self) -> grpc.ServerCredentials:
        """For a port; clients must show a certificate."""
        first = _configuration(self._last)
        # gRPC's stubs do not know that None says that nothing is new.
        return grpc.dynamic_ssl_server_credentials(first, self.fetch, require_client_authentication=True)  # type: ignore[arg-type]

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """What is new since the last handshake, None for nothing."""
        files = self._read()
        if files is None or files == self._last:
            return None
        self._last = files
        return _configuration(files)


def _configuration(tls: TlsFiles) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(tls.key, tls.certificate)], tls.ca)


class Server:
    """All services of the scheduler; :meth:`start` and :meth:`stop` once each."""

    def __init__(self, desk: Desk, observer: Observer, listen: str, tls: Renewal | None) -> None:
        self._listen = listen
        self._server = grpc.aio.server(options=OPTIONS)
        secured = tls is not None
        self._health = health.aio.HealthServicer()
        add_to(self._server, AgentSessions(desk, observer, tls=secured))
        numaplace_pb2_grpc.add_HostsServicer_to_server(Hosts(desk, observer, tls=secured), self._server)
        numaplace_pb2_grpc.add_JobsServicer_to_server(Jobs(desk, observer, tls=secured), self._server)
        numaplace_pb2_grpc.add_MovesServicer_to_server(Moves(desk, observer, tls=secured), self._server)
        numaplace_pb2_grpc.add_PoliciesServicer_to_server(Policies(desk, observer, tls=secured), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        self.port = self._bind(tls)

    def _bind(self, tls: Renewal | None) -> int:
        try:
            if tls is None:
                return self._server.add_insecure_port(self._listen)
            return self._server.add_secure_port(self._listen, tls.credentials())
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {self._listen}: is another scheduler running? ({error})") from error

    async def start(self) -> None:
        """Serve from now on."""
        await self._server.start()
        for service in (*SERVICES, ""):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float) -> None:
        """Say that the service ends, take no new calls, and end the open ones after the grace."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)
