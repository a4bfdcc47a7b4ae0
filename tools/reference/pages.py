"""From a program's commands to manual pages: one page for each command, as git has them; sections as values."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from numaplace.configuration import ServiceSettings
from numaplace.epilog import EXAMPLES, EXIT_CODES
from tools.reference.programs import Program

_UNWRAPPED: Mapping[str, Any] = {"terminal_width": 10_000}
_EXIT = re.compile(r"(\d+) (.+?)(?=, \d+ |\.?$)")


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A term and what it means."""

    term: str
    text: str


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Lines that stay as they are."""

    lines: tuple[str, ...]


Block = Paragraph | Entry | Verbatim


@dataclass(frozen=True, slots=True)
class Page:
    """A page of section 1: its name, one line on it, and the sections with their blocks."""

    name: str
    summary: str
    sections: Mapping[str, tuple[Block, ...]]


def pages_of(program: Program) -> Iterator[Page]:
    """The program's page, then one for each command, in the order of the help."""
    command = typer.main.get_command(program.app)
    context = command.context_class(command, info_name=program.name, **{**_UNWRAPPED, **command.context_settings})
    yield from _pages(program, command, context)


def _pages(program: Program, command: Any, context: Any) -> Iterator[Page]:  # noqa: ANN401 - typer has click inside and does not show it
    yield _page(program, command, context)
    for name, part in _subcommands(command).items():
        yield from _pages(program, part, part.context_class(part, info_name=name, parent=context))


def _subcommands(command: Any) -> dict[str, Any]:  # noqa: ANN401 - the same
    return {name: part for name, part in getattr(command, "commands", {}).items() if not part.hidden}


def page_name(context: Any) -> str:  # noqa: ANN401 - the same
    """``numaplace-policy-set`` for ``numaplace policy set``."""
    return str(context.command_path).replace(" ", "-")


def _page(program: Program, command: Any, context: Any) -> Page:  # noqa: ANN401 - the same
    is_root = context.parent is None
    name = page_name(context)
    epilog = command.epilog or typer.main.get_command(program.app).epilog or ""
    parts = _subcommands(command)
    records = [(param, param.get_help_record(context)) for param in command.get_params(context)]
    told = [(param, record) for param, record in records if record is not None]
    sections: dict[str, tuple[Block, ...]] = {
        "SYNOPSIS": (Paragraph(command.get_usage(context).removeprefix("Usage: ")),),
        "DESCRIPTION": tuple(Paragraph(" ".join(each.split())) for each in (command.help or "").split("\n\n")),
        "ARGUMENTS": tuple(_entry(*record) for param, record in told if param.param_type_name == "argument"),
        "OPTIONS": tuple(_entry(*record) for param, record in told if param.param_type_name == "option"),
        "COMMANDS": tuple(Entry(f"{name}-{part}(1)", _summary(parts[part])) for part in parts),
        "CONFIGURATION": tuple(_settings(program.settings)) if is_root and program.settings else (),
        "EXAMPLES": tuple(_examples(command.epilog or "")),
        "EXIT STATUS": tuple(_exit_codes(epilog)),
        "ENVIRONMENT": tuple(_environment(told)),
        "FILES": tuple(Entry(path, words) for path, words in program.files.items()),
        "SEE ALSO": (Paragraph(", ".join(_relatives(program, name, context, parts))),),
    }
    summary = program.summary if is_root else _summary(command)
    return Page(name, summary, {heading: blocks for heading, blocks in sections.items() if blocks})


def _summary(command: Any) -> str:  # noqa: ANN401 - the same
    """The first sentence, as a NAME line has it: without a full stop."""
    words = command.short_help or re.split(r"(?<=[.:;])\s", command.help or "", maxsplit=1)[0]
    return " ".join(words.split()).rstrip(".:;")


def _entry(term: str, help_text: str) -> Entry:
    """An option or argument of a help: what the help has in brackets becomes sentences."""
    words, bracket, extras = help_text[:-1].rpartition("[") if help_text.endswith("]") else (help_text, "", "")
    told = [each.strip().replace("env var", "environment") for each in extras.split(";") if bracket]
    return Entry(term, " ".join([words.strip(), *(f"{each[0].upper()}{each[1:]}." for each in told)]).strip())


def _examples(epilog: str) -> Iterator[Block]:
    for paragraph in epilog.replace("\b\n", "").split("\n\n"):
        heading, _, lines = paragraph.partition("\n")
        if heading == EXAMPLES:
            yield Verbatim(tuple(line.strip() for line in lines.splitlines()))


def _exit_codes(epilog: str) -> Iterator[Entry]:
    for paragraph in epilog.split("\n\n"):
        if paragraph.startswith(EXIT_CODES):
            yield from (Entry(code, f"{words[0].upper()}{words[1:]}.") for code, words in _EXIT.findall(paragraph))


def _environment(told: list[tuple[Any, Any]]) -> Iterator[Entry]:
    for param, (term, _) in told:
        variables = [param.envvar] if isinstance(param.envvar, str) else param.envvar or []
        yield from (Entry(variable, f"As {term.split(',')[-1].split()[0]}.") for variable in variables)


def _settings(settings: type[ServiceSettings]) -> Iterator[Block]:
    prefix = settings.model_config.get("env_prefix", "")
    yield Paragraph(
        "Keys of the TOML file that --config names, section by section; each may be given by the environment variable"
        f" {prefix}KEY or {prefix}SECTION__KEY too. The environment wins over the file, and an option over both."
    )
    for name, field in settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from (Entry(f"[{name}] {key}", _default(each)) for key, each in section.model_fields.items())
        else:
            yield Entry(name, _default(field))


def _default(field: FieldInfo) -> str:
    value = field.default.value if isinstance(field.default, Enum) else field.default
    if value is PydanticUndefined:
        return "The default depends on the host."
    plain = ", ".join(sorted(map(_plain, value))) if isinstance(value, frozenset | tuple) else _plain(value)
    return "Not set by default." if value is None or not plain else f"Default: {plain}."


def _plain(value: object) -> str:
    """As the file has it."""
    if isinstance(value, Enum):
        return str(value.value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _relatives(program: Program, name: str, context: Any, parts: dict[str, Any]) -> Iterator[str]:  # noqa: ANN401 - the same
    if context.parent is not None:
        yield f"{page_name(context.parent)}(1)"
    yield from (f"{name}-{part}(1)" for part in parts)
    if context.parent is None:
        yield from program.relatives
