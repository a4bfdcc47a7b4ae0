"""`python -m tests.lab`: the lab by hand.

Exit codes: a command's own where one was run (128 + the signal if one ended it), 1 if the guest or its making failed, 2
if it was asked for wrongly.
"""

import logging
import os
import shutil
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

from tests.lab import kernels, setup
from tests.lab.description import Description, DescriptionError
from tests.lab.guest import Guest
from tests.lab.lab import boot, describe, names
from tests.lab.machine import MachineError
from tests.lab.mirror import NoMirrorError
from tests.lab.modules import ModuleError
from tests.lab.packages import PackageError
from tests.lab.process import GuestError, GuestProcess
from tests.lab.qemu import Forward, Options

_SIGNALLED = 128
_COPY_BYTES = 1 << 16
_EXPECTED = (GuestError, MachineError, ModuleError, NoMirrorError, PackageError, setup.SetupError, OSError)

app = typer.Typer(
    help=__doc__.partition("\n\n")[0] if __doc__ else None,
    epilog="Example: python -m tests.lab run two-6.12-v2 -- numactl -H",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

_Name = Annotated[str, typer.Argument(help="A guest's name, as `list` shows it.", metavar="NAME")]
_Forwards = Annotated[
    list[str] | None,
    typer.Option("--forward", metavar="HOST:GUEST", help="Lead a TCP port of the host's loopback to one of the guest."),
]


@app.command("list")
def list_guests() -> None:
    """List the guests that can be booted."""
    for name in names():
        guest = describe(name)
        typer.echo(f"{name:16} kernel {guest.kernel:5} cgroup {guest.cgroup}  {_topology(guest)}  {guest.summary}")


@app.command("kernels")
def show_kernels(
    *, refresh: Annotated[bool, typer.Option("--refresh", help="Look for newer ones on the mirror.")] = False
) -> None:
    """Fetch every kernel and tool that guests use, and list them. `sid` may lag or fail without harm."""
    kernels.prepare_tools()
    for name in kernels.SUITES:
        typer.echo(f"{name:5} {_prepared(name, refresh=refresh)}")


@app.command("setup")
def set_up() -> None:
    """Install QEMU if this user may, fetch the kernels, and say what is missing otherwise."""
    setup.install_missing()
    show_kernels(refresh=False)


@app.command("run", context_settings={"ignore_unknown_options": True})
def run_command(
    name: _Name,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND…", help="The command and its arguments.")],
    *,
    timeout_s: Annotated[float | None, typer.Option("--timeout", help="Seconds until it is killed.")] = None,
    forward: _Forwards = None,
) -> None:
    """Boot a guest, run one command in it with this terminal's input and output, power it off.

    Example: python -m tests.lab run four-6.12-v2 -- python -c 'import numpy; print(numpy.__version__)'
    """
    with _booted(name, forward) as guest, guest.popen(command) as process:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        _leave(_stream(process, deadline))


@app.command("boot")
def boot_by_hand(name: _Name, *, forward: _Forwards = None) -> None:
    """Boot a guest and open a root shell in it; it is powered off when the shell ends."""
    size = shutil.get_terminal_size()
    with _booted(name, forward) as guest, guest.popen(["bash", "-l"], tty=(size.lines, size.columns)) as shell:
        _leave(_converse(shell))


def _prepared(name: str, *, refresh: bool) -> str:
    try:
        kernel = kernels.prepare(name, fresh=refresh)
    except PackageError as error:
        if name != "sid":
            raise
        return f"not available: {error}"
    return f"{kernel.release}  {kernel.folder}"


def _topology(guest: Description) -> str:
    return " ".join(f"{node.id}:{node.cpus}c/{node.memory_mb}M" for node in guest.nodes)


@contextmanager
def _booted(name: str, forward: list[str] | None) -> Iterator[Guest]:
    options = Options(forwards=tuple(_forward(text) for text in forward or []))
    with boot(name, options) as guest:
        typer.echo(f"{name} is up after {guest.boot_s:.1f} s", err=True)
        yield guest


def _forward(text: str) -> Forward:
    host, colon, guest = text.partition(":")
    if not (colon and host.isdecimal() and guest.isdecimal()):
        raise typer.BadParameter(f"{text!r} is not HOST:GUEST, two port numbers")
    return Forward(int(host), int(guest))


def _stream(process: GuestProcess, deadline: float | None) -> int:
    """Pass output on as it comes until the process ends; its exit code."""
    _feed_in_background(process)
    files = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    with _killer(process, left):
        for stream, piece in process.outputs():
            files[stream].write(piece)
            files[stream].flush()
    return process.wait().exit_code


@contextmanager
def _killer(process: GuestProcess, after_s: float | None) -> Iterator[None]:
    """Kill the process `after_s` seconds from now unless the block ends sooner."""
    if after_s is None:
        yield
        return
    timer = threading.Timer(after_s, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _feed_in_background(process: GuestProcess) -> None:
    """Pass this terminal's input on until it ends, or the process does."""

    def feed() -> None:
        try:
            while data := os.read(sys.stdin.fileno(), _COPY_BYTES):
                process.write(data, timeout_s=None)
            process.close_stdin()
        except (GuestError, OSError, KeyError):
            pass  # The guest is gone, or the call is over: the main thread says so.

    threading.Thread(target=feed, name="lab-stdin", daemon=True).start()


def _converse(shell: GuestProcess) -> int:
    """Join this terminal with the shell's until the shell ends; its exit code."""
    if not sys.stdin.isatty():
        return _stream(shell, None)
    before = termios.tcgetattr(sys.stdin)
    resized = signal.signal(signal.SIGWINCH, lambda *_: shell.resize(*reversed(shutil.get_terminal_size())))
    try:
        tty.setraw(sys.stdin)
        return _stream(shell, None)
    finally:
        signal.signal(signal.SIGWINCH, resized)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _leave(exit_code: int) -> NoReturn:
    raise typer.Exit(exit_code if exit_code >= 0 else _SIGNALLED - exit_code)


def main() -> None:
    """Run the command line; an expected error is one line and the exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        app()
    except DescriptionError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except _EXPECTED as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
