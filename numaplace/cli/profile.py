"""``numaplace profile``: a page log of a process, by what this host can see; needs no agent, but root.

The log goes to standard output, so that it can be piped into ``numaplace move --pages -``; what else is said goes to
standard error.
"""

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from numaplace.cli import exits, output, units
from numaplace.cli.bars import fill
from numaplace.cli.examples import examples
from numaplace.cli.interrupts import handled
from numaplace.kernel.errors import Denied, KernelCallError, KernelFormatError, ProcessGone

if TYPE_CHECKING:
    from numaplace.profile.choose import Choice
    from numaplace.profile.method import Progress, Usage, Votes
    from numaplace.profile.target import Target

AUTO = "auto"
LIST = "list"
BAR_CELLS = 24


class LogFormat(Enum):
    """How a log is written; both are read by ``numaplace move --pages``."""

    CSV = "csv"
    JSON = "json"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="Find out who uses which page of a process.",
        epilog=examples(
            "numaplace profile --pid 4711 | numaplace move --pid 4711 --pages -",
            "numaplace profile --pid 4711 --seconds 30 -o pages.csv",
            "numaplace profile --method list",
        ),
    )(profile)


def profile(
    *,
    pid: Annotated[int | None, typer.Option(metavar="PID", min=1, max=1 << 22, help="The process.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, metavar="S", help="How long to watch it.")] = 10.0,
    method: Annotated[
        str, typer.Option(metavar="NAME", help="How: auto for the best that there is here; list to see them all.")
    ] = AUTO,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the log to a file; - is stdout.")
    ] = None,
    log_format: Annotated[LogFormat, typer.Option("--format", help="How to write the log.")] = LogFormat.CSV,
) -> None:
    """Watch a process for some seconds, and write a log of its pages: address, the node that used it, how much.

    Ctrl-C ends early with what was seen. Direct, without an agent: it needs root.
    """
    from numaplace.profile.choose import METHODS  # noqa: PLC0415 - only this command needs it

    if method == LIST:
        output.show(_methods())
        return
    if pid is None:
        raise typer.BadParameter("say which process with --pid, or --method list")
    if method not in {AUTO, *METHODS}:
        raise typer.BadParameter(f"there is no method {method!r}; there are {AUTO}, {', '.join(METHODS)}")
    with _failures_as_exits(pid), contextlib.ExitStack() as files:
        target = _target(pid)
        chosen = _chosen(target, method)
        to_write = _opened(to, files)
        _say(f"profiling pid {pid} ({target.command}) for {units.duration(seconds)} by {chosen.method.name}:")
        _say(f"  {chosen.reason}")
        with _interrupted_once(), _progress(seconds) as progress:
            usage = chosen.method.run(target, seconds, progress)
        _report(usage)
        _write(to_write, chosen, target, usage, log_format)


def _methods() -> Table:
    from numaplace.profile.choose import METHODS  # noqa: PLC0415

    rows = []
    for name, each in METHODS.items():
        missing = each.missing()
        rows.append((name, "yes" if missing is None else "no", each.tells, missing or ""))
    return output.table(("METHOD", "HERE", "TELLS", "LACKS"), rows)


def _target(pid: int) -> "Target":
    from numaplace.profile.target import read_target  # noqa: PLC0415

    return read_target(pid)


def _chosen(target: "Target", name: str) -> "Choice":
    from numaplace.profile.choose import METHODS, Choice, choose  # noqa: PLC0415

    if name == AUTO:
        best = choose(target)
        if isinstance(best, str):
            raise exits.Failure(exits.FAILED, best)
        return best
    method = METHODS[name]
    refusal = method.missing() or method.unfit(target)
    if refusal is not None:
        raise exits.Failure(exits.FAILED, f"{name} cannot profile pid {target.pid}: {refusal}")
    return Choice(method, f"as asked for; it tells {method.tells}")


def _opened(to: Path | None, files: contextlib.ExitStack) -> TextIO:
    """Where the log goes; opened before the process is watched, not after."""
    if to is None or str(to) == "-":
        return sys.stdout
    try:
        return files.enter_context(to.open("w", encoding="utf-8"))
    except OSError as error:
        raise exits.Failure(exits.FAILED, f"cannot write {to}: {error.strerror}") from error


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def _failures_as_exits(pid: int) -> Iterator[None]:
    try:
        yield
    except ProcessGone as error:
        raise exits.Failure(exits.NOT_FOUND, f"there is no process {pid} with memory of its own") from error
    except Denied as error:
        raise exits.Failure(exits.FAILED, f"profiling needs root (CAP_SYS_ADMIN, CAP_SYS_PTRACE): {error}") from error
    except (KernelCallError, KernelFormatError) as error:
        raise exits.Failure(exits.FAILED, f"the kernel refuses: {error}") from error


@contextlib.contextmanager
def _interrupted_once() -> Iterator[None]:
    """SIGTERM and SIGHUP end the watching as Ctrl-C does, and no second one breaks off what the first began.

    What was set up in the kernel must be put back: nobody else would.
    """
    asked = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        del number, frame
        if not asked:
            asked = True
            raise KeyboardInterrupt

    with handled(interrupt):
        yield


@contextlib.contextmanager
def _progress(seconds: float) -> Iterator["Progress"]:
    """A bar on a terminal, nothing elsewhere."""
    to = Console(stderr=True, markup=False, highlight=False, emoji=False)
    if not to.is_terminal:
        yield lambda _part, _words: None
        return
    ascii_only = output.is_ascii(to)
    with Live(console=to, transient=True, auto_refresh=False) as live:

        def show(part: float, words: str) -> None:
            done = f" {part * seconds:.1f} of {seconds:.1f} s, {words}"
            live.update(Text.assemble((fill(part, BAR_CELLS, ascii_only=ascii_only), "cyan"), done), refresh=True)

        yield show


def _report(usage: "Usage") -> None:
    if usage.ended_early is not None:
        _say(f"  ended early: {usage.ended_early}")
    for remark in usage.remarks:
        _say(f"  {remark}")
    if not usage.votes:
        raise exits.Failure(exits.FAILED, "no page was seen in use: watch it for longer, or while it works")


def _write(to: TextIO, chosen: "Choice", target: "Target", usage: "Usage", log_format: LogFormat) -> None:
    meta = {
        "method": chosen.method.name,
        "tells": chosen.method.tells,
        "reason": chosen.reason,
        "pid": target.pid,
        "remarks": usage.remarks,
        "ended_early": usage.ended_early,
    }
    lines = _csv(usage.votes, meta) if log_format is LogFormat.CSV else _json(usage.votes, meta)
    try:
        to.writelines(lines)
        to.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise exits.Failure(exits.FAILED, f"the log could not be written: {error.strerror}") from error


def _csv(votes: "Votes", meta: dict[str, object]) -> Iterable[str]:
    yield f"# numaplace profile of pid {meta['pid']} by {meta['method']}: {meta['tells']}\n"
    yield "address,node,weight\n"
    for (address, node), weight in sorted(votes.items()):
        yield f"{address:#x},{node},{weight:g}\n"


def _json(votes: "Votes", meta: dict[str, object]) -> Iterable[str]:
    yield json.dumps({"meta": meta}) + "\n"
    for (address, node), weight in sorted(votes.items()):
        yield json.dumps({"address": f"{address:#x}", "node": node, "weight": weight}) + "\n"
