"""The lab keeps its word: guests are what their descriptions say, and what runs inside comes back true."""

import errno
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness.cluster import polls
from tests.lab.description import Description
from tests.lab.guest import HOST_ADDRESS, Guest, GuestDiedError
from tests.lab.lab import boot, describe, names
from tests.lab.process import CommandFailedError, GuestTimeoutError
from tests.lab.pytest_plugin import Lab
from tests.lab.qemu import Forward, Options

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
NODES = "/sys/devices/system/node"
EVERYDAY = "two-6.12-v2"
WITHIN_S = 60.0
KERNELS_OWN_KB = 72 * 1024
"""What the kernel keeps of a node for itself: its own image on node 0, page structures elsewhere."""


def numbers(text: str) -> list[int]:
    """A kernel list, `0,2-3`, as numbers."""
    ranges = [part.partition("-") for part in text.strip().split(",") if part]
    return [number for low, _, high in ranges for number in range(int(low), int(high or low) + 1)]


def listed(guest: Guest, file: str) -> list[int]:
    """A kernel list below the nodes' folder."""
    return numbers(guest.read_text(f"{NODES}/{file}"))


def pids_of(guest: Guest, command: str) -> list[str]:
    """The processes whose command line begins so; a machine has no pgrep unless somebody installed it."""
    script = (
        "import pathlib, sys\n"
        "for each in pathlib.Path('/proc').glob('[0-9]*/cmdline'):\n"
        "    if each.read_text(errors='replace').startswith(sys.argv[1].replace(' ', '\\0')): print(each.parent.name)\n"
    )
    return guest.run(["python", "-S", "-c", script, command]).stdout.split()


def wait_pids(guest: Guest, command: str, number: int) -> list[str]:
    """Until there are so many such processes: one that was told to start or to end does so in a moment of its own."""
    for _ in polls(WITHIN_S):
        pids = pids_of(guest, command)
        if len(pids) == number:
            return pids
    raise AssertionError(f"not {number} of {command}: {pids}")


def memory_kb(guest: Guest, node: int) -> int:
    """A node's MemTotal."""
    line = guest.read_text(f"{NODES}/node{node}/meminfo").splitlines()[0]
    return int(line.split()[-2])


@pytest.mark.parametrize("name", names())
def test_a_guest_is_what_its_description_says(lab: Lab, name: str) -> None:
    """Kernel, nodes, CPUs, memory, distances and huge pages are those of the file, as the guest's kernel sees them."""
    description = describe(name)
    guest = lab.guest(name)
    check_kernel(guest, description)
    check_nodes(guest, description)
    check_distances(guest, description)
    check_cgroups(guest, description)


def check_kernel(guest: Guest, description: Description) -> None:
    """The release begins with the description's kernel; sid has any."""
    release = guest.run(["uname", "-r"]).stdout
    assert description.kernel == "sid" or release.startswith(f"{description.kernel}.")


def check_nodes(guest: Guest, description: Description) -> None:
    """Each node is online with its CPUs and memory, and no other is."""
    assert listed(guest, "online") == [node.id for node in description.nodes]
    assert listed(guest, "has_cpu") == [node.id for node in description.nodes if node.cpus]
    assert listed(guest, "has_memory") == [node.id for node in description.nodes if node.memory_mb]
    for node in description.nodes:
        assert listed(guest, f"node{node.id}/cpulist") == list(description.cpus_of(node.id))
        missing_kb = node.memory_mb * 1024 - memory_kb(guest, node.id)
        assert 0 <= missing_kb <= KERNELS_OWN_KB
        pool = Path(f"{NODES}/node{node.id}/hugepages/hugepages-2048kB/nr_hugepages")
        assert int(guest.read_text(pool)) == node.hugepages_2m


def check_distances(guest: Guest, description: Description) -> None:
    """Every row of distances, in both directions."""
    if description.distances:
        rows = [guest.read_text(f"{NODES}/node{node.id}/distance").split() for node in description.nodes]
        assert [[int(value) for value in row] for row in rows] == [list(row) for row in description.distances]


def check_cgroups(guest: Guest, description: Description) -> None:
    """A cpuset can be made: on v2 at the root, on v1 in its own hierarchy, or in unified where the kernel has no v1."""
    mounts = guest.read_text("/proc/self/mounts")
    has_v1_cpuset = "/sys/fs/cgroup/cpuset cgroup " in mounts
    assert has_v1_cpuset == (description.cgroup == "v1" and description.kernel == "6.1")
    hierarchy = "cpuset" if has_v1_cpuset else "unified" if description.cgroup == "v1" else "."
    group = f"/sys/fs/cgroup/{hierarchy}/lab-test"
    guest.run(["mkdir", group])
    guest.write(f"{group}/cpuset.cpus", "0")
    assert guest.read_text(f"{group}/cpuset.cpus") == "0\n"
    guest.run(["rmdir", group])


