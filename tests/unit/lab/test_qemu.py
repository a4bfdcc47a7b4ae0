"""A description becomes exactly the machine it describes, as QEMU is told."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tests.lab.description import Description, NodeSpec
from tests.lab.lab import describe, names
from tests.lab.qemu import Files, Forward, Options, command_line, gap_ids

FILES = Files(Path("/k/image"), Path("/r/initramfs"), Path("/r/con,sole"), Path("/r/port"))


def line(guest: Description, options: Options | None = None) -> list[str]:
    """The command line of `guest`."""
    return command_line(guest, FILES, options or Options())


def values(arguments: list[str], option: str) -> list[str]:
    """Each value that is given to `option`, in order."""
    return [value for name, value in pairwise(arguments) if name == option]


def test_nodes_get_their_cpus_memory_and_distances() -> None:
    """The everyday guest, in full."""
    arguments = line(describe("two-6.12-v2"))
    assert values(arguments, "-smp") == ["4,sockets=2,cores=2,threads=1"]
    assert values(arguments, "-m") == ["2048M"]
    assert values(arguments, "-object") == [f"memory-backend-ram,id=m{node},size=1024M" for node in (0, 1)]
    assert values(arguments, "-numa") == [
        "node,nodeid=0,cpus=0-1,memdev=m0",
        "node,nodeid=1,cpus=2-3,memdev=m1",
        "dist,src=0,dst=0,val=10",
        "dist,src=0,dst=1,val=21",
        "dist,src=1,dst=0,val=21",
        "dist,src=1,dst=1,val=10",
    ]


def test_a_node_may_lack_memory_or_cpus() -> None:
    """What a node lacks is not mentioned, and without distances the firmware's own stand."""
    guest = Description("a", "6.12", "v2", (NodeSpec(0, 1, 512), NodeSpec(1, 2, 0), NodeSpec(2, 0, 256)))
    assert values(line(guest), "-numa") == [
        "node,nodeid=0,cpus=0-0,memdev=m0",
        "node,nodeid=1,cpus=1-2",
        "node,nodeid=2,memdev=m2",
    ]


def test_unequal_nodes_share_no_socket() -> None:
    """The kernel distrusts a socket that spans two nodes: then each CPU is a socket."""
    guest = Description("a", "6.12", "v2", (NodeSpec(0, 1, 512), NodeSpec(1, 2, 512)))
    assert values(line(guest), "-smp") == ["3,sockets=3,cores=1,threads=1"]


def test_a_gap_is_a_node_with_an_empty_cpu_slot() -> None:
    """The missing id gets a slot that is never filled; the slots behind it are filled one by one."""
    guest = replace(describe("gap-6.12-v2"), distances=())
    arguments = line(guest)
    assert gap_ids(guest) == [1]
    assert values(arguments, "-smp") == ["2,maxcpus=5,sockets=5,cores=1,threads=1"]
    cpus = [device for device in values(arguments, "-device") if "cpu" in device]
    assert cpus == [f"max-x86_64-cpu,socket-id={slot},core-id=0,thread-id=0" for slot in (3, 4)]
    assert values(arguments, "-numa") == [
        "node,nodeid=0,cpus=0-1,memdev=m0",
        "node,nodeid=1,cpus=2-2",
        "node,nodeid=2,cpus=3-4,memdev=m2",
    ]


def test_distances_cover_the_gap_too() -> None:
    """QEMU wants every pair as soon as one is given."""
    distances = [value for value in values(line(describe("gap-6.12-v2")), "-numa") if value.startswith("dist")]
    assert len(distances) == 9
    assert "dist,src=0,dst=2,val=21" in distances


def test_no_kvm_is_assumed_and_a_fault_ends_the_guest() -> None:
    """CPUs are emulated each in its own thread, an oops panics and a panic ends QEMU."""
    arguments = line(describe("two-6.1-v1"))
    assert values(arguments, "-accel") == ["tcg,thread=multi,tb-size=256"]
    kernel_arguments = values(arguments, "-append")[0].split()
    assert {"oops=panic", "panic=-1"} <= set(kernel_arguments)
    assert {"-no-reboot", "-nodefaults", "-no-user-config"} <= set(arguments)


def test_what_the_caller_adds_is_there() -> None:
    """Ports lead from the host's loopback only; disks are virtio; the description's kernel arguments come last."""
    guest = replace(describe("two-6.12-v2"), kernel_args=("numa_balancing=0",))
    options = Options(forwards=(Forward(9000, 80), Forward(9001, 81)), disks=(Path("/d/a,b"),))
    arguments = line(guest, options)
    assert values(arguments, "-netdev") == ["user,id=net,hostfwd=tcp:127.0.0.1:9000-:80,hostfwd=tcp:127.0.0.1:9001-:81"]
    assert values(arguments, "-drive") == ["file=/d/a,,b,if=virtio,format=raw"]
    assert values(arguments, "-append")[0].endswith(" numa_balancing=0")


def test_a_comma_in_a_path_is_no_separator() -> None:
    """QEMU splits options at commas; a path's own is doubled."""
    assert "file,id=console,path=/r/con,,sole" in values(line(describe("two-6.12-v2")), "-chardev")


@pytest.mark.parametrize("name", names())
def test_the_hosts_root_is_read_only_in_every_guest(name: str) -> None:
    """No guest can write to the machine that runs it."""
    assert "readonly=on" in values(line(describe(name)), "-fsdev")[0].split(",")
