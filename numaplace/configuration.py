"""Configuration of the services: TOML file < environment < flags, checked as a whole, with errors that say what to do.

A key that nobody knows is refused, in the file and in the environment, with the nearest known one: a misspelt limit
that is silently ignored is worse than a service that does not start.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from numaplace.configured import ConfigurationError, policy_of, tls_of
from numaplace.model.policy import Budget, FollowMode, Policy
from numaplace.model.residency import PageKind

S = TypeVar("S", bound="ServiceSettings")
PORT_MAX = 65_535


def checked_address(address: str) -> str:
    """The address, if it is HOST:PORT or unix:PATH. Raises ValueError: without a port gRPC would pick one."""
    _, colon, port = address.rpartition(":")
    sound = colon and port.isascii() and port.isdecimal() and int(port) <= PORT_MAX
    if not sound and not address.startswith("unix:"):
        raise ValueError(f"not an address like HOST:PORT: {address!r}")
    return address


class Section(BaseModel):
    """A table of the configuration file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PolicySection(Section):
    """The default policy, see :class:`numaplace.model.policy.Policy` for the meaning of each key."""

    mode: FollowMode = FollowMode.AT_ONCE
    kinds: frozenset[PageKind] = Policy().kinds
    pace_bytes_per_s: int | None = None
    stall_ms_max: float = Budget().stall_ms_max
    headroom_bytes: int = Budget().headroom_bytes
    settle_s: float = Policy().settle_s
    later_s: float = Policy().later_s
    min_remote_bytes: int = Policy().min_remote_bytes
    min_locality_gain: float = Policy().min_locality_gain
    min_age_s: float = Policy().min_age_s
    keep_interleave: bool = True

    @model_validator(mode="after")
    def _makes_a_policy(self) -> Self:
        self.to_policy()
        return self

    def to_policy(self) -> Policy:
        """The policy as a value."""
        return policy_of(self.model_dump())


class TlsSection(Section):
    """Files for mTLS; all three, or none for plaintext (on loopback only, unless ``insecure``)."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False

    def files(self) -> tuple[bytes, bytes, bytes] | None:
        """Contents of CA, certificate and key, or None for plaintext. Raises ConfigurationError."""
        return tls_of(self.model_dump()).files()


class ServiceSettings(BaseSettings):
    """The base of a service's settings; :func:`load_settings` fills it."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_nested_delimiter="__")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment alone: file and flags are merged by :func:`load_settings`."""
        del settings_cls, dotenv_settings, file_secret_settings
        return (_Flags(init_settings), env_settings, _File(init_settings))


class _Part(PydanticBaseSettingsSource):
    """One of the two halves that load_settings passes in as ``{"flags": …, "file": …}``."""

    half = ""

    def __init__(self, init: PydanticBaseSettingsSource) -> None:
        super().__init__(init.settings_cls)
        self._values: Mapping[str, Any] = init().get(self.half, {})

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401, ARG002 - pydantic's
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(self._values)


class _Flags(_Part):
    half = "flags"


class _File(_Part):
    half = "file"


def load_settings(kind: type[S], file: Path | None, flags: Mapping[str, Any]) -> S:
    """Read a service's settings.

    ``flags``: values given on the command line, nested like the file; None means not given. Raises
    ConfigurationError, whose words list every mistake at once.
    """
    halves: dict[str, Any] = {"flags": _given(flags), "file": {} if file is None else read_toml(file)}
    where = f"{file}: " if file else ""
    mistakes = list(_unknown_variables(kind))
    settings = None
    try:
        settings = kind(**halves)
    except ValidationError as error:
        mistakes = [*(_words(kind, each) for each in error.errors()), *mistakes]
    except SettingsError as error:
        variables = ", ".join(name for name, key in _variables(kind).items() if f'"{key}"' in str(error))
        mistakes.append(f'{variables}: {error}; a list or a table is given there as JSON, such as ["/slurm"]')
    if settings is None or mistakes:
        raise ConfigurationError(where + "; ".join(mistakes))
    return settings


def _variables(kind: type[ServiceSettings]) -> dict[str, str]:
    """The environment variables that look like ours, each with its first key."""
    prefix, delimiter = kind.model_config.get("env_prefix", ""), kind.model_config.get("env_nested_delimiter") or "__"
    ours = sorted(name for name in os.environ if prefix and name.upper().startswith(prefix.upper()))
    return {name: name[len(prefix) :].lower().split(delimiter)[0] for name in ours}


def _unknown_variables(kind: type[ServiceSettings]) -> Iterable[str]:
    """Variables that look like ours and are not; keys within a section are checked with the other values."""
    prefix = kind.model_config.get("env_prefix", "")
    for variable, key in _variables(kind).items():
        if key not in kind.model_fields and variable.upper() != f"{prefix}CONFIG":
            near = difflib.get_close_matches(key, list(kind.model_fields), n=1)
            hint = f"; did you mean {prefix}{near[0].upper()}?" if near else ""
            yield f"unknown environment variable {variable}{hint}"


def read_toml(file: Path) -> dict[str, Any]:
    """A TOML file's contents. Raises ConfigurationError."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the configuration: {error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is no TOML: {error}") from error


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for key, value in flags.items():
        inner = _given(value) if isinstance(value, Mapping) else value
        if inner is not None and inner != {}:
            given[key] = inner
    return given


def _words(kind: type[BaseModel], error: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails is a TypedDict of any
    path = [str(part) for part in error["loc"]]
    if error["type"] == "value_error":
        return f"{'.'.join(path)}: {error['ctx']['error']}"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], list(_keys(kind, path[:-1])), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"unknown key {'.'.join(path)}{hint}"
    return f"{'.'.join(path)}: {error['msg']} (got {error['input']!r:.60})"


def _keys(kind: type[BaseModel], path: Iterable[str]) -> Iterable[str]:
    for part in path:
        field = kind.model_fields.get(part)
        models = [a for a in (getattr(field, "annotation", None), *get_args(getattr(field, "annotation", None)))
                  if isinstance(a, type) and issubclass(a, BaseModel)]  # fmt: skip
        if not models:
            return ()
        kind = models[0]
    return kind.model_fields
