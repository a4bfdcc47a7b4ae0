"""What numactl and `numaplace run` bind a program to, by the kernel's own words: its mappings' policies, its CPUs.

``python -m tests.jobs.bound OPTIONS…`` says it for each string of options; those after a cgroup's folder are tried in
that cgroup. `numaplace run` is forked out of this
process, which has built that one command: beginning anew takes seconds in a guest.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import typer
import typer.core
import typer.main

from numaplace.cli import exits, run
from numaplace.kernel import numa_maps
from numaplace.kernel.status import parse_status

SAYING = ["sh", "-c", "cat /proc/$$/numa_maps; echo; cat /proc/$$/status"]
"""A program that begins at once: what the kernel says of it is parsed here."""


def _built() -> typer.core.TyperCommand:
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    run.add_to(app)
    return cast("typer.core.TyperCommand", typer.main.get_command(app))


OURS = _built()


def told(command: list[str], begin: Callable[[list[str]], object], cgroup: Path | None) -> dict[str, object]:
    """What a command that is begun in a fork of this process, in a cgroup, says, and how it ends."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        for number in (1, 2):
            os.dup2(writing, number)
        if cgroup is not None:
            (cgroup / "cgroup.procs").write_text(str(os.getpid()))
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
    """Become numaplace run, or end as it does."""
    code = exits.FAILED
    try:
        OURS.main(command, prog_name="numaplace run")
    except exits.Failure as failure:
        sys.stderr.write(failure.words)
        code = failure.code
    except SystemExit as end:
        code = int(str(end.code))
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """One line of JSON: for each string of options what numactl did, and what we do."""
    rows: list[dict[str, object]] = []
    cgroup: Path | None = None
    for options in sys.argv[1:]:
        if options.startswith("/"):
            cgroup = Path(options)
            continue
        command = [*shlex.split(options), *SAYING]
        numactl, ours = told(command, by_numactl, cgroup), told(command, by_numaplace, cgroup)
        rows.append({"options": options, "numactl": numactl, "ours": ours})
    sys.stdout.write(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
