"""Request bodies: how many bytes are taken, what they may be, and what a task request is.

Everything is checked from the outside in: type, size, JSON, fields. A body is refused as soon as
it is clear that it will be, and what is too large is never collected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeVar

import anyio
from pydantic import BaseModel, ValidationError
from starlette.types import Message, Receive, Scope

from api import strict_json
from api.errors import (
    BadFraming,
    ClientDisconnected,
    InvalidJson,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)
from api.validation import invalid_request
from orchestrator.errors import FieldError, InvalidRequest
from orchestrator.tasks import TaskRequest

Model = TypeVar("Model", bound=BaseModel)

MAX_LENGTH_DIGITS = 18  # of Content-Length: fits in 63 bits
BODY_SECONDS = 60.0  # how long a slow line may take; a body that drips in holds a connection

_JSON = re.compile(rb'application/json(?:\s*;\s*charset="?utf-8"?)?\s*', re.IGNORECASE)


async def read_json(
    scope: Scope, receive: Receive, *, max_bytes: int, max_seconds: float = BODY_SECONDS
) -> Any:
    """Read a JSON body; see `api.strict_json` for what is accepted.

    Args:
        scope: The request.
        receive: Where its body comes from.
        max_bytes: The largest body that is taken; nothing more is read of a larger one.
        max_seconds: How long a body that comes in pieces may take in all.

    Raises:
        UnsupportedMediaType: It is not plain ``application/json`` in UTF-8.
        PayloadTooLarge: It is larger than ``max_bytes``.
        InvalidJson: It is no JSON, or JSON that readers may understand differently.
        RequestTimeout: It did not come to its end in time.
        ClientDisconnected: The client left before its end.
    """
    _check_headers(scope["headers"], max_bytes)
    message = await receive()
    body = _piece(message)
    if message.get("more_body", False):
        with anyio.move_on_after(max_seconds) as timer:
            body = await _read_on(body, receive, max_bytes)
        if timer.cancelled_caught:
            raise RequestTimeout(f"The body did not come to its end in {max_seconds:g} seconds.")
    if len(body) > max_bytes:
        raise PayloadTooLarge(max_bytes, unread=False)
    try:
        return strict_json.parse(body)
    except strict_json.StrictJsonError as error:
        raise InvalidJson(f"The body is no JSON that can be accepted: {error}.") from None


async def read_optional_json(scope: Scope, receive: Receive, *, max_bytes: int) -> Any:
    """As `read_json`, with ``{}`` for a request that brings no body."""
    names = dict(scope["headers"])
    if b"transfer-encoding" not in names and names.get(b"content-length", b"0") == b"0":
        return {}
    return await read_json(scope, receive, max_bytes=max_bytes)


def parse_task_request(body: Any) -> TaskRequest:
    """Make a task request of a parsed body; null counts as absent.

    Raises:
        InvalidRequest: It can never be executed as it is; names every field that is wrong.
    """
    return parse_body(TaskRequest, body)


def parse_body(model: type[Model], body: Any) -> Model:
    """Make a model of a parsed body; null counts as absent.

    Raises:
        InvalidRequest: It cannot be one; names every field that is wrong.
    """
    if not isinstance(body, dict):
        raise InvalidRequest(FieldError("", "must be a JSON object"))
    if None in body.values():
        body = {name: value for name, value in body.items() if value is not None}
    try:
        return model.model_validate(body, by_alias=True, by_name=False)
    except ValidationError as error:
        raise invalid_request(error) from None


def _check_headers(headers: Iterable[tuple[bytes, bytes]], max_bytes: int) -> None:
    media_type: bytes | None = None
    for name, value in headers:
        if name == b"content-type":
            if media_type is not None:
                raise UnsupportedMediaType("Content-Type is given twice.")
            media_type = value
        elif name == b"content-length":
            if not (value.isdigit() and len(value) <= MAX_LENGTH_DIGITS):
                raise BadFraming("Content-Length is no number.")
            if int(value) > max_bytes:
                raise PayloadTooLarge(max_bytes, unread=True)
        elif name == b"content-encoding" and value.lower() not in (b"identity", b""):
            raise UnsupportedMediaType("The body must be sent without Content-Encoding.")
    if media_type != b"application/json" and not _JSON.fullmatch(media_type or b""):
        raise UnsupportedMediaType("The body must be sent as Content-Type: application/json.")


def _piece(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientDisconnected("The client left before its request was complete.")
    body: bytes = message.get("body", b"")
    return body


async def _read_on(body: bytes, receive: Receive, max_bytes: int) -> bytes:
    pieces, size, more = [body], len(body), True
    while more:
        if size > max_bytes:
            raise PayloadTooLarge(max_bytes, unread=True)
        message = await receive()
        piece = _piece(message)
        pieces.append(piece)
        size += len(piece)
        more = message.get("more_body", False)
    return b"".join(pieces)
