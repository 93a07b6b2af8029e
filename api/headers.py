"""Header fields and query parameters with a grammar of their own, as pure functions.

Each takes all values that came under one name, because a name that comes twice is a fault of its
own: two readers could pick different ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from api.errors import InvalidIdempotencyKey, InvalidLastEventId

MAX_WAIT_DIGITS = 6  # eleven days; longer waits are not waits

# Fits in 63 bits; int() alone takes 1_0, +1 and the digits of other scripts.
_CURSOR = re.compile(rb"[0-9]{1,18}")
_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_QUOTED_KEY = re.compile(rb'"((?:[\x21\x23-\x5b\x5d-\x7e]|\\["\\])*+)"')
_ESCAPED = re.compile(rb"\\(.)")
_WAIT = re.compile(rb'wait\s*=\s*"?([0-9]{1,%d})"?' % MAX_WAIT_DIGITS, re.IGNORECASE)


class Prefer(NamedTuple):
    """What a client prefers (RFC 7240) of the two things this server can do."""

    respond_async: bool = False
    """Answer at once, with where to look."""
    wait_seconds: int | None = None
    """Answer after this time at the latest; None says nothing about it."""


def header_values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """All values of a header field, in order; ``name`` in lower case."""
    values = []
    for field, value in headers:
        if field == name:
            # Blanks around it are no part of it (RFC 9110, 5.5), but parsers leave those behind it.
            values.append(value.strip(b" \t"))
    return values


def query_values(query_string: bytes, name: str) -> list[bytes]:
    """All values of a query parameter, in order and decoded, empty ones included."""
    if not query_string:
        return []
    wanted = name.encode()
    pairs = (part.partition(b"=") for part in query_string.split(b"&"))
    return [_decoded(value) for field, _, value in pairs if _decoded(field) == wanted]


def parse_cursor(values: list[bytes]) -> int | None:
    """The cursor of ``Last-Event-ID`` or ``?after=``; None when absent or empty.

    Raises:
        InvalidLastEventId: It is not 1 to 18 ASCII digits, or was given twice.
    """
    if not values or values == [b""]:
        return None
    if len(values) > 1 or not _CURSOR.fullmatch(values[0]):
        raise InvalidLastEventId
    return int(values[0])


def read_cursor(headers: Iterable[tuple[bytes, bytes]], query_string: bytes) -> int | None:
    """The cursor of a request: ``Last-Event-ID``, else ``?after=``, else None.

    Both are checked even where only the header counts: a bad cursor is never passed over.

    Raises:
        InvalidLastEventId: One of them is no cursor, or was given twice.
    """
    from_query = parse_cursor(query_values(query_string, "after"))
    from_header = parse_cursor(header_values(headers, b"last-event-id"))
    return from_query if from_header is None else from_header


def parse_idempotency_key(values: list[bytes]) -> str | None:
    """The bare content of ``Idempotency-Key``; None when there is none.

    Raises:
        InvalidIdempotencyKey: It is not 1 to 255 visible ASCII characters, or was given twice.
    """
    if not values:
        return None
    key = values[0]
    if key.startswith(b'"'):
        quoted = _QUOTED_KEY.fullmatch(key)
        key = _ESCAPED.sub(rb"\1", quoted[1]) if quoted else b""
    if len(values) > 1 or not _KEY.fullmatch(key):
        raise InvalidIdempotencyKey
    return key.decode("ascii")


def parse_prefer(values: list[bytes]) -> Prefer:
    """What ``Prefer`` asks for. Nothing is an error: unknown and odd preferences do not count."""
    respond_async, wait_seconds = False, None
    for preference in b",".join(values).split(b","):
        word = preference.partition(b";")[0].strip()
        if word.lower() == b"respond-async":
            respond_async = True
        elif wait_seconds is None and (match := _WAIT.fullmatch(word)):
            wait_seconds = int(match[1])
    return Prefer(respond_async, wait_seconds)


def _decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" ")) if b"%" in text or b"+" in text else text