def test_exit_codes_and_both_outputs_come_back(lab: Lab) -> None:
    """An exit code, a signal, output and error output, each as it was."""
    guest = lab.guest(EVERYDAY)
    result = guest.run(["sh", "-c", "echo out; echo err >&2; exit 7"], check=False)
    assert (result.exit_code, result.stdout, result.stderr) == (7, "out\n", "err\n")
    assert guest.run(["sh", "-c", "kill -9 $$"], check=False).exit_code == -9
    with pytest.raises(CommandFailedError, match="exit 3"):
        guest.run(["sh", "-c", "exit 3"])


def test_a_command_that_cannot_start_says_why(lab: Lab) -> None:
    """The guest's errno comes through."""
    guest = lab.guest(EVERYDAY)
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        guest.run(["no-such-program"])
    with pytest.raises(FileNotFoundError, match="no-such-folder"):
        guest.run(["true"], cwd="/no-such-folder")


def test_commands_run_as_root_with_the_projects_environment(lab: Lab) -> None:
    """The virtual environment's Python is the one on PATH, the project importable, the caller's variables absent."""
    script = "import os, sys, numpy, numaplace; print(os.getuid(), sys.prefix, os.getcwd(), os.environ.get('X'))"
    result = lab.guest(EVERYDAY).run(["python", "-c", script], env={"X": "1"})
    assert result.stdout.split() == ["0", sys.prefix, str(Path(__file__).parents[2]), "1"]


def test_large_input_and_output_pass_unharmed(lab: Lab) -> None:
    """Eight megabytes through a command, in both directions at once."""
    data = bytes(range(256)) * 4 * 8192
    assert lab.guest(EVERYDAY).run(["cat"], stdin=data).stdout_bytes == data


def test_files_pass_both_ways(lab: Lab, tmp_path: Path) -> None:
    """Content and mode go in, content comes out; a kernel file's refusal is its errno."""
    guest = lab.guest(EVERYDAY)
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho ran\n")
    script.chmod(0o755)
    guest.put(script, "/tmp/script")  # noqa: S108 - the guest's own
    assert guest.run(["/tmp/script"]).stdout == "ran\n"  # noqa: S108 - the guest's own
    guest.get("/tmp/script", tmp_path / "back")  # noqa: S108 - the guest's own
    assert (tmp_path / "back").read_text() == script.read_text()
    with pytest.raises(OSError, match="in the guest") as refusal:
        guest.write("/sys/fs/cgroup/numaplace-lab.keep/cpuset.mems", "63")
    assert refusal.value.errno == errno.EINVAL


def test_the_host_is_not_written_to(lab: Lab, tmp_path: Path) -> None:
    """What a guest writes below the host's folders stays in the guest."""
    guest = lab.guest(EVERYDAY)
    written = Path(__file__).with_name("written-by-a-guest")
    guest.write(written, "guest")
    assert guest.read_text(written) == "guest"
    assert not written.exists()
    assert guest.run(["sh", "-c", "echo x > /run/lab/host/x"], check=False).exit_code != 0
    assert list(tmp_path.iterdir()) == []


def test_commands_run_at_once(lab: Lab) -> None:
    """A command that waits for another one does not hold it up."""
    guest = lab.guest(EVERYDAY)
    guest.run(["mkfifo", "/tmp/pipe"])  # noqa: S108 - the guest's own
    with ThreadPoolExecutor() as threads:
        reader = threads.submit(guest.run, ["cat", "/tmp/pipe"])  # noqa: S108 - the guest's own
        guest.run(["sh", "-c", "echo through > /tmp/pipe"])
        assert reader.result().stdout == "through\n"
    guest.run(["rm", "/tmp/pipe"])  # noqa: S108 - the guest's own


def test_lines_come_while_the_command_runs(lab: Lab) -> None:
    """A conversation: a line out, a line in, and the last line without an end."""
    talk = "echo first; read answer; echo got $answer; printf last"
    with lab.guest(EVERYDAY).popen(["sh", "-c", talk]) as process:
        lines = process.lines()
        assert next(lines) == "first"
        assert process.running
        process.write("hello\n")
        assert list(lines) == ["got hello", "last"]
        assert process.wait().exit_code == 0


def test_a_command_that_takes_too_long_is_killed_with_all_it_started(lab: Lab) -> None:
    """The timeout names the command and shows its output; no child of it survives."""
    guest = lab.guest(EVERYDAY)
    with guest.popen(["sh", "-c", "sleep 4242 & echo begun; wait"]) as process:
        assert next(process.lines()) == "begun"
        with pytest.raises(GuestTimeoutError, match=r"(?ms)sleep 4242.*^begun"):
            process.wait(0.1)
    # The kernel has sent the signal to all of them by then; the last one's end is its own.
    wait_pids(guest, "sleep 4242", 0)


