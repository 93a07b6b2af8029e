"""Strict JSON (RFC 8259, I-JSON): one text, one meaning, for every reader.

orjson refuses on its own: bad UTF-8, a byte order mark, lone surrogates, NaN and Infinity, numbers
too large for a float, anything after the document. It cannot run out of stack. What it lets pass
and another reader may understand differently is refused here: a name twice in one object (readers
keep the first or the last), integers beyond 64 bits (they come back rounded), deep nesting.

The checks are made so that an ordinary body pays for little more than two runs of orjson.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

MAX_DEPTH = 64  # deep enough for people, shallow enough for every recursive reader after us
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**63 - 1

_LONG_DIGITS = re.compile(rb"[0-9]{19}")  # nothing shorter can leave 64 bits
_MAYBE_LONG = re.compile(rb"[0-9]{3}")  # what that leaves of them in every sixth byte
_STRING_OR_NUMBER = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-?(?P<integer>[0-9]++)(?P<rest>[.eE][0-9.eE+-]*+)?', re.DOTALL
)


class StrictJsonError(ValueError):
    """Raised when a text is no JSON, or JSON that readers may understand differently."""


def parse(text: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Parse a JSON document.

    Args:
        text: The document in UTF-8.
        max_depth: How deep arrays and objects may be nested; 1 is a flat one.

    Raises:
        StrictJsonError: It cannot be accepted; the text says why, without repeating its content.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise StrictJsonError(str(error)) from None
    if text.count(b"[") + text.count(b"{") > max_depth and _is_deeper(value, max_depth):
        raise StrictJsonError(f"nested deeper than {max_depth} levels")
    escaped_colon = b"\\" in text and b"\\u003" in text  # one byte is found at once
    if escaped_colon or orjson.dumps(value).count(b":") != text.count(b":"):
        _refuse_duplicates(text)
    if _MAYBE_LONG.search(text[::6]) and _LONG_DIGITS.search(text):
        _refuse_long_integers(text)
    return value


def _is_deeper(value: Any, max_depth: int) -> bool:
    """Whether containers are nested deeper; level by level, so that depth costs no stack."""
    level = [value] if isinstance(value, (list, dict)) else []
    for _ in range(max_depth):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (list, dict))
        ]
    return bool(level)


def _refuse_duplicates(text: bytes) -> None:
    r"""Refuse a name that comes twice in one object.

    A dropped name takes its colon with it, so unequal numbers of colons before and after parsing
    give it away. Only an escaped colon (``\u003a``) could make up for it: then all is read here.
    """

    def read(pairs: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in pairs}) != len(pairs):
            raise StrictJsonError("an object has the same name twice")

    json.loads(text, object_pairs_hook=read, parse_int=str)


def _refuse_long_integers(text: bytes) -> None:
    for match in _STRING_OR_NUMBER.finditer(text):
        digits, rest = match["integer"], match["rest"]
        if digits is None or rest is not None or len(digits) < 19:
            continue
        if not _MIN_INTEGER <= int(match[0]) <= _MAX_INTEGER:  # orjson refused 309 digits and more
            raise StrictJsonError("an integer does not fit in 64 bits")
