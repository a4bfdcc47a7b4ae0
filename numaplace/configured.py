"""What settings mean once they are read, without the library that reads and checks them.

A service that runs for months should not keep that library in memory, so what it needs of its settings at work is here:
plain values, made from what :mod:`numaplace.configuration` has checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from numaplace.model.policy import Budget, FollowMode, Policy
from numaplace.model.residency import PageKind


class ConfigurationError(Exception):
    """The configuration cannot be used; the words name the file, the key and the remedy."""


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """Files for mTLS; all three, or none for plaintext (on loopback only, unless ``insecure``)."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False

    def files(self) -> tuple[bytes, bytes, bytes] | None:
        """Contents of CA, certificate and key, or None for plaintext. Raises ConfigurationError."""
        paths = (self.ca, self.certificate, self.key)
        if not any(paths):
            return None
        if not all(paths):
            raise ConfigurationError("[tls]: ca, certificate and key belong together; make them with"
                                     " numaplace-scheduler certs")  # fmt: skip
        try:
            ca, certificate, key = (path.read_bytes() for path in paths if path is not None)
        except OSError as error:
            raise ConfigurationError(f"[tls]: {error}") from error
        return ca, certificate, key


def tls_of(values: Mapping[str, Any]) -> TlsPaths:
    """The paths of a ``[tls]`` section, which may have been through JSON."""
    ca, certificate, key = (
        None if values[name] is None else Path(values[name]) for name in ("ca", "certificate", "key")
    )
    return TlsPaths(ca, certificate, key, values["insecure"])


def policy_of(values: Mapping[str, Any]) -> Policy:
    """The policy of a ``[policy]`` section, which may have been through JSON. Raises ValueError."""
    rest = dict(values)
    budget = Budget(**{field.name: rest.pop(field.name) for field in fields(Budget)})
    mode, kinds = FollowMode(rest.pop("mode")), frozenset(PageKind(kind) for kind in rest.pop("kinds"))
    return Policy(mode, kinds, budget, **rest)