def test_a_signal_reaches_the_command(lab: Lab) -> None:
    """A program that handles a signal ends as it wishes."""
    script = "import signal, sys; signal.signal(15, lambda *_: sys.exit(9)); print('ready', flush=True); signal.pause()"
    with lab.guest(EVERYDAY).popen(["python", "-c", script]) as process:
        assert next(process.lines()) == "ready"
        process.signal(15)
        assert process.wait().exit_code == 9


def test_what_a_command_leaves_running_does_not_hold_it_up(lab: Lab) -> None:
    """A command has ended when it has, even if a daemon of its keeps its output open."""
    guest = lab.guest(EVERYDAY)
    result = guest.run(["sh", "-c", "setsid sleep 4343 & echo done"])
    assert result.stdout == "done\n"
    guest.run(["sh", "-c", 'kill "$@"', "sh", *wait_pids(guest, "sleep 4343", 1)])


def test_a_shell_has_a_terminal(lab: Lab) -> None:
    """What the developer's shell runs on: a terminal of the size that was asked for, and its end ends the call."""
    with lab.guest(EVERYDAY).popen(["bash"], tty=(40, 100)) as shell:
        shell.write("stty size; exit 4\n")
        result = shell.wait()
    assert result.exit_code == 4
    assert "40 100" in result.stdout


def test_the_host_is_reached_from_the_guest(lab: Lab) -> None:
    """A server on the host's loopback, as a scheduler is, answers a guest."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        script = (
            f"import socket; s = socket.create_connection(('{HOST_ADDRESS}', {listener.getsockname()[1]}));"
            "print(s.recv(9).decode())"
        )
        answer = threading.Thread(target=lambda: greet(listener))
        answer.start()
        result = lab.guest(EVERYDAY).run(["python", "-c", script])
        answer.join()
    assert result.stdout == "welcome\n"


def greet(listener: socket.socket) -> None:
    """Answer one client."""
    stream, _ = listener.accept()
    with stream:
        stream.sendall(b"welcome")


def test_a_guests_port_is_reached_from_the_host(lab: Lab) -> None:
    """A forwarded port leads from the host's loopback into the guest; several guests live at once."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    other = lab.guest("two-6.1-v2")
    guest = lab.fresh(EVERYDAY, Options(forwards=(Forward(port, 80),)))
    script = "import socket; l = socket.create_server(('', 80)); print('up', flush=True); l.accept()[0].sendall(b'in')"
    with guest.popen(["python", "-c", script]) as server:
        assert next(server.lines()) == "up"
        with socket.create_connection(("127.0.0.1", port)) as stream:
            assert stream.recv(2) == b"in"
    assert {guest.run(["uname", "-r"]).stdout[:4], other.run(["uname", "-r"]).stdout[:4]} == {"6.12", "6.1."}


def test_numa_tools_are_there(lab: Lab) -> None:
    """The rivals of the bench are on PATH whether the host has them or not."""
    guest = lab.guest(EVERYDAY)
    assert "available: 2 nodes (0-1)" in guest.run(["numactl", "-H"]).stdout
    guest.run(["sh", "-c", "command -v migratepages numastat numad"])


def test_a_panic_is_a_real_fault(lab: Lab) -> None:
    """A kernel that panics for its own reasons is reported with its words, and never taken for the emulation's."""
    guest = lab.fresh(EVERYDAY)
    with pytest.raises(GuestDiedError, match=r"(?s)a fault of the guest's kernel.*sysrq triggered crash"):
        guest.write("/proc/sysrq-trigger", "c")
    assert not guest.alive
    with pytest.raises(GuestDiedError, match="sysrq triggered crash"):
        guest.run(["true"])


def test_a_guest_does_not_outlive_the_process_that_booted_it() -> None:
    """SIGKILL of the booter leaves no QEMU behind."""
    script = (
        "import signal\nfrom tests.lab.lab import boot\n"
        f"guest = boot('{EVERYDAY}')\nprint(guest._machine.folder, flush=True)\nsignal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as booter:
        assert booter.stdout is not None
        folder = Path(booter.stdout.readline().strip())
        assert (folder / "console").exists()
        booter.kill()
    # The supervisor removes the run folder after it has killed QEMU.
    assert any(not folder.exists() for _ in polls(WITHIN_S))


def test_a_guest_can_be_closed_at_any_time() -> None:
    """Closing twice is closing once, and a closed guest says so."""
    guest = boot(EVERYDAY)
    guest.close()
    guest.close()
    with pytest.raises(GuestDiedError, match="was closed"):
        guest.run(["true"])
