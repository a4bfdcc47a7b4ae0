"""A small certificate authority for a cluster: one CA, and a certificate each for scheduler, hosts and users.

Whom a certificate is for stands in it as a URI, ``numaplace://host/NAME``, ``numaplace://user/NAME`` or
``numaplace://scheduler``; scheduler.rpc.identity reads it. Keys are EC P-256, readable by their owner only, and no
file is ever overwritten: a CA that is replaced by mistake locks every host out.
"""

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
LEAF_DAYS = 825
CLOCK_SKEW = dt.timedelta(hours=1)
"""Certificates are valid this long before they are made, for hosts whose clocks are behind."""
NAME_CHARS_MAX = 64
"""X.520's bound on a common name; the whole name is in the URI."""
HOST_NAME_CHARS_MAX = 255


class CertificateError(Exception):
    """A certificate cannot be made: what is in the way, and what to do."""


@dataclass(frozen=True, slots=True)
class Made:
    """The files that were written."""

    certificate: Path
    key: Path


def make_ca(folder: Path, names: Sequence[str], now: dt.datetime) -> tuple[Made, Made]:
    """Make the CA and the scheduler's certificate for these DNS names and addresses. Raises CertificateError."""
    _make_folder(folder)
    for name in names:
        _address(name)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name("numaplace CA")
    usage = _key_usage(signs_certificates=True)
    certificate = (
        _builder(subject, subject, key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    ca = _write(folder, "ca", certificate, key)
    return ca, make_scheduler(folder, names, now)


def make_scheduler(folder: Path, names: Sequence[str], now: dt.datetime) -> Made:
    """Make the scheduler's certificate. Raises CertificateError."""
    sans = [*map(_address, names), x509.UniformResourceIdentifier("numaplace://scheduler")]
    return _make_leaf(folder, "scheduler", "scheduler", sans, now, serves=True)


def make_host(folder: Path, host: str, now: dt.datetime) -> Made:
    """Make the certificate of a host's agent. Raises CertificateError."""
    return _make_client(folder, "host", host, now)


def make_user(folder: Path, user: str, now: dt.datetime) -> Made:
    """Make a user's certificate. Raises CertificateError."""
    return _make_client(folder, "user", user, now)


def _make_client(folder: Path, kind: str, name: str, now: dt.datetime) -> Made:
    # A name becomes part of a file's name and of a URI: nothing in it may mean anything there.
    sound = 0 < len(name) <= HOST_NAME_CHARS_MAX and all(c.isascii() and (c.isalnum() or c in "-._@") for c in name)
    if not sound or name.startswith("."):
        raise CertificateError(f"{name!r} is no name of a {kind}: letters, digits and -._@ only")
    sans = [x509.UniformResourceIdentifier(f"numaplace://{kind}/{name}")]
    return _make_leaf(folder, f"{kind}-{name}", f"{kind}:{name}", sans, now, serves=False)


def _make_leaf(
    folder: Path, file: str, common_name: str, sans: Sequence[x509.GeneralName], now: dt.datetime, *, serves: bool
) -> Made:
    ca, ca_key = _read_ca(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if serves else ExtendedKeyUsageOID.CLIENT_AUTH
    certificate = (
        _builder(_name(common_name[:NAME_CHARS_MAX]), ca.subject, key.public_key(), now, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(sans), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return _write(folder, file, certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _address(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise CertificateError(f"{name!r} is neither an address nor a DNS name: {error}") from error


def _read_ca(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
    except FileNotFoundError as error:
        words = f"there is no CA in {folder} ({error.filename} is missing); run numaplace-scheduler certs init first"
        raise CertificateError(words) from error
    except (OSError, ValueError, TypeError) as error:
        raise CertificateError(f"the CA in {folder} cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"{folder / 'ca.key'} is no EC key; was it made by numaplace-scheduler certs init?")
    return certificate, key


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CertificateError(f"{folder} cannot be made: {error.strerror}") from error


def _write(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Made:
    made = Made(folder / f"{name}.pem", folder / f"{name}.key")
    present = [str(path) for path in (made.certificate, made.key) if path.exists()]
    if present:
        raise CertificateError(f"{' and '.join(present)} exist; move them away if they are to be replaced")
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _create(made.key, private)
    _create(made.certificate, certificate.public_bytes(serialization.Encoding.PEM))
    return made


def _create(path: Path, contents: bytes) -> None:
    """Write a new file that its owner alone can read from its first byte on."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError as error:
        raise CertificateError(f"{path} exists; move it away if it is to be replaced") from error
    except OSError as error:
        raise CertificateError(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(contents)
