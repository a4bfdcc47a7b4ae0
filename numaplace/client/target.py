"""Whom to call and how: addresses, TLS, and the channel's retries, keepalives and limits.

Plaintext is for this machine only (loopback, Unix sockets), unless a caller insists.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from numaplace.client.errors import InvalidRequest, Unavailable
from numaplace.model.address import is_loopback_host

SCHEDULER_ADDRESS = "127.0.0.1:7700"
"""Where a scheduler listens unless told otherwise."""
AGENT_SOCKET = Path("/run/numaplace/agent.sock")
"""Where an agent listens unless told otherwise."""
MESSAGE_BYTES_MAX = 64 << 20
SOCKET_PATH_BYTES_MAX = 107
"""unix(7): sun_path, and the byte that ends it."""

_RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                # Only where the service has surely not begun: any other status is an answer.
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_OPTIONS: Sequence[tuple[str, str | int]] = (
    ("grpc.service_config", json.dumps(_RETRIES)),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # A watch that stands for hours notices a peer that is gone without a word.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Addresses of the cluster: a proxy for the web has no business with them.
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """How the two sides prove who they are; files in PEM.

    ``ca``: who vouches for the scheduler, None for the system's roots. ``certificate`` and ``key``: who we are, for
    mutual TLS. ``server_name``: the name in the scheduler's certificate, if it is not the one that is dialled.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """The channel's credentials. Raises InvalidRequest if a file cannot be read or its other half is missing."""
        if (self.certificate is None) != (self.key is None):
            raise InvalidRequest("a certificate and its key come together: give both, or neither")
        return grpc.ssl_channel_credentials(_pem(self.ca), _pem(self.key), _pem(self.certificate))


def _pem(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror}") from error
    if b"-----BEGIN " not in data:
        raise InvalidRequest(f"{path} is no PEM file")
    return data


@dataclass(frozen=True, slots=True)
class Target:
    """One service to call. ``advice`` is for the person whose call nobody answers."""

    address: str
    advice: str
    tls: Tls | None = None

    @property
    def options(self) -> Sequence[tuple[str, str | int]]:
        """The channel's options."""
        name = self.tls.server_name if self.tls else None
        return (*_OPTIONS, ("grpc.ssl_target_name_override", name)) if name else _OPTIONS


def scheduler_target(address: str = SCHEDULER_ADDRESS, *, tls: Tls | None = None, insecure: bool = False) -> Target:
    """A scheduler at ``HOST:PORT``.

    Raises InvalidRequest for anything else, and for plaintext to another machine that was not asked for.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) <= 65_535:  # noqa: PLR2004 - TCP's own limit
        raise InvalidRequest(f"not an address like HOST:PORT: {address!r}")
    if tls is None and not insecure and not is_loopback_host(host):
        raise InvalidRequest(
            f"{host} is another machine, so the call needs TLS: give the cluster's CA (--tls-ca FILE),"
            " or allow plaintext (--insecure)"
        )
    # gRPC says of plaintext to TLS, and of a certificate that is not taken, hardly more than that nobody answers.
    so = "with certificates of one CA" if tls else "and without TLS (else give --tls-ca, --tls-cert and --tls-key)"
    other = "Another one is named by --scheduler or NUMAPLACE_SCHEDULER"
    return Target(address, f"is numaplace-scheduler running there, {so}? {other}", tls)


def agent_target(socket: Path = AGENT_SOCKET) -> Target:
    """The agent of this host, on its Unix socket. Raises Unavailable for a path that no socket can have."""
    if len(os.fsencode(socket.absolute())) > SOCKET_PATH_BYTES_MAX:
        raise Unavailable(f"nobody can listen at {socket}: a socket's path has {SOCKET_PATH_BYTES_MAX} bytes at most")
    advice = (
        f"is numaplace-agent running on this host, with its socket at {socket}?"
        " --socket or NUMAPLACE_SOCKET name another"
    )
    return Target(f"unix:{socket.absolute()}", advice)
