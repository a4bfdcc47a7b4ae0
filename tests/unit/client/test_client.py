"""The client asks, reads and fails as it promises: values out, deadlines kept, every failure of one family."""

import asyncio
import datetime as dt
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from numaplace.client import (
    AgentClient,
    AsyncAgentClient,
    AsyncSchedulerClient,
    Busy,
    InvalidRequest,
    NotAllowed,
    NotFound,
    NotNow,
    NumaplaceError,
    ProtocolError,
    SchedulerClient,
    ServerFault,
    TimedOut,
    Tls,
    Unavailable,
    calls,
    errors,
)
from numaplace.client.calls import Call
from numaplace.client.target import scheduler_target
from numaplace.model.hand import Transfer
from numaplace.model.ids import HostId, JobId, MoveId, NodeId
from numaplace.model.move import MoveState
from numaplace.model.policy import FollowMode, Policy
from numaplace.v1 import numaplace_pb2
from numaplace.wire import WireError
from tests.fakes import samples, services
from tests.fakes.services import Cluster, Machine

ACROSS = Transfer(frozenset({NodeId(0)}), frozenset({NodeId(1)}))
TRAIN, ETL = JobId("train"), JobId("etl")


@pytest.fixture
def cluster() -> Cluster:
    """What the fake scheduler knows."""
    return samples.cluster()


@pytest.fixture
def address(cluster: Cluster) -> Iterator[str]:
    """A fake scheduler's address."""
    with services.scheduler(cluster) as at:
        yield at


@pytest.fixture
def client(address: str) -> Iterator[SchedulerClient]:
    """A client of the fake scheduler."""
    with SchedulerClient(address) as made:
        yield made


@pytest.fixture
def machine() -> Machine:
    """What the fake agent knows."""
    return samples.machine()


@pytest.fixture
def socket(machine: Machine, tmp_path: Path) -> Iterator[Path]:
    """A fake agent's socket."""
    with services.agent(machine, tmp_path / "agent.sock") as at:
        yield at


def test_everything_that_the_scheduler_shows(client: SchedulerClient, cluster: Cluster) -> None:
    """Each method gives the value that the scheduler has."""
    assert client.hosts() == tuple(cluster.hosts.values())
    assert client.host(HostId("beta")) == cluster.hosts[HostId("beta")]
    assert client.jobs() == tuple(cluster.jobs.values())
    assert client.jobs(host=HostId("beta")) == ()
    assert client.job(TRAIN, measure=True) == cluster.jobs[TRAIN]
    assert client.explain(TRAIN) == cluster.explanations[TRAIN]
    assert client.moves() == (samples.RUNNING, samples.ENDED)
    assert client.moves(job=ETL) == (samples.ENDED,)
    assert client.moves(host=HostId("alpha"), only_open=True) == (samples.RUNNING,)
    assert client.move(MoveId("m-0")) == samples.ENDED
    assert list(client.watch_moves(job=TRAIN)) == [samples.RUNNING]


def test_what_is_changed_is_changed(client: SchedulerClient, cluster: Cluster) -> None:
    """A cancellation and policies arrive, and their new state comes back."""
    assert client.cancel(MoveId("m-1")).state is MoveState.CANCELLING
    never = client.set_policy(Policy(mode=FollowMode.NEVER, settle_s=9), TRAIN, ["mode"])
    assert never.policy == Policy(mode=FollowMode.NEVER) == cluster.policies[TRAIN]
    assert client.policy(TRAIN) == never
    assert client.policy().job is None
    client.delete_policy(TRAIN)
    assert {each.job for each in client.policies()} == {None, ETL}


def test_the_asynchronous_client_says_the_same(address: str, cluster: Cluster, socket: Path, machine: Machine) -> None:
    """Same calls, same values, same errors."""

    async def ask() -> None:
        async with AsyncSchedulerClient(address) as client:
            assert await client.hosts() == tuple(cluster.hosts.values())
            assert await client.host(HostId("alpha")) == cluster.hosts[HostId("alpha")]
            assert await client.jobs() == tuple(cluster.jobs.values())
            assert await client.job(TRAIN) == cluster.jobs[TRAIN]
            assert await client.explain(TRAIN) == cluster.explanations[TRAIN]
            assert await client.moves(only_open=True) == (samples.RUNNING,)
            assert await client.move(MoveId("m-0")) == samples.ENDED
            assert [move async for move in client.watch_moves()] == [samples.RUNNING, samples.ENDED]
            assert (await client.cancel(MoveId("m-1"))).state is MoveState.CANCELLING
            assert (await client.set_policy(Policy(), TRAIN)).policy == (await client.policy(TRAIN)).policy
            await client.delete_policy(TRAIN)
            assert len(await client.policies()) == 2
            with pytest.raises(NotFound, match="no job is called nobody"):
                await client.explain(JobId("nobody"))
        async with AsyncAgentClient(socket) as agent:
            assert await agent.status() == machine.status
            assert await agent.tasks() == (samples.task("train"),)
            assert await agent.show(pid=4711) == machine.shown[4711]
            assert (await agent.adopt(JobId("mine"), pid=4711)).job == "mine"
            assert await agent.release(JobId("mine")) == 1
            assert [event async for event in agent.watch()] == machine.events
            with pytest.raises(NotFound):
                await agent.show(pid=1)

    asyncio.run(ask())


