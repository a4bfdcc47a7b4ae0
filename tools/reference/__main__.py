"""``python -m tools.reference FOLDER``: write the reference below a folder, in place of what is there."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.reference.completion import scripts_of
from tools.reference.pages import pages_of
from tools.reference.programs import all_programs
from tools.reference.roff import roff


def generated() -> Iterator[tuple[Path, str]]:
    """Every file, by its place below share/."""
    for program in all_programs():
        for page in pages_of(program):
            yield Path("man/man1") / f"{page.name}.1", roff(page)
        yield from scripts_of(program)


def main(folder: Path) -> None:
    """Write all files, and leave no other."""
    shutil.rmtree(folder, ignore_errors=True)
    for place, text in generated():
        file = folder / place
        if file.exists():
            raise FileExistsError(f"two commands would have the page {place}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
