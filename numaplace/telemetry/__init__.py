"""How the services speak of what they do: log set-up, the keys of log fields, the names of metrics."""

from numaplace.telemetry.logs import LogFormat, set_up_logs

__all__ = ["LogFormat", "set_up_logs"]