def test_everything_that_the_agent_tells(socket: Path, machine: Machine) -> None:
    """Each method gives the value that the agent has."""
    with AgentClient(socket) as agent:
        assert agent.status() == machine.status
        assert agent.tasks() == (samples.task("train"),)
        assert agent.show(job=TRAIN) == agent.show(cgroup="/slurm/train") == machine.shown[4711]
        assert agent.adopt(JobId("mine"), cgroup="/slurm/train").job == "mine"
        assert agent.release(JobId("mine")) == 1
        assert agent.release(JobId("mine")) == 0
        assert list(agent.watch()) == machine.events


def test_a_list_in_pages_is_one_list(client: SchedulerClient, cluster: Cluster) -> None:
    """However small the pages."""
    cluster.page_size = 1
    assert client.jobs() == tuple(cluster.jobs.values())
    assert cluster.calls == ["ListJobs", "ListJobs"]


def test_a_list_without_an_end_is_refused(client: SchedulerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that always has one more page does not hold us for ever."""
    monkeypatch.setattr("numaplace.client.channel.PAGES_MAX", 3)
    with pytest.raises(ProtocolError, match="no end after 3 pages"):
        client.whole(lambda _: replace(calls.list_jobs(), read=lambda _: calls.Page((), "more")))


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (lambda client: client.host(HostId("nobody")), "HOST_NOT_FOUND"),
        (lambda client: client.job(JobId("nobody")), "JOB_NOT_FOUND"),
        (lambda client: client.cancel(MoveId("nobody")), "MOVE_NOT_FOUND"),
        (lambda client: client.policy(TRAIN), "POLICY_NOT_FOUND"),
    ],
)
def test_what_is_not_there_is_not_found(
    client: SchedulerClient, ask: Callable[[SchedulerClient], object], reason: str
) -> None:
    """With the service's words and its stable reason."""
    with pytest.raises(NotFound) as caught:
        ask(client)
    assert caught.value.reason == reason
    assert "nobody" in caught.value.words or "train" in caught.value.words


def test_what_comes_too_late_is_refused_as_such(client: SchedulerClient) -> None:
    """A move that has ended cannot be cancelled."""
    with pytest.raises(NotNow, match="ended already") as caught:
        client.cancel(MoveId("m-0"))
    assert caught.value.reason == "MOVE_ENDED"


def test_a_call_is_tried_again_while_the_service_starts(client: SchedulerClient, cluster: Cluster) -> None:
    """UNAVAILABLE is tried again; an answer never is."""
    cluster.unavailable = 2
    assert len(client.hosts()) == 2
    assert cluster.calls == ["ListHosts"] * 3
    cluster.calls.clear()
    with pytest.raises(NotFound):
        client.job(JobId("nobody"))
    assert cluster.calls == ["GetJob"]


def test_a_service_that_does_not_answer_ends_in_time(client: SchedulerClient, cluster: Cluster) -> None:
    """Every call has a deadline."""
    cluster.delay = threading.Event()
    try:
        with pytest.raises(TimedOut, match="in time"):
            client.run(replace(calls.get_host(HostId("alpha")), deadline_s=0.1))
    finally:
        cluster.delay.set()


@pytest.mark.parametrize("kind", [kind for kind in vars(calls).values() if callable(kind)])
def test_every_unary_call_has_a_deadline(kind: Callable[..., Any]) -> None:
    """Only streams stand for as long as they are wanted."""
    arguments: dict[Any, tuple[Any, ...]] = {
        calls.get_host: ("h",), calls.get_job: ("j",), calls.explain_job: ("j",), calls.get_move: ("m",),
        calls.cancel_move: ("m",), calls.get_policy: ("j",), calls.update_policy: ("j", Policy()),
        calls.delete_policy: ("j",), calls.adopt: ("j",), calls.release: ("j",),
            calls.move_by_hand: (ACROSS, Policy()), calls.predict_move: (ACROSS, Policy()),
            calls.cancel_local_move: ("m",),
    }  # fmt: skip
    if getattr(kind, "__module__", "") == calls.__name__ and kind.__name__[0].islower() and kind is not calls._parent:
        call: Call[object] = kind(*arguments.get(kind, ()))
        streams = "Watch" in call.method or call.method.endswith("/Move")
        assert (call.deadline_s is None) == streams


def test_nobody_there_is_said_with_the_address_and_advice(tmp_path: Path) -> None:
    """The first thing that goes wrong for a newcomer."""
    with SchedulerClient("127.0.0.1:1") as client, pytest.raises(Unavailable) as caught:
        client.hosts()
    assert "127.0.0.1:1; is numaplace-scheduler running there," in caught.value.words
    with AgentClient(tmp_path / "none.sock") as agent, pytest.raises(Unavailable, match="is numaplace-agent running"):
        agent.status()


def test_an_answer_that_cannot_be_understood_is_said_to_be_so(client: SchedulerClient) -> None:
    """A newer service may say things that this version does not know."""

    def read(_: object) -> NoReturn:
        raise WireError("host.state", "is 9, which is not known")

    with pytest.raises(ProtocolError, match=r"host\.state: is 9"):
        client.run(replace(calls.list_hosts(), read=read))


def test_a_call_that_the_service_does_not_know(client: SchedulerClient) -> None:
    """An older service says so, and so do we."""
    unknown = Call("/numaplace.v1.Hosts/Sing", numaplace_pb2.GetHostRequest(), numaplace_pb2.Host, lambda _: None)
    with pytest.raises(ServerFault, match="does not know this call"):
        client.run(unknown)


class _Failure(grpc.RpcError):
    """A status as gRPC raises it."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        """The code."""
        return self._code

    def details(self) -> str:
        """The words."""
        return "a\x1b[2Jb"

    def trailing_metadata(self) -> tuple[Any, ...]:
        """Nothing."""
        return ()


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_has_its_error(code: grpc.StatusCode) -> None:
    """The table is complete, and what a peer says cannot control a terminal."""
    assert code in errors._KINDS
    error = errors.translated(_Failure(code), "there", "look there")
    assert type(error) is errors._KINDS[code]
    assert isinstance(error, NumaplaceError)
    assert "\x1b" not in error.words
    assert isinstance(error, Busy) == (code is grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert isinstance(error, NotAllowed) == (code.name in {"PERMISSION_DENIED", "UNAUTHENTICATED"})


@pytest.mark.parametrize("address", ["", "host", ":1", "host:", "host:0", "host:65536", "host:x", "host:-1", "h:1²"])
def test_an_address_is_host_and_port(address: str) -> None:
    """Anything else is refused before anything is dialled."""
    with pytest.raises(InvalidRequest, match="HOST:PORT"):
        SchedulerClient(address)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1"])
def test_plaintext_is_for_this_machine(address: str) -> None:
    """Nothing leaves the machine in the clear unless someone insists."""
    assert scheduler_target(address).tls is None


@pytest.mark.parametrize("address", ["10.0.0.1:1", "sched1:7700", "localhost.example.org:1", "[::2]:1"])
def test_another_machine_needs_tls_or_an_explicit_word(address: str) -> None:
    """The refusal names both ways out."""
    with pytest.raises(InvalidRequest, match=r"--tls-ca FILE.*--insecure"):
        scheduler_target(address)
    assert scheduler_target(address, insecure=True).tls is None
    assert scheduler_target(address, tls=Tls()).tls == Tls()
    assert scheduler_target(address, tls=Tls(), insecure=True).tls == Tls()  # leave to do without is no order to


def test_files_that_cannot_be_are_refused(tmp_path: Path) -> None:
    """A wrong path is a clear error, not a handshake that fails."""
    with pytest.raises(InvalidRequest, match="No such file"):
        Tls(ca=tmp_path / "none.pem").credentials()
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("hello")
    with pytest.raises(InvalidRequest, match="no PEM file"):
        Tls(ca=wrong).credentials()
    with pytest.raises(InvalidRequest, match="come together"):
        Tls(certificate=wrong).credentials()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for ``sched1`` that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sched1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("sched1")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def test_mutual_tls(tmp_path: Path, cluster: Cluster) -> None:
    """Both sides prove who they are; who cannot gets no answer, and learns where to look."""
    certificate, key = _certificate(tmp_path)
    pair = [(key.read_bytes(), certificate.read_bytes())]
    credentials = grpc.ssl_server_credentials(pair, certificate.read_bytes(), require_client_auth=True)
    with services.scheduler(cluster, credentials) as address:
        good = Tls(certificate, certificate, key, "sched1")
        with SchedulerClient(address, tls=good) as client:
            assert len(client.hosts()) == 2
        for bad in (Tls(certificate, server_name="sched1"), replace(good, server_name="other")):
            with (
                SchedulerClient(address, tls=bad) as client,
                pytest.raises(Unavailable, match="is numaplace-scheduler running there, with certificates of one CA"),
            ):
                client.hosts()
