"""Certificates, and who may say what with them."""

import asyncio
import contextlib
import datetime as dt
import shutil
import stat
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from numaplace.model.move import MoveOrder
from numaplace.v1 import numaplace_pb2 as pb
from numaplace.v1 import numaplace_pb2_grpc
from scheduler.certs import CertificateError, make_ca, make_host, make_scheduler, make_user
from scheduler.rpc.errors import RefusalError
from scheduler.rpc.identity import Caller, caller_of
from tests.unit.scheduler.scene import home_change, make_snapshot, make_task
from tests.unit.scheduler.service import Service, agent, dialled, service

NOW = dt.datetime.now(dt.UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA with a scheduler, two hosts and a user."""
    made = tmp_path_factory.mktemp("certs")
    make_ca(made, ["localhost", "127.0.0.1"], NOW)
    make_host(made, "h1", NOW)
    make_host(made, "h2", NOW)
    make_user(made, "alice", NOW)
    return made


def credentials(folder: Path, name: str | None, ca: Path | None = None) -> grpc.ChannelCredentials:
    """What a client shows; no certificate without a name."""
    root = ((ca or folder) / "ca.pem").read_bytes()
    if name is None:
        return grpc.ssl_channel_credentials(root)
    key, certificate = (folder / f"{name}.key").read_bytes(), (folder / f"{name}.pem").read_bytes()
    return grpc.ssl_channel_credentials(root, key, certificate)


def secured(folder: Path, tmp_path: Path) -> contextlib.AbstractAsyncContextManager[Service]:
    """A service with mTLS."""
    tls = {"ca": folder / "ca.pem", "certificate": folder / "scheduler.pem", "key": folder / "scheduler.key"}
    return service(tmp_path, tls=tls)


def test_agent_with_its_own_certificate_is_served(folder: Path, tmp_path: Path) -> None:
    """The whole thread over mTLS."""

    async def play() -> None:
        shown = credentials(folder, "host-h1")
        async with secured(folder, tmp_path) as running, agent(running.address, "h1", credentials=shown) as hand:
            await hand.say(make_snapshot([make_task()]))
            await hand.say(home_change())
            await hand.hear(MoveOrder)

    asyncio.run(play())


@pytest.mark.parametrize("name", ["host-h2", "user-alice", "scheduler"])
def test_nobody_speaks_for_another_host(folder: Path, tmp_path: Path, name: str) -> None:
    """A certificate of another host, of a user, or of the scheduler does not make an agent of h1."""

    async def play() -> None:
        async with secured(folder, tmp_path) as running:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async with agent(running.address, "h1", credentials=credentials(folder, name)):
                    pass
            assert caught.value.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE)
            if name != "scheduler":  # whose certificate is for servers, so that TLS itself refuses it
                assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
                assert "certs host h1" in (caught.value.details() or "")
            assert not running.shell.state.world.hosts

    asyncio.run(play())


def test_without_a_certificate_of_our_ca_nothing_is_said(folder: Path, tmp_path: Path) -> None:
    """No certificate, one of a foreign CA, or no TLS at all: the connection fails."""
    foreign = tmp_path / "foreign"
    make_ca(foreign, ["localhost"], NOW)
    make_host(foreign, "h1", NOW)

    async def play() -> None:
        async with secured(folder, tmp_path) as running:
            for shown in (credentials(folder, None), credentials(foreign, "host-h1", ca=folder), None):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    async with agent(running.address, "h1", credentials=shown):
                        pass
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert not running.shell.state.world.hosts

    asyncio.run(play())


class Shown:
    """A call whose connection carries these facts, as gRPC gives them."""

    def __init__(self, **facts: list[bytes]) -> None:
        self.facts = facts

    def auth_context(self) -> dict[str, list[bytes]]:
        """What gRPC knows of the peer."""
        return self.facts


SSL = [b"ssl"]
URI = [b"numaplace://user/alice"]


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"transport_security_type": [b"insecure"]},
        {"x509_subject_alternative_name": URI},
        {"transport_security_type": SSL},
        {"transport_security_type": SSL, "x509_subject_alternative_name": [b"https://user/alice", b"alice"]},
    ],
)
def test_with_tls_a_call_without_an_identity_is_refused(facts: dict[str, list[bytes]]) -> None:
    """Whatever gRPC fails to tell never opens a door that TLS should keep."""
    context: Any = Shown(**facts)
    with pytest.raises(RefusalError) as caught:
        caller_of(context, tls=True)
    assert caught.value.status is grpc.StatusCode.UNAUTHENTICATED
    assert caller_of(context, tls=False) == Caller(secured=False)


def test_with_tls_the_certificate_names_the_caller() -> None:
    """The names of ours in it, and no others."""
    context: Any = Shown(transport_security_type=SSL, x509_subject_alternative_name=[*URI, b"DNS:other"])
    assert caller_of(context, tls=True) == Caller(secured=True, names=frozenset({"user/alice"}))


def test_only_users_ask_and_order(folder: Path, tmp_path: Path) -> None:
    """A host's certificate opens a session and nothing else."""

    async def play() -> None:
        async with secured(folder, tmp_path) as running:
            for name, allowed in (("user-alice", True), ("host-h1", False)):
                async with grpc.aio.secure_channel(running.address, credentials(folder, name)) as channel:
                    call = numaplace_pb2_grpc.HostsStub(channel).ListHosts(pb.ListHostsRequest())
                    if allowed:
                        await call
                    else:
                        with pytest.raises(grpc.aio.AioRpcError) as caught:
                            await call
                        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED

    asyncio.run(play())


def test_a_renewed_certificate_is_served_without_a_restart(folder: Path, tmp_path: Path) -> None:
    """At the next handshake; while its files are missing or half replaced, the last good ones are."""
    used, other = tmp_path / "used", tmp_path / "other"
    shutil.copytree(folder, used)
    make_ca(other, ["localhost"], NOW)
    make_host(other, "h1", NOW)

    async def play() -> None:
        async with secured(used, tmp_path) as running:

            async def is_served(authority: Path) -> bool:
                try:
                    async with agent(running.address, "h1", credentials=credentials(authority, "host-h1")):
                        return True
                except grpc.aio.AioRpcError:
                    return False

            assert (await is_served(folder), await is_served(other)) == (True, False)
            (used / "ca.pem").unlink()
            assert await is_served(folder)
            (used / "ca.pem").write_bytes((other / "ca.pem").read_bytes())
            (used / "scheduler.pem").write_bytes((other / "scheduler.pem").read_bytes())
            assert await is_served(folder)
            (used / "scheduler.key").write_bytes((other / "scheduler.key").read_bytes())
            assert (await is_served(folder), await is_served(other)) == (False, True)

    asyncio.run(play())


def test_plaintext_session_needs_no_certificate_on_loopback(tmp_path: Path) -> None:
    """Without TLS anyone of this machine is anything."""

    async def play() -> None:
        async with service(tmp_path) as running, dialled(running.address):
            pass

    asyncio.run(play())


def test_keys_are_their_owners_alone(folder: Path) -> None:
    """Every file is 0600 from its making on."""
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert len(modes) == 10
    assert set(modes.values()) == {0o600}


def test_certificates_say_whose_they_are_and_how_long(folder: Path) -> None:
    """URI, purpose and validity."""
    certificate = x509.load_pem_x509_certificate((folder / "host-h1.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["numaplace://host/h1"]
    assert certificate.not_valid_before_utc < NOW
    assert certificate.not_valid_after_utc > NOW + dt.timedelta(days=365)
    ca = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    certificate.verify_directly_issued_by(ca)


def test_nothing_is_overwritten(folder: Path) -> None:
    """Neither the CA nor a certificate is replaced without a person moving it away."""
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for again in (
        lambda: make_ca(folder, ["localhost"], NOW),
        lambda: make_host(folder, "h1", NOW),
        lambda: make_scheduler(folder, ["localhost"], NOW),
    ):
        with pytest.raises(CertificateError, match="move them away"):
            again()
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["", "../ca", "a/b", ".hidden", "h\n1", "h" * 256, "hôte"])
def test_names_that_mean_something_elsewhere_are_refused(folder: Path, name: str) -> None:
    """A name becomes part of a file's name and of a URI."""
    with pytest.raises(CertificateError, match="is no name"):
        make_host(folder, name, NOW)


def test_host_before_its_ca_is_refused(tmp_path: Path) -> None:
    """The words say what to run first."""
    with pytest.raises(CertificateError, match="certs init first"):
        make_host(tmp_path, "h1", NOW)


def test_address_that_is_none_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    """No half a CA."""
    with pytest.raises(CertificateError, match="neither an address nor a DNS name"):
        make_ca(tmp_path / "new", ["hôst"], NOW)
    assert not list((tmp_path / "new").iterdir())
