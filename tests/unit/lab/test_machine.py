"""A guest sees what it needs of the host, and its QEMU never outlives the one who wanted it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import supervisor
from tests.lab.kernels import unpacked_image
from tests.lab.machine import covered, environment

WITHIN_S = 60.0


def test_what_the_guests_mounts_hide_is_brought_back() -> None:
    """A project below /tmp or /run is bound to its place again; what lies inside it comes along."""
    places = [Path("/tmp/clone"), Path("/tmp/clone/.venv"), Path("/run/py"), Path("/srv/p"), Path("/tmpx")]  # noqa: S108
    assert covered(places) == [Path("/run/py"), Path("/tmp/clone")]  # noqa: S108


def test_commands_inherit_nothing_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test must not pass because of a variable in its developer's shell."""
    monkeypatch.setenv("NUMAPLACE_ANYTHING", "1")
    assert environment().keys() == {"PATH", "VIRTUAL_ENV", "HOME", "LANG", "TERM"}
    assert environment()["PATH"].startswith(f"{sys.prefix}/bin:")


def test_an_image_that_is_not_xz_stays_as_it_is() -> None:
    """Only an xz payload is worth unpacking on the host."""
    image = bytearray(0x400)
    image[0x248:0x250] = (0).to_bytes(4, "little") + (16).to_bytes(4, "little")
    assert unpacked_image(bytes(image)) == bytes(image)


def supervise(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    """Start the supervisor on a command."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", supervisor.__file__, str(folder), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_the_program_ends_with_its_parents_pipe(tmp_path: Path) -> None:
    """Closing the pipe, as any end of the parent does, kills the program and removes the run folder."""
    folder = tmp_path / "run"
    folder.mkdir()
    with supervise(folder, "sh", "-c", "echo started; exec sleep 1000") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"started\n"
        process.stdin.close()
        # The program held the same output: it ends only when the program is gone.
        assert process.stdout.read() == b""
        assert process.wait(WITHIN_S) != 0
    assert not folder.exists()


def test_the_programs_own_end_is_passed_on(tmp_path: Path) -> None:
    """Its exit code comes back, and its run folder stays for the one who asks why."""
    with supervise(tmp_path, "sh", "-c", "exit 5") as process:
        assert process.wait(WITHIN_S) == 5
    assert tmp_path.exists()
