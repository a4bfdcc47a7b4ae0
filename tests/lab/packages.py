"""Debian packages of any suite, fetched by apt itself into the user's cache.

No root is needed and the machine's own apt is not touched: each suite has a state folder of its own. Signatures are
checked as ever.
"""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.mirror import debian_mirror

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_APT_TIMEOUT_S = 600


class PackageError(Exception):
    """A package could not be found, fetched or unpacked; the text holds what apt said."""


def cache_folder() -> Path:
    """The lab's folder in the user's cache; made if it is missing."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "numaplace" / "lab"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def cache_lock() -> Iterator[None]:
    """Only one process at a time prepares anything in the cache."""
    with (cache_folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def placed(target: Path) -> Iterator[Path]:
    """A scratch folder beside `target` that takes its place only if the block succeeds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f"{target.name}.{os.getpid()}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
        if target.exists():
            shutil.rmtree(target)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Package:
    """A package as the suite's index has it; `depends` are plain names, of each alternative the first."""

    name: str
    version: str
    depends: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite of the mirror, with its index fetched."""

    name: str
    folder: Path

    def show(self, package: str) -> Package:
        """The newest version of `package`; PackageError if the suite has none."""
        text = self._apt("apt-cache", "show", "--no-all-versions", package)
        return parse_package(text)

    def unpack(self, packages: list[str], target: Path) -> None:
        """Fetch `packages` and unpack them into `target`; their archives are not kept."""
        downloads = self.folder / "downloads"
        shutil.rmtree(downloads, ignore_errors=True)
        downloads.mkdir()
        self._apt("apt-get", "-q", "download", *packages, cwd=downloads)
        for archive in sorted(downloads.glob("*.deb")):
            _run(["dpkg-deb", "-x", str(archive), str(target)])
        shutil.rmtree(downloads)

    def refresh(self) -> None:
        """Fetch the index."""
        self._apt("apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update")

    def _apt(self, program: str, *arguments: str, cwd: Path | None = None) -> str:
        settings = {
            "Dir::State": self.folder / "state",
            "Dir::State::lists": self.folder / "state/lists",
            "Dir::State::status": self.folder / "status",
            "Dir::Cache": self.folder / "cache",
            "Dir::Etc::sourcelist": self.folder / "debian.sources",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "Acquire::Languages": "none",
            # apt's own user may not write below the home of the one who runs this.
            "APT::Sandbox::User": "root",
        }
        options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
        return _run([program, *options, *arguments], cwd=cwd)


def open_suite(name: str, *, fresh: bool = False) -> Suite:
    """The suite `name`, its index fetched if it never was, or if `fresh`; the caller holds the cache's lock."""
    suite = Suite(name, cache_folder() / "apt" / name)
    indexed = suite.folder / "indexed"
    if indexed.exists() and not fresh:
        return suite
    if not KEYRING.exists():
        raise PackageError(f"{KEYRING} is missing: install the package debian-archive-keyring")
    for part in ("state/lists/partial", "cache/archives/partial"):
        (suite.folder / part).mkdir(parents=True, exist_ok=True)
    (suite.folder / "status").write_text("")
    (suite.folder / "debian.sources").write_text(
        f"Types: deb\nURIs: {machine_mirror()}\nSuites: {name}\nComponents: main\nArchitectures: amd64\n"
        f"Targets: Packages\nSigned-By: {KEYRING}\n"
    )
    suite.refresh()
    indexed.write_text("")
    return suite


def machine_mirror() -> str:
    """This machine's Debian mirror, as `debian_mirror` finds it."""
    folder = Path("/etc/apt")
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    texts = [file.read_text() for file in files if file.is_file() and file.suffix in (".list", ".sources")]
    release = Path("/etc/os-release")
    return debian_mirror(os.environ, release.read_text() if release.exists() else "", texts)


def parse_package(text: str) -> Package:
    """The first paragraph of `apt-cache show`."""
    fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", text.partition("\n\n")[0], re.MULTILINE))
    if "Package" not in fields or "Version" not in fields:
        raise PackageError(f"apt-cache showed no package: {text[:200]!r}")
    depends = [
        alternatives.split("|")[0].split()[0]
        for alternatives in fields.get("Depends", "").split(",")
        if alternatives.strip()
    ]
    return Package(fields["Package"], fields["Version"], tuple(depends))


def _run(command: list[str], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_APT_TIMEOUT_S,
        )
    except FileNotFoundError as error:
        raise PackageError(f"{command[0]} is missing: the lab's kernels come from Debian packages") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise PackageError(f"{' '.join([command[0], *command[-2:]])} failed: {said}")
    return done.stdout
