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
    """A program that binds a buffer should not wait for NumPy or gRPC."""
    code = "import sys, numaplace.mempolicy; print({'numpy', 'grpc', 'asyncio', 'structlog'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_function_is_on_the_page() -> None:
    """What is exported and not described is not there for whoever reads."""
    functions = {name for name in mempolicy.__all__ if name.islower()}
    assert {name for name in functions if f"`{name}(" not in PAGE and f"{name}(" not in PAGE} == set()
