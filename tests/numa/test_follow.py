"""The whole of it on real kernels: a re-pin becomes an event, a decision, an order, pages moved, and a true account."""

import contextlib
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from numaplace.client import SchedulerClient
from numaplace.kernel import numa_maps
from numaplace.model.ids import HostId, JobId, Nodes
from numaplace.model.job import ChangeSource
from numaplace.model.move import LeftReason, MoveState, Strategy
from numaplace.model.policy import Budget, FollowMode, Policy
from numaplace.model.topology import Topology
from numaplace.model.views import Move
from tests.demo.acts import two_nodes
from tests.harness.autonuma import autonuma
from tests.harness.cluster import AgentProcess, Certificates, SchedulerProcess, polls, wait_job
from tests.harness.job import Cpusets, Job
from tests.lab.guest import Guest
from tests.lab.pytest_plugin import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

HOST = "guest"
MB = 1 << 20
JOB_MB = 100
GUESTS = ("two-6.12-v2", "two-6.1-v2", "two-6.1-v1")
WITHIN_S = 120.0
BURST_SETTLE_S = 0.5
HOME_SHARE = 0.85
"""Of the whole process: what it shares with others, such as Python itself, may stay."""
MOST_BYTES = int(0.95 * JOB_MB * MB)
"""Nearly all of the job's own memory."""
ALL_BYTES = int(0.99 * JOB_MB * MB)
"""As good as all of it: so much of a job that touches nothing must come home, whatever AutoNUMA has marked of it."""
SLOW = Policy(budget=Budget(pace_bytes_per_s=8 * MB))
"""So slow that a move of the job takes some seconds: time enough to kill somebody in mid-move."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A scheduler, an agent in a guest, and a job that both know."""

    guest: Guest
    scheduler: SchedulerProcess
    client: SchedulerClient
    agent: AgentProcess
    job: Job
    name: JobId
    cpusets: Cpusets
    topology: Topology
    cold: bool

    def moves(self) -> list[Move]:
        """The job's moves, newest first."""
        return list(self.client.moves(job=self.name))

    def finished(self) -> list[Move]:
        """The job's moves that have ended and moved much, newest first."""
        return [move for move in self.moves() if move.outcome and move.moved_bytes >= MOST_BYTES]

    def wait_finished(self, number: int) -> Move:
        """Until so many of the job's moves have ended and moved much; the newest of them."""
        for _ in polls(WITHIN_S):
            if len(self.finished()) >= number:
                return self.finished()[0]
        raise AssertionError(f"not {number} moves; there are {self.moves()}\n{self.agent.log()}")

    def share_at(self, home: Nodes) -> float:
        """What the kernel itself says of the part of the job's bytes that lies there."""
        held = dict.fromkeys(self.topology.with_memory, 0)
        for mapping in numa_maps.parse(self.guest.read_text(f"/proc/{self.job.pid}/numa_maps")):
            for node, size in mapping.bytes_by_node.items():
                held[node] += size
        return sum(held[node] for node in home) / max(1, sum(held.values()))

    def bytes_at(self, home: Nodes) -> int:
        """What the kernel itself says of the job's own memory: so much of it lies there."""
        mappings = numa_maps.parse(self.guest.read_text(f"/proc/{self.job.pid}/numa_maps"))
        area = next(mapping for mapping in mappings if mapping.start == self.job.ready["address"])
        return sum(size for node, size in area.bytes_by_node.items() if node in home)

    def wait_home(self, home: Nodes) -> float:
        """Until nearly all is there, by the kernel's own word; the share in the end."""
        share = 0.0
        for _ in polls(WITHIN_S):
            share = self.share_at(home)
            if share >= HOME_SHARE:
                break
        return share

    def wait_move(self, wanted: Callable[[Move], bool]) -> Move:
        """The first move of the job that is as wanted."""
        for _ in polls(WITHIN_S):
            for move in self.moves():
                if wanted(move):
                    return move
        raise AssertionError(f"no such move; there are {self.moves()}\n{self.agent.log()}\n{self.scheduler.log()}")


_names = iter(f"job-{number}" for number in range(1_000_000))


