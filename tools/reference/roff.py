"""A page as roff, in the man macros that man-db and mandoc both read."""

import textwrap
from collections.abc import Iterator

from numaplace import __version__
from tools.reference.pages import Block, Entry, Page, Paragraph

COLUMNS = 78


def roff(page: Page) -> str:
    """The page's source."""
    return "\n".join(_lines(page)) + "\n"


def _lines(page: Page) -> Iterator[str]:
    # No date: a page says what its version does, and a date from the clock would change it every day.
    yield f'.TH {page.name.upper().replace("-", chr(92) + "-")} 1 "" "numaplace {__version__}" "User Commands"'
    yield ".SH NAME"
    yield from _text(f"{page.name} - {page.summary}")
    for heading, blocks in page.sections.items():
        yield f'.SH "{heading}"' if " " in heading else f".SH {heading}"
        for at, block in enumerate(blocks):
            yield from _block(block, first=at == 0)


def _block(block: Block, *, first: bool) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield from () if first else (".PP",)
        yield from _text(block.text)
    elif isinstance(block, Entry):
        yield ".TP"
        yield rf"\fB{_escaped(block.term)}\fR"
        yield from _text(block.text)
    else:
        yield ".nf"
        yield from (_safe(_escaped(line)) for line in block.lines)
        yield ".fi"


def _text(text: str) -> Iterator[str]:
    yield from map(_safe, textwrap.wrap(_escaped(text), COLUMNS, break_on_hyphens=False, break_long_words=False))


def _safe(line: str) -> str:
    """A line that begins like a request is kept from being one."""
    return rf"\&{line}" if line.startswith(".") else line


def _escaped(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    return "".join(each if each.isascii() else rf"\[u{ord(each):04X}]" for each in escaped)
