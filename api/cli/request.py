"""From the options of `poststream run` to the body of a request."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson

from api.cli.durations import seconds_of
from api.cli.terminal import usage_error
from orchestrator.errors import FieldError

_OPTIONS = {
    "description": "DESCRIPTION",
    "selectedAgents": "--agents",
    "executionMode": "--mode",
    "inputs": "--input",
    "dependsOn": "--depends-on",
    "timeoutSeconds": "--timeout",
    "title": "--title",
}
_HERE = re.compile(r"\.|\.\.|~|(\.|\.\.|~)/.*", re.DOTALL)


def request_body(
    *,
    description: str,
    agents: list[str],
    mode: str | None,
    inputs: list[str],
    inputs_json: str | None,
    depends_on: list[str],
    timeout: str | None,
    title: str | None,
) -> dict[str, Any]:
    """The request under the names of the wire; what was not given is left out.

    Raises:
        CommandFailed: An option makes no sense.
    """
    graph = _graph(depends_on)
    found = {
        "description": description,
        "title": title,
        "selectedAgents": [role for part in agents for role in _words(part)],
        "executionMode": mode or ("graph" if graph else None),
        "dependsOn": graph or None,
        "inputs": {**_object(inputs_json), **_pairs(inputs)} or None,
        "timeoutSeconds": None if timeout is None else seconds_of(timeout, "--timeout"),
    }
    return {name: value for name, value in found.items() if value is not None}


def in_words_of_options(error: FieldError) -> str:
    """An error of a request, said of the option its field came from."""
    field = error.pointer.split("/")[1] if error.pointer else ""
    option = _OPTIONS.get(field, error.pointer)
    return f"{option}: {error.detail}" if option else error.detail


def _pairs(inputs: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in inputs:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise usage_error(f"--input {text}: must be written key=value.")
        if key in pairs:
            raise usage_error(f"--input {key} is given twice.")
        pairs[key] = absolute(value)
    return pairs


def absolute(value: str) -> str:
    """A value that is written as a path from here becomes absolute; any other stays as it is.

    Agents run elsewhere, if only in another folder: to them ``.`` would be something else.
    """
    return str(Path(value).expanduser().resolve()) if _HERE.fullmatch(value) else value


def _object(text: str | None) -> dict[str, Any]:
    try:
        value = {} if text is None else orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise usage_error(f"--input-json is no JSON: {error}.") from None
    if not isinstance(value, dict):
        raise usage_error("--input-json must be an object, e.g. '{\"depth\": 3}'.")
    return value


def _graph(depends_on: list[str]) -> dict[str, list[str]]:
    graph: dict[str, list[str]] = {}
    for text in depends_on:
        role, equals, needed = text.partition("=")
        if not role or not equals or not _words(needed):
            raise usage_error(
                f"--depends-on {text}: must be written agent=agent,agent: "
                "the first starts when the others have delivered."
            )
        graph.setdefault(role.strip(), []).extend(_words(needed))
    return graph


def _words(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.split(",")) if word]
