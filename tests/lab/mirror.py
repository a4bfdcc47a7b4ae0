"""Where Debian packages come from: the machine's own mirror, read from its own apt sources.

Pure: text in, address out. No mirror is named in this project; on a machine that is not a Debian one the environment
names it (NUMAPLACE_DEBIAN_MIRROR), since the mirrors of other distributions hold none of these packages.
"""

import re
from collections.abc import Iterable, Mapping

ENVIRONMENT = "NUMAPLACE_DEBIAN_MIRROR"

# A mirror that serves one of these serves them all; the security archive (`bookworm-security`) serves itself only.
_SUITE = re.compile(r"(bookworm|trixie|forky|sid|stable|testing|unstable|oldstable)(-backports|-updates)?")
_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+\S")


class NoMirrorError(Exception):
    """No Debian mirror is known; the text says which variable names one."""


def debian_mirror(environment: Mapping[str, str], os_release: str, sources: Iterable[str]) -> str:
    """The mirror's address, without a slash at its end.

    Args:
        environment: May name the mirror itself.
        os_release: Text of os-release(5).
        sources: Texts of sources.list(5), in either of its forms.

    Raises:
        NoMirrorError: This is no Debian machine, or its sources name no mirror, and the environment names none.
    """
    named = environment.get(ENVIRONMENT, "").strip()
    if named:
        return named.rstrip("/")
    if "debian" not in re.findall(r'^ID="?([a-z]+)"?\s*$', os_release, re.MULTILINE):
        raise NoMirrorError(f"this machine is no Debian: set {ENVIRONMENT} to the address of a Debian mirror")
    for text in sources:
        for uri, suite in _entries(text):
            if _SUITE.fullmatch(suite):
                return uri.rstrip("/")
    raise NoMirrorError(f"this machine's apt sources name no Debian mirror: set {ENVIRONMENT} to one")


def _entries(text: str) -> list[tuple[str, str]]:
    """Each address with each of its suites, of a text in the one-line or the deb822 form."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = [(match["uri"], match["suite"]) for line in lines if (match := _ONE_LINE.match(line.strip()))]
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        fields = _fields(paragraph)
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes") != "no":
            found += [(uri, suite) for uri in fields.get("uris", "").split() for suite in fields["suites"].split()]
    return found


def _fields(paragraph: str) -> dict[str, str]:
    """A deb822 paragraph's fields, names in lower case, continuation lines joined."""
    joined = re.sub(r"\n[ \t]+", " ", paragraph)
    pairs = (line.partition(":") for line in joined.splitlines())
    fields = {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}
    return {"suites": "", **fields}
