"""What every settings object can do: gather its values, refuse wrong ones, describe itself.

A value comes from, first found: an argument, the environment (``POSTSTREAM_`` + name), ``.env``,
``poststream.toml`` (both in the working folder), the default. A misspelt name must not be ignored
in silence: an argument or a line of ``poststream.toml`` is refused; a variable, which may be meant
for another program, is warned of.
"""

from __future__ import annotations

import difflib
import logging
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field, JsonValue, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from orchestrator.errors import SettingsError

logger = logging.getLogger(__name__)

PREFIX = "POSTSTREAM_"
DOTENV_FILE = ".env"
TOML_FILE = "poststream.toml"

_OTHERS = ("SERVER", "TOKEN")  # what the commands need to reach a server; not settings of one


def setting(default: Any, help: str, unit: str = "", *, secret: bool = False, **bounds: Any) -> Any:
    """Declare a setting.

    Args:
        default: Its value when nobody says otherwise.
        help: One sentence: its effect, and for a limit the harm it stops.
        unit: What a number counts, e.g. ``seconds``.
        secret: Never print it.
        bounds: Bounds as `pydantic.Field` takes them, e.g. ``ge=1``.
    """
    extra: dict[str, JsonValue] = {"unit": unit, "secret": secret}
    return Field(
        default=default, description=help, json_schema_extra=extra, repr=not secret, **bounds
    )


class SettingsBase(BaseSettings):
    """Base of the settings objects: frozen, and read when it is made.

    Raises:
        SettingsError: A value cannot be used; the text names the setting, never a secret.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    folder: ClassVar[Path] = Path()
    """Where `.env` and `poststream.toml` are looked for: the working folder."""
    complete: ClassVar[bool] = False
    """Whether the class has every setting there is, so that any other name is a mistake."""

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    def __init__(self, **values: Any) -> None:
        merged: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for origin, found in (*type(self)._sources(), ("argument", values)):
            merged.update(found)
            origins.update(dict.fromkeys(found, origin))
        try:
            super().__init__(**merged)
        except ValidationError as error:
            raise SettingsError(_explain(type(self), error, origins)) from None
        self._origins = origins

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *sources: Any, **named: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave the merging to the constructor, which also keeps where each value came from."""
        return (named["init_settings"],)

    @classmethod
    def _sources(cls) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Where values come from and what is there, the weakest first."""
        yield TOML_FILE, _read_toml(cls)
        dotenv = DotEnvSettingsSource(
            cls, env_file=cls.folder / DOTENV_FILE, dotenv_filtering="only_existing"
        )
        _warn_of_unknown(cls, dotenv.env_vars, DOTENV_FILE)
        yield DOTENV_FILE, dotenv()
        _warn_of_unknown(cls, os.environ, "the environment")
        yield "environment", EnvSettingsSource(cls)()


class SettingRow(NamedTuple):
    """One line of the table of settings."""

    name: str
    """The name without prefix, e.g. ``MAX_THREADS``."""
    value: str
    """The value in force as text; empty for none, ``(hidden)`` for a secret."""
    default: str
    unit: str
    help: str
    origin: str
    """``default``, ``poststream.toml``, ``.env``, ``environment`` or ``argument``."""


def describe_settings(settings: SettingsBase) -> list[SettingRow]:
    """The table of all settings, in the order of their declaration."""
    rows = []
    for name, field in type(settings).model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        value = _text(getattr(settings, name))
        if extra["secret"] and value:
            value = "(hidden)"
        rows.append(
            SettingRow(
                name=name.upper(),
                value=value,
                default=_text(field.default),
                unit=str(extra["unit"]),
                help=field.description or "",
                origin=settings._origins.get(name, "default"),
            )
        )
    return rows


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, SecretStr):
        return str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _read_toml(cls: type[SettingsBase]) -> dict[str, Any]:
    path = cls.folder / TOML_FILE
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{TOML_FILE} cannot be read: {error}") from None
    found = {key.lower(): value for key, value in data.items()}
    for key in data:
        if cls.complete and key.lower() not in cls.model_fields:
            raise SettingsError(f"{TOML_FILE}: there is no setting {key}{_nearest(cls, key)}")
    return {key: value for key, value in found.items() if key in cls.model_fields}


def _warn_of_unknown(cls: type[SettingsBase], names: Mapping[str, Any], where: str) -> None:
    for name in names:
        key = name.upper()
        if not cls.complete or not key.startswith(PREFIX):
            continue
        key = key.removeprefix(PREFIX)
        if key.lower() not in cls.model_fields and key not in _OTHERS:
            logger.warning("%s%s in %s is no setting%s", PREFIX, key, where, _nearest(cls, key))


def _nearest(cls: type[SettingsBase], key: str) -> str:
    near = difflib.get_close_matches(key.lower(), cls.model_fields, n=1)
    return f"; did you mean {near[0].upper()}?" if near else ""


def _explain(cls: type[SettingsBase], error: ValidationError, origins: dict[str, str]) -> str:
    """One line per wrong setting: its name, where it came from, what is wrong."""
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        field = cls.model_fields.get(name)
        message = problem["msg"].removeprefix("Value error, ")
        if not name:
            lines.append(message)
        elif field is None:
            lines.append(f"there is no setting {name.upper()}{_nearest(cls, name)}")
        else:
            extra = field.json_schema_extra
            hidden = isinstance(extra, dict) and extra["secret"]
            given = "" if hidden else f" (got {problem['input']!r:.80})"
            origin = origins.get(name, "default")
            lines.append(f"{PREFIX}{name.upper()} from {origin}: {message}{given}")
    return "\n".join(lines)
