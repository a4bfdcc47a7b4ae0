"""Logs by structlog: readable lines on a terminal, JSON elsewhere, with libraries' stdlib records in the same form.

Rules: logs go to standard error, so that standard output stays a program's answer; times are UTC; a field whose key
names a secret, or whose value holds a private key, is never written; control characters never reach a terminal.
"""

import logging
import sys
from collections.abc import MutableMapping
from enum import Enum
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

SECRET_WORDS = ("password", "passwd", "secret", "token", "authorization", "private_key", "api_key", "cookie")
HIDDEN = "(hidden)"


class LogFormat(Enum):
    """How lines look. AUTO is CONSOLE on a terminal and JSON elsewhere."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


def set_up_logs(
    *, level: str = "info", form: LogFormat = LogFormat.AUTO, stream: TextIO | None = None, **fields: str
) -> None:
    """Set up structlog and the root logger of this process; ``fields`` (service, host, …) go into every line.

    ``level``: debug, info, warning, error or critical; raises ValueError for another. ``stream``: standard error
    unless told.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if not number:
        raise ValueError(f"not a log level: {level!r}; take debug, info, warning, error or critical")
    out = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _adding(fields),
        hide_secrets,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # Loggers made at import time must follow a later set-up: tests and commands set up more than once.
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(form, out)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)


def hide_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the value of every field that names or holds a secret."""
    return {key: HIDDEN if _secret(key, value) else value for key, value in event.items()}


def _secret(key: str, value: object) -> bool:
    lowered = key.lower()
    return any(word in lowered for word in SECRET_WORDS) or (
        "PRIVATE KEY-----" in value if isinstance(value, str) else False
    )


def _adding(fields: MutableMapping[str, str]) -> Processor:
    def add(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {**fields, **event}

    return add


def _rendering(form: LogFormat, out: TextIO) -> list[Processor]:
    console = form is LogFormat.CONSOLE or (form is LogFormat.AUTO and out.isatty())
    if console:
        # Not rich's tracebacks: they show local variables, and with them secrets.
        plain = structlog.dev.plain_traceback
        return [_printable, structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]


def _printable(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The event without control characters: a process chooses its own name, and must not write to our terminal."""
    return {key: _safe(value) if isinstance(value, str) else value for key, value in event.items()}


def _safe(text: str) -> str:
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
