"""One QEMU process: its run folder, its console, and what of the host its guest needs to find.

It holds no knowledge of what runs inside; `lab.boot` joins it with a channel into a `Guest`.
"""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cpio, kernels, slots
from tests.lab.description import Description
from tests.lab.qemu import PROGRAM, Files, Options, command_line

PROJECT = Path(__file__).resolve().parents[2]
COVERED = (Path("/tmp"), Path("/run"), Path("/dev"), Path("/proc"), Path("/sys"))  # noqa: S108 - the guest's mounts
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PORT_WAIT_S = 10.0


class MachineError(Exception):
    """QEMU could not be started; the text says why."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A QEMU process under its supervisor."""

    process: subprocess.Popen[bytes]
    folder: Path
    environment: Mapping[str, str]
    project: Path = PROJECT

    def console(self) -> str:
        """All that was written to the console; empty once the machine is closed."""
        file = self.folder / "console"
        return file.read_text(errors="replace") if file.exists() else ""

    def wait(self, timeout_s: float) -> bool:
        """Wait for QEMU to end by itself; whether it did."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self, grace_s: float) -> None:
        """Give it `grace_s` to power off, then end it; remove its folder."""
        self.wait(grace_s)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def start(guest: Description, options: Options) -> tuple[Machine, socket.socket]:
    """Start QEMU for `guest`; the machine, and its port's stream. MachineError if QEMU refuses."""
    if shutil.which(PROGRAM) is None:
        raise MachineError(f"{PROGRAM} is missing: run `python -m tests.lab setup`")
    folder = Path(tempfile.mkdtemp(prefix="numaplace-lab-"))
    try:
        return _start(guest, options, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _start(guest: Description, options: Options, folder: Path) -> tuple[Machine, socket.socket]:
    kernel = kernels.prepare(guest.kernel)
    files = Files(kernel.image, folder / "initramfs", folder / "console", folder / "port")
    settings = cpio.archive([cpio.file("lab.conf", _settings(guest).encode())])
    files.initramfs.write_bytes(kernels.initramfs(kernel, guest.modules) + settings)
    supervisor = [sys.executable, "-I", "-S", str(Path(__file__).with_name("supervisor.py")), str(folder)]
    slot = slots.take()
    try:
        with (folder / "qemu.log").open("wb") as log:
            process = subprocess.Popen(
                [*supervisor, *command_line(guest, files, options)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(slot,),
            )
    finally:
        os.close(slot)
    machine = Machine(process, folder, environment())
    try:
        return machine, _connect(machine, files.port)
    except BaseException:
        machine.close(0)
        raise


def _connect(machine: Machine, port: Path) -> socket.socket:
    """Connect to the port as soon as QEMU has made it."""
    deadline = time.monotonic() + _PORT_WAIT_S
    while time.monotonic() < deadline and machine.process.poll() is None:
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.connect(str(port))
        except (FileNotFoundError, ConnectionRefusedError):
            stream.close()
            time.sleep(0.01)
        else:
            return stream
    said = (machine.folder / "qemu.log").read_text(errors="replace").strip()
    raise MachineError(f"QEMU did not start: {said or 'it said nothing'}")


def _settings(guest: Description) -> str:
    """What init reads as shell variables."""
    values = {
        "NAME": guest.name,
        "CGROUP": guest.cgroup,
        "PYTHON": str(Path(sys.executable).resolve()),
        "PROJECT": str(PROJECT),
        "TOOLS": str(kernels.prepare_tools()),
        "KEEP": " ".join(str(place) for place in covered(needed())),
        "HUGEPAGES_2M": " ".join(f"{node.id}:{node.hugepages_2m}" for node in guest.nodes if node.hugepages_2m),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def needed() -> list[Path]:
    """Folders of the host that a guest must see at their own place: the project and its interpreter."""
    return [PROJECT, Path(sys.prefix), Path(sys.base_prefix).resolve()]


def covered(places: Iterable[Path]) -> list[Path]:
    """Those of `places` that the guest's own mounts hide, without those that lie in another of them."""
    hidden = {place for place in places if any(place.is_relative_to(cover) for cover in COVERED)}
    return sorted(place for place in hidden if not any(other in place.parents for other in hidden))


def environment() -> dict[str, str]:
    """What every command in a guest starts with: nothing of the caller's own."""
    venv = Path(sys.prefix)
    return {
        "PATH": f"{venv / 'bin'}:{_SYSTEM_PATH}",
        "VIRTUAL_ENV": str(venv),
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
    }
