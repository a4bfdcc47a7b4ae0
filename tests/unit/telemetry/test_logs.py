"""Logs are one form whoever speaks, safe to read on a terminal, and free of secrets."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from numaplace.telemetry import LogFormat, events, keys, set_up_logs


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Other tests find the logging as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_json_where_nobody_watches() -> None:
    """Every line is one JSON object with time, level, event and fields."""
    out = io.StringIO()
    set_up_logs(stream=out, service="agent")
    structlog.get_logger().info(events.MOVE_FINISHED, **{keys.MOVE: "m1", keys.BYTES_MOVED: 4096})
    line = json.loads(out.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "move finished", "level": "info", "service": "agent", "move": "m1", "bytes_moved": 4096}


def test_readable_lines_on_a_terminal() -> None:
    """A person gets words, not JSON."""
    out = Terminal()
    set_up_logs(stream=out)
    structlog.get_logger().warning(events.ABILITY_MISSING, advice="mount tracefs")
    assert events.ABILITY_MISSING in out.getvalue()
    assert "{" not in out.getvalue()


def test_libraries_speak_in_the_same_form() -> None:
    """A record of the standard library's logging becomes such a line too."""
    out = io.StringIO()
    set_up_logs(stream=out, form=LogFormat.JSON, service="agent")
    logging.getLogger("grpc").warning("lost %s", "it", extra={"peer": "a"})
    line = json.loads(out.getvalue())
    assert (line["event"], line["level"], line["logger"], line["peer"], line["service"]) == (
        "lost it",
        "warning",
        "grpc",
        "a",
        "agent",
    )


def test_an_exception_is_told_in_the_line() -> None:
    """A fault keeps its traceback, still in one line of JSON."""
    out = io.StringIO()
    set_up_logs(stream=out)
    try:
        int("x")
    except ValueError:
        structlog.get_logger().exception(events.STORE_FAILED)
    assert "ValueError" in json.loads(out.getvalue())["exception"]


def test_a_traceback_on_a_terminal_shows_no_local_variables() -> None:
    """What a function holds may be secret."""
    out = Terminal()
    set_up_logs(stream=out)
    held = "hunter" + "5"
    try:
        int("x")
    except ValueError:
        structlog.get_logger().exception(events.STORE_FAILED)
    assert "ValueError" in out.getvalue()
    assert held not in out.getvalue()


@pytest.mark.parametrize("form", [LogFormat.JSON, LogFormat.CONSOLE])
def test_secrets_are_never_written(form: LogFormat) -> None:
    """Neither by a field's name nor by its content."""
    out = io.StringIO()
    set_up_logs(stream=out, form=form)
    structlog.get_logger().info("x", api_token="hunter2", text="-----BEGIN PRIVATE KEY-----\nhunter3")  # noqa: S106 - it must not be written
    logging.getLogger().warning("y", extra={"Password": "hunter4"})
    assert "hunter" not in out.getvalue()
    assert out.getvalue().count("(hidden)") == 3


def test_nothing_that_is_logged_controls_a_terminal() -> None:
    """Escapes in a process's name are made visible."""
    out = Terminal()
    set_up_logs(stream=out)
    structlog.get_logger().info("x", command="a\x1b[2J")
    assert "\x1b[2J" not in out.getvalue()


def test_the_level_holds_for_all() -> None:
    """What is below the level is not written; an unknown level is refused."""
    out = io.StringIO()
    set_up_logs(stream=out, level="error")
    structlog.get_logger().warning("quiet")
    logging.getLogger("grpc").warning("quiet")
    assert out.getvalue() == ""
    with pytest.raises(ValueError, match="not a log level: 'loud'"):
        set_up_logs(level="loud")
