"""What goes into a route and what comes out, for people and programs that read about it.

An `Operation` is written once per handler, beside the table of routes; the OpenAPI document, the
page at `/docs` and the tests are made from both. Nothing here is looked at when a request is
served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel

JSON = "application/json"


class Parameter(NamedTuple):
    """A parameter besides those of the path."""

    name: str
    schema: Mapping[str, Any]
    description: str
    place: Literal["query", "header"] = "query"


class Answer(NamedTuple):
    """An answer that is no problem."""

    status: int
    description: str
    model: type[BaseModel] | None = None
    """What its JSON is; None for another media type or no body."""
    media_type: str = JSON
    headers: Mapping[str, str] = {}
    """Header fields worth knowing, and what they say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a handler takes and gives."""

    summary: str
    tag: str
    answers: tuple[Answer, ...]
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    body_required: bool = True
    """Whether a request without a body is refused."""
    problems: tuple[type[BaseException], ...] = ()
    """Errors beside those that follow from the scope, the path, the body and the stream."""
    description: str = ""
    deprecated: bool = False