@contextlib.contextmanager
def _scene(guest: Guest, policy: Policy | None = None) -> Iterator[Scene]:
    """A cluster of its own: the job runs on the first node, in the cpuset ``a`` of all CPUs."""
    name = JobId(next(_names))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        certificates = Certificates.make(folder / "certs", (HOST,))
        scheduler = stack.enter_context(SchedulerProcess(folder, certificates))
        client = stack.enter_context(scheduler.client())
        # Before 6.3 a kernel flushes the TLBs for each single page: under emulation a hot job then takes minutes.
        cold = guest.description.kernel == "6.1"
        # AutoNUMA would carry a hot job's pages too. A cold job's it only marks, and they must be moved all the same.
        stack.enter_context(autonuma(guest, on=cold))
        guest.run(["rm", "-rf", AgentProcess.STATE])
        agent = AgentProcess(guest, HOST, scheduler, certificates)
        settings = f"{AgentProcess.STATE}/agent.toml"
        guest.write(settings, f'[follow]\nowned_cpusets = ["/numaplace-{name}/owned"]\n')
        agent.start("--config", settings)
        stack.callback(agent.kill)
        if policy is not None:
            client.set_policy(policy, name)
        agent.wait_connected(client)
        topology = client.host(HostId(HOST)).topology
        cpusets = stack.enter_context(Cpusets(guest, f"numaplace-{name}"))
        cpusets.make("a")
        heat = ["--cold"] if cold else []
        job = stack.enter_context(Job(guest, ["tests.jobs.hot", str(JOB_MB), "base", *heat], two_nodes(topology)[0]))
        cpusets.attach("a", job.pid)
        agent.adopt(name, job.pid)
        wait_job(client, name)
        yield Scene(guest, scheduler, client, agent, job, name, cpusets, topology, cold)


@pytest.mark.parametrize("guest", GUESTS)
def test_pages_follow_every_kind_of_repin_and_the_account_is_true(lab: Lab, guest: str) -> None:
    """Affinity from outside, a cpuset.cpus write, another cpuset: the pages come home, and not a byte changes.

    A cpuset that is ours goes along: it allows the old home when the job comes in, and the new one alone in the end.
    """
    with _scene(lab.guest(guest)) as scene:
        first, second = two_nodes(scene.topology)
        home_1, home_2 = scene.topology.home_of(first), scene.topology.home_of(second)
        checksum = scene.job.ask("check")
        scene.cpusets.make("b", second)
        scene.cpusets.make("owned", first, home_2)
        repins: list[tuple[Callable[[], None], Nodes, Strategy]] = [
            (lambda: scene.job.pin(second), home_2, Strategy.MOVE_PAGES),
            (lambda: scene.cpusets.set_cpus("a", first), home_1, Strategy.MOVE_PAGES),
            (lambda: scene.cpusets.attach("b", scene.job.pid), home_2, Strategy.MOVE_PAGES),
            (lambda: scene.cpusets.attach("owned", scene.job.pid), home_1, Strategy.CPUSET_HANDOVER),
        ]
        for number, (repin, home, strategy) in enumerate(repins, 1):
            if scene.cold:
                scene.job.ask("mark")
            repin()
            assert scene.wait_home(home) >= HOME_SHARE, scene.agent.log()
            move = scene.wait_finished(number)
            assert move.outcome is not None
            assert move.order is not None
            assert move.order.home == home
            assert move.outcome.strategy is strategy, move.outcome.strategy_reason
            assert move.outcome.moved_bytes >= MOST_BYTES
            assert move.outcome.counters.host.pgmigrate_success * 4096 >= move.outcome.moved_bytes
            if scene.cold:
                assert scene.bytes_at(home) >= ALL_BYTES, move.outcome
                assert LeftReason.VANISHED not in move.outcome.left, move.outcome.words
        assert scene.cpusets.mems("owned") == home_1
        assert scene.job.ask("check") == checksum
        words = "\n".join(scene.client.explain(scene.name).words)
        assert "home" in words


def test_a_burst_ends_in_one_move_and_a_bounce_in_none(lab: Lab) -> None:
    """A hundred re-pins in a second end in one move to the final home, or in none if it is the old one."""
    # A guest short of CPUs takes more than a second for it: the burst must stay one all the same.
    with _scene(lab.guest("two-6.12-v2"), Policy(settle_s=BURST_SETTLE_S)) as scene:
        first, second = two_nodes(scene.topology)
        burst = (
            "import os, sys, time; pid, a, b, n = (eval(word) for word in sys.argv[1:])\n"
            "tids = [int(t) for t in os.listdir(f'/proc/{pid}/task')]\n"
            "for i in range(n):\n"
            "    [os.sched_setaffinity(t, (b, a)[i % 2]) for t in tids]\n"
            "    time.sleep(0.01)\n"
        )
        argv = ["python", "-S", "-c", burst, str(scene.job.pid), repr(set(first)), repr(set(second))]
        scene.guest.run([*argv, "100"])  # the last of an even number is the old home
        time.sleep(3)
        assert not scene.finished()
        scene.guest.run([*argv, "101"])
        assert scene.wait_home(scene.topology.home_of(second)) >= HOME_SHARE
        scene.wait_finished(1)
        assert len(scene.finished()) == 1


