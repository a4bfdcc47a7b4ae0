"""Who calls, by the certificate that TLS has verified: a host's agent, or a user.

Certificates name their owner in a URI: ``numaplace://host/NAME`` or ``numaplace://user/NAME`` (``numaplace-scheduler
certs`` makes them). An agent speaks for the host of its certificate alone, and only users ask and order. Without TLS
(loopback, or allowed in the configuration) anyone is anything.

Whether there is TLS is what the server was started with, never what a connection seems to be: a call that ought to
carry a certificate and does not is refused.
"""

from dataclasses import dataclass
from typing import TypeVar

import grpc

from numaplace.model.ids import HostId
from scheduler.rpc.errors import RefusalError

SCHEME = "numaplace://"
_SAN = "x509_subject_alternative_name"

Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True)
class Caller:
    """The names in a verified certificate; ``secured`` is False without TLS, and then nothing is known."""

    secured: bool
    names: frozenset[str] = frozenset()


def caller_of(context: grpc.aio.ServicerContext[Request, Response], *, tls: bool) -> Caller:
    """Who calls a server that was started with TLS or without. Raises RefusalError if TLS names nobody."""
    if not tls:
        return Caller(secured=False)
    auth = context.auth_context()
    proven = b"ssl" in [bytes(value) for value in auth.get("transport_security_type", ())]
    uris = (bytes(value).decode("utf-8", "replace") for value in auth.get(_SAN, ()))
    names = frozenset(uri.removeprefix(SCHEME) for uri in uris if uri.startswith(SCHEME))
    if not proven or not names:
        words = f"no certificate with a {SCHEME} name was shown; make one with: numaplace-scheduler certs host or user"
        raise RefusalError(grpc.StatusCode.UNAUTHENTICATED, "NO_IDENTITY", words)
    return Caller(secured=True, names=names)


def require_host(caller: Caller, host: HostId) -> None:
    """Raise RefusalError unless the caller may speak for this host."""
    if caller.secured and f"host/{host}" not in caller.names:
        owners = ", ".join(sorted(caller.names))
        words = (
            f"the certificate is that of {owners}, not of host/{host};"
            f" make one with: numaplace-scheduler certs host {host}"
        )
        raise RefusalError(grpc.StatusCode.PERMISSION_DENIED, "WRONG_HOST", words)


def require_user(caller: Caller) -> None:
    """Raise RefusalError unless the caller is a user."""
    if caller.secured and not any(name.startswith("user/") for name in caller.names):
        words = "this takes a user's certificate; make one with: numaplace-scheduler certs user NAME"
        raise RefusalError(grpc.StatusCode.PERMISSION_DENIED, "NOT_A_USER", words)
