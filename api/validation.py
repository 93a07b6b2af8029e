"""What pydantic finds wrong with a body, in the words of the wire.

Pointers use the names a client sends (camelCase), sentences tell what would be right.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import FieldError, InvalidRequest

MAX_ERRORS = 20  # more than a person reads; the rest would only fill the answer
MAX_LISTED = 200  # from here on only counted: describing 100,000 errors takes half a second
UNION = "union of "  # begins the tag of a branch: to pydantic a place, but none in a body
MAX_POINTER_CHARACTERS = 200  # the name of an unknown field can be as long as the body

_SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        "missing": "is required",
        "extra_forbidden": "is not a field that exists",
        "string_type": "must be a string",
        "int_type": "must be an integer",
        "float_type": "must be a number",
        "bool_type": "must be true or false",
        "list_type": "must be an array",
        "dict_type": "must be an object",
        "model_type": "must be an object",
        "model_attributes_type": "must be an object",
        "finite_number": "must be a finite number",
        "literal_error": "must be {expected}",
        "greater_than": "must be greater than {gt}",
        "greater_than_equal": "must be at least {ge}",
        "less_than": "must be less than {lt}",
        "less_than_equal": "must be at most {le}",
        "string_too_short": "must have at least {min_length} characters",
        "string_too_long": "must have at most {max_length} characters",
        "too_short": "must have at least {min_length} entries",
        "too_long": "must have at most {max_length} entries",
    }
)

_PATTERNS: Mapping[str, str] = MappingProxyType(
    {
        r"^[^\x00]*$": "must not contain NUL characters",
        r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$": (
            "must be 1 to 64 letters, digits, '_', '.' or '-', beginning with a letter or digit"
        ),
    }
)

_POINTERS: Mapping[str, str] = MappingProxyType(
    {
        "selected_agents_unique": "/selectedAgents",
        "metadata_key": "/metadata",
        "depends_on_mode": "/dependsOn",
        "depends_on_unknown": "/dependsOn",
        "depends_on_cycle": "/dependsOn",
        "ticket_one": "",
    }
)
"""Where the checks over several fields point: pydantic gives them no place of their own."""


def invalid_request(error: ValidationError) -> InvalidRequest:
    """Translate what pydantic found: the first `MAX_ERRORS` findings, each with its place."""
    count = error.error_count()
    if count > MAX_LISTED:
        return InvalidRequest(FieldError("", f"{count} values are wrong, too many to list"))
    details = error.errors(include_url=False, include_input=False)
    return InvalidRequest(
        *(FieldError(_pointer(d), _sentence(d)) for d in details[:MAX_ERRORS]),
    )


def json_pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901), e.g. ``/selectedAgents/0``; cut when it grows too long."""
    pointer = "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in parts)
    if len(pointer) > MAX_POINTER_CHARACTERS:
        pointer = pointer[: MAX_POINTER_CHARACTERS - 1] + "…"
    return pointer


def _pointer(details: ErrorDetails) -> str:
    place = [part for part in details["loc"] if not str(part).startswith(UNION)]
    if not place:
        return _POINTERS.get(details["type"], "")
    return json_pointer(*(place[:-1] if place[-1] == "[key]" else place))


def _sentence(details: ErrorDetails) -> str:
    context: dict[str, Any] = details.get("ctx", {})
    if details["type"] == "string_pattern_mismatch" and context["pattern"] in _PATTERNS:
        return _PATTERNS[context["pattern"]]
    if details["type"] == "string_too_short" and context["min_length"] == 1:
        return "must not be empty"
    if details["type"] in _SENTENCES:
        return _SENTENCES[details["type"]].format_map(
            {
                k: int(v) if isinstance(v, float) and v.is_integer() else v
                for k, v in context.items()
            }
        )
    return details["msg"]
