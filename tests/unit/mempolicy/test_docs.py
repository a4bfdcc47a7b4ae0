"""The page on `numaplace.mempolicy`: its example runs, and it names all that is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from numaplace import mempolicy

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "mempolicy.md").read_text(encoding="utf-8")


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """On any host with a node 0 that has memory."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "docs/mempolicy.md", "exec"), {})  # noqa: S102 - our own words
    assert "in place" in capsys.readouterr().out


def test_it_is_imported_without_libraries() -> None:
    """A program that binds a buffer waits neither for NumPy and gRPC, nor for what is slow in the standard library.

    Together inspect (by dataclasses) and pathlib would cost as much as all the rest; the bench has the time.
    """
    slow = {"numpy", "grpc", "asyncio", "structlog", "inspect", "dataclasses", "pathlib"}
    code = f"import sys, numaplace.mempolicy; print({slow} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_function_is_on_the_page() -> None:
    """What is exported and not described is not there for whoever reads."""
    functions = {name for name in mempolicy.__all__ if name.islower()}
    assert {name for name in functions if f"`{name}(" not in PAGE and f"{name}(" not in PAGE} == set()
