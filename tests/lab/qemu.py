"""QEMU's command line for a description.

Pure. What it keeps: no KVM is assumed (multi-threaded TCG, so CPUs of a guest really run at once); nothing of the
machine's own QEMU settings or devices leaks in; the guest ends when its kernel panics or reboots, so that a fault is
seen at once; only the host's loopback is reached through it, and nothing reaches the guest but over the lab's port.
"""

from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.description import LOCAL_DISTANCE, Description
from tests.lab.frames import PORT_NAME

PROGRAM = "qemu-system-x86_64"
ACCELERATORS = {"tcg": "max", "kvm": "host"}
"""Accelerators, and the CPU that is the whole of each."""
REMOTE_DISTANCE = 20
_KERNEL_ARGS = (
    "console=ttyS0",
    "quiet",
    # A fault must end the guest at once, and be on the console by then.
    "oops=panic",
    "panic=-1",
    "nokaslr",
    "mitigations=off",
    "tsc=reliable",
    "no_timer_check",
    "random.trust_cpu=on",
    "audit=0",
    # A busy host starves a guest's CPUs for seconds: that is no lock-up of its kernel.
    "watchdog_thresh=60",
    "rcupdate.rcu_cpu_stall_timeout=180",
    "hung_task_timeout_secs=0",
)


@dataclass(frozen=True, slots=True)
class Files:
    """What a guest is started from, and where it is talked to."""

    image: Path
    initramfs: Path
    console: Path
    port: Path


@dataclass(frozen=True, slots=True)
class Forward:
    """A TCP port of the host's loopback that leads to a port of the guest."""

    host_port: int
    guest_port: int


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller may add to a description."""

    accelerator: str = "tcg"
    forwards: tuple[Forward, ...] = ()
    disks: tuple[Path, ...] = field(default=())


def command_line(guest: Description, files: Files, options: Options) -> list[str]:
    """The arguments that start `guest`, the program first."""
    return [
        PROGRAM,
        *("-name", guest.name, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *_accelerator(options.accelerator),
        *("-machine", "pc", "-m", f"{guest.memory_mb}M"),
        *_smp(guest, ACCELERATORS[options.accelerator]),
        *_numa(guest),
        *("-kernel", str(files.image), "-initrd", str(files.initramfs)),
        *("-append", " ".join([*_KERNEL_ARGS, *guest.kernel_args])),
        *("-chardev", f"file,id=console,path={_escaped(files.console)}", "-serial", "chardev:console"),
        *("-device", "virtio-serial-pci,max_ports=2"),
        *("-chardev", f"socket,id=port,path={_escaped(files.port)},server=on,wait=off"),
        *("-device", f"virtserialport,chardev=port,name={PORT_NAME}"),
        *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
        *("-netdev", ",".join(["user,id=net", *(_forward(forward) for forward in options.forwards)])),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
        *(part for disk in options.disks for part in ("-drive", f"file={_escaped(disk)},if=virtio,format=raw")),
    ]


def _accelerator(name: str) -> list[str]:
    if name == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    # Five-level page tables only lengthen every walk that has to be emulated.
    return ["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max,la57=off"]


def _smp(guest: Description, cpu: str) -> list[str]:
    """A socket for each node with CPUs where that divides evenly, else for each CPU: no socket spans two nodes."""
    if gap_ids(guest):
        return _smp_with_gap(guest, cpu)
    counts = {node.cpus for node in guest.nodes if node.cpus}
    sockets = guest.cpus // counts.pop() if len(counts) == 1 else guest.cpus
    return ["-smp", f"{guest.cpus},sockets={sockets},cores={guest.cpus // sockets},threads=1"]


def gap_ids(guest: Description) -> list[int]:
    """Node ids that the description leaves out between its nodes."""
    present = {node.id for node in guest.nodes}
    return [node_id for node_id in range(guest.nodes[-1].id) if node_id not in present]


def _smp_with_gap(guest: Description, cpu: str) -> list[str]:
    """CPUs, with a slot for one in each gap that is never filled.

    The kernel numbers nodes in the order in which the firmware's table names them, CPU slots first. So a node that has
    nothing but an empty slot gets its number and never comes online. QEMU fills slots from the first at start; those
    behind a gap are filled one by one.
    """
    slots = _slots(guest)
    total = sum(len(of_node) for of_node in slots.values())
    first_gap = gap_ids(guest)[0]
    filled = [slot for node in guest.nodes if node.id > first_gap for slot in slots[node.id]]
    plugged = [
        part for slot in filled for part in ("-device", f"{cpu}-x86_64-cpu,socket-id={slot},core-id=0,thread-id=0")
    ]
    return ["-smp", f"{guest.cpus - len(filled)},maxcpus={total},sockets={total},cores=1,threads=1", *plugged]


def _slots(guest: Description) -> dict[int, range]:
    """CPU slots of each node id up to the last, an empty one for each gap."""
    slots: dict[int, range] = {}
    first = 0
    cpus = {node.id: node.cpus for node in guest.nodes}
    for node_id in range(guest.nodes[-1].id + 1):
        count = cpus.get(node_id, 1)
        slots[node_id] = range(first, first + count)
        first += count
    return slots


def _numa(guest: Description) -> list[str]:
    """Nodes and distances."""
    memory_mb = {node.id: node.memory_mb for node in guest.nodes}
    arguments: list[str] = []
    for node_id, slots in _slots(guest).items():
        parts = [f"node,nodeid={node_id}"]
        if slots:
            parts.append(f"cpus={slots[0]}-{slots[-1]}")
        if memory_mb.get(node_id):
            arguments += ["-object", f"memory-backend-ram,id=m{node_id},size={memory_mb[node_id]}M"]
            parts.append(f"memdev=m{node_id}")
        arguments += ["-numa", ",".join(parts)]
    return arguments + _distances(guest)


def _distances(guest: Description) -> list[str]:
    """QEMU wants a distance between every two nodes as soon as one is given, those in a gap included."""
    if not guest.distances:
        return []
    ids = [node.id for node in guest.nodes]
    known = {(a, b): guest.distances[i][j] for i, a in enumerate(ids) for j, b in enumerate(ids)}
    arguments: list[str] = []
    for a in range(ids[-1] + 1):
        for b in range(ids[-1] + 1):
            distance = known.get((a, b), LOCAL_DISTANCE if a == b else REMOTE_DISTANCE)
            arguments += ["-numa", f"dist,src={a},dst={b},val={distance}"]
    return arguments


def _forward(forward: Forward) -> str:
    return f"hostfwd=tcp:127.0.0.1:{forward.host_port}-:{forward.guest_port}"


def _escaped(path: Path) -> str:
    """A comma separates QEMU's options, and a doubled one stands for itself."""
    return str(path).replace(",", ",,")
