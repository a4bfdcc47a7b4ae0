"""Files of a stage's kernel that hold one value, set for a while: guests are shared, and left as they were found."""

import contextlib
from collections.abc import Iterator, Mapping

from tests.harness.stage import Stage


@contextlib.contextmanager
def settings(stage: Stage, wanted: Mapping[str, str]) -> Iterator[None]:
    """Write each value into its file; afterwards as it was."""
    found = {path: stage.read_text(path).strip() for path in wanted}
    try:
        for path, value in wanted.items():
            stage.write(path, value)
        yield
    finally:
        for path, value in found.items():
            stage.write(path, value)
