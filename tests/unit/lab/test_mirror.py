"""The Debian mirror is the machine's own, or the one that the environment names."""

import pytest

from tests.lab.mirror import NoMirrorError, debian_mirror

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\n'
UBUNTU = "ID=ubuntu\nID_LIKE=debian\n"
DEB822 = """# made by an installer
Types: deb deb-src
# URIs: http://old.example/debian
URIs: http://mirror.example/debian/
Suites: trixie trixie-updates
Components: main
Signed-By: /k.gpg
"""


@pytest.mark.parametrize(
    "source",
    [
        DEB822,
        "Types: deb\nURIs: http://s.example/debian-security\nSuites: bookworm-security\nComponents: main\n\n" + DEB822,
        "Types: deb\nEnabled: no\nURIs: http://no.example/debian\nSuites: sid\nComponents: main\n\n" + DEB822,
        "Types: deb-src\nURIs: http://src.example/debian\nSuites: sid\nComponents: main\n\n" + DEB822,
        "deb http://mirror.example/debian bookworm main contrib\n",
        "deb-src http://s.example/ sid main\ndeb [arch=amd64 signed-by=/k] http://mirror.example/debian sid main\n",
        "deb https://packages.example/cloud cloud-sdk-bookworm main\ndeb http://mirror.example/debian stable main\n",
        "Types: deb\nURIs: http://n.example/\nSuites:\n nodistro\n\n" + DEB822.replace("Suites: ", "Suites:\n "),
    ],
)
def test_the_machines_own_mirror_is_found(source: str) -> None:
    """In either form of sources, past comments, disabled entries, sources of source code and other archives."""
    assert debian_mirror({}, DEBIAN, [source]) == "http://mirror.example/debian"


def test_the_environment_wins() -> None:
    """NUMAPLACE_DEBIAN_MIRROR names the mirror on any machine."""
    environment = {"NUMAPLACE_DEBIAN_MIRROR": "http://named.example/debian/"}
    assert debian_mirror(environment, UBUNTU, [DEB822]) == "http://named.example/debian"


def test_another_distributions_mirror_is_not_taken() -> None:
    """Elsewhere the error names the variable to set."""
    with pytest.raises(NoMirrorError, match="no Debian: set NUMAPLACE_DEBIAN_MIRROR"):
        debian_mirror({}, UBUNTU, [DEB822])


def test_sources_without_a_mirror_are_refused() -> None:
    """A Debian whose sources name no Debian suite is told the same."""
    with pytest.raises(NoMirrorError, match="set NUMAPLACE_DEBIAN_MIRROR"):
        debian_mirror({}, DEBIAN, ["deb http://packages.example x main\n", ""])
