"""What the lab needs of the machine: QEMU, and the keyring that Debian's packages are checked with."""

import os
import shutil
import subprocess
from collections.abc import Iterable

from tests.lab.packages import KEYRING
from tests.lab.qemu import PROGRAM

QEMU_PACKAGE = "qemu-system-x86"
KEYRING_PACKAGE = "debian-archive-keyring"


class SetupError(Exception):
    """Something is missing that this user may not install; the text names the command that does."""


def missing_packages() -> list[str]:
    """Packages that must be installed before a guest can boot."""
    needs = {QEMU_PACKAGE: shutil.which(PROGRAM) is not None, KEYRING_PACKAGE: KEYRING.exists()}
    return [package for package, present in needs.items() if not present]


def install_missing() -> None:
    """Install what is missing with apt, as root or through sudo without a password; SetupError otherwise."""
    packages = missing_packages()
    if not packages:
        return
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    prefix = _root_prefix()
    if prefix is None:
        raise SetupError(f"missing: {', '.join(packages)}; as root, run: {' '.join(install)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], install):
        _check(subprocess.run([*prefix, *command], env=environment, check=False).returncode, command)


def _check(exit_code: int, command: Iterable[str]) -> None:
    if exit_code != 0:
        raise SetupError(f"{' '.join(command)} failed with the exit code {exit_code}")


def _root_prefix() -> list[str] | None:
    """What to put before a command so that root runs it; None if that is not possible."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], check=False, capture_output=True).returncode == 0:
        return [sudo, "-n", "--preserve-env=DEBIAN_FRONTEND"]
    return None
