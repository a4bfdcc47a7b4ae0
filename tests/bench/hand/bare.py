"""The bare system call as a library: compiled by this host's C compiler, for guests run the host's own files."""

import shutil
import subprocess
from pathlib import Path

from tests.bench.follow.directed import BenchError

SOURCE = Path(__file__).with_name("bare.c")


def library(folder: Path) -> Path:
    """Compile it into a folder. Raises BenchError without a compiler: what is not called from C is no bare call."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchError("there is no C compiler (cc): the bare call cannot be measured; apt-get install gcc")
    made = folder / "bare.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(made), str(SOURCE)], check=True)
    return made
