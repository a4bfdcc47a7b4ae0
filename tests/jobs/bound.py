"""What numactl and `numaplace run` bind a program to, by the kernel's own words: its mappings' policies, its CPUs.

``python -m tests.jobs.bound OPTIONS…`` says it for each string of options. `numaplace run` is forked out of this
process, which has imported it once: it takes seconds to begin in a guest.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable

from numaplace.cli import main as numaplace
from numaplace.kernel import numa_maps
from numaplace.kernel.status import parse_status

SAYING = ["sh", "-c", "cat /proc/$$/numa_maps; echo; cat /proc/$$/status"]
"""A program that begins at once: what the kernel says of it is parsed here."""


def told(command: list[str], begin: Callable[[list[str]], object]) -> dict[str, object]:
    """What a command that is begun in a fork of this process says, and how it ends."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        for number in (1, 2):
            os.dup2(writing, number)
        try:
            begin(command)
        finally:
            os._exit(99)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        words = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {"code": code, **bound_to(words)} if code == 0 else {"code": code, "words": words}


def bound_to(words: str) -> dict[str, object]:
    """The policies and CPUs in what a program said."""
    maps, _, status = words.partition("\n\n")
    policies = {mapping.policy for mapping in numa_maps.parse(f"{maps}\n")}
    rows = sorted((policy.mode.name, int(policy.flags), sorted(policy.nodes)) for policy in policies)
    return {"policies": rows, "cpus": sorted(parse_status(status).cpus_allowed)}


def by_numactl(command: list[str]) -> None:
    """Become numactl."""
    os.execvp("numactl", ["numactl", *command])  # noqa: S606 - no shell is wanted


def by_numaplace(command: list[str]) -> None:
    """Become numaplace run, and let it end as it does."""
    try:
        numaplace(["run", *command])
    except SystemExit as end:
        sys.stderr.flush()
        os._exit(int(str(end.code or 0)))


def main() -> None:
    """One line of JSON: for each string of options what numactl did, and what we do."""
    rows = [
        {"options": options, "numactl": told(command, by_numactl), "ours": told(command, by_numaplace)}
        for options in sys.argv[1:]
        for command in [[*shlex.split(options), *SAYING]]
    ]
    sys.stdout.write(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