def test_observe_decides_and_moves_nothing(lab: Lab) -> None:
    """A careful admin sees what would be moved, and nothing is."""
    with _scene(lab.guest("two-6.12-v2"), Policy(mode=FollowMode.OBSERVE)) as scene:
        _, second = two_nodes(scene.topology)
        scene.job.pin(second)
        for _ in polls(WITHIN_S):
            # Before the change something small is mostly away already: what Python maps of its libraries.
            decision = scene.client.job(scene.name).tasks[0].decision
            # And at first the change is settling.
            if decision and decision.would_move_bytes >= MOST_BYTES and decision.reason == "observe-only":
                break
        assert decision is not None
        assert decision.would_move_bytes >= MOST_BYTES
        assert decision.reason == "observe-only"
        assert scene.moves() == []
        assert scene.share_at(scene.topology.home_of(second)) < 1 - HOME_SHARE


@pytest.mark.parametrize("victim", ["agent", "scheduler"])
def test_a_kill_in_mid_move_loses_no_order_and_runs_none_twice(lab: Lab, victim: str) -> None:
    """SIGKILL of either side: after its return the same order ends, once, with a true outcome."""
    with _scene(lab.guest("two-6.12-v2"), SLOW) as scene:
        _, second = two_nodes(scene.topology)
        home = scene.topology.home_of(second)
        scene.job.pin(second)
        # What Python maps of its libraries may lie on the other node from the start, and be moved by orders of its own.
        running = scene.wait_move(
            lambda move: (
                move.outcome is None
                and move.order is not None
                and move.order.home == home
                and move.progress is not None
                and move.progress.moved_bytes > 0
            )
        )
        if victim == "agent":
            scene.agent.kill()
            scene.agent.start()
        else:
            scene.scheduler.kill()
            scene.scheduler.start()
        with scene.scheduler.client() as client:
            again = replace(scene, client=client)
            ended = again.wait_move(lambda move: move.id == running.id and move.outcome is not None)
            assert again.wait_home(home) >= HOME_SHARE
            assert ended.state in {MoveState.COMPLETED, MoveState.PARTIAL}
            assert [move.id for move in again.moves()].count(running.id) == 1
        accepted = [line for line in scene.agent.log().splitlines() if "move accepted" in line and running.id in line]
        assert len(accepted) == 1


def test_the_agent_follows_alone_while_the_scheduler_is_away_and_reports_later(lab: Lab) -> None:
    """By the last policies it was given; afterwards the scheduler knows of the move."""
    with _scene(lab.guest("two-6.12-v2")) as scene:
        _, second = two_nodes(scene.topology)
        home = scene.topology.home_of(second)
        scene.scheduler.kill()
        scene.job.pin(second)
        assert scene.wait_home(home) >= HOME_SHARE, scene.agent.log()
        scene.scheduler.start()
        with scene.scheduler.client() as client:
            again = replace(scene, client=client)
            # What Python maps of its libraries may have been moved before, by an order of the scheduler's.
            move = again.wait_move(lambda move: move.outcome is not None and move.moved_bytes >= MOST_BYTES)
            assert move.by_agent_alone


def test_who_wrote_is_told(lab: Lab) -> None:
    """A cpuset.cpus write on v2 names the writer's pid and command."""
    with _scene(lab.guest("two-6.12-v2"), Policy(mode=FollowMode.OBSERVE)) as scene:
        _, second = two_nodes(scene.topology)
        cpus = ",".join(map(str, sorted(second)))
        path = scene.cpusets.path("a") + "/cpuset.cpus"
        writer = f"import time; open({path!r}, 'w').write({cpus!r}); time.sleep(2)"
        with scene.guest.popen(["python", "-S", "-c", writer]) as writing:
            for _ in polls(WITHIN_S):
                change = scene.client.job(scene.name).tasks[0].last_change
                if change is not None:
                    break
            assert change is not None
            assert change.source is ChangeSource.FANOTIFY
            assert change.actor is not None
            assert change.actor.pid == writing.pid
            assert change.actor.command.startswith("python")
            writing.signal(signal.SIGTERM)
