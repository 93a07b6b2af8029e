"""Every error as its HTTP answer: one table, one shape (RFC 9457).

A problem never shows internals. Errors made for people carry their own words; for the others the
table has a fixed sentence; what is not in the table is a bug and answers with a reference to the
log. A 404 is the same bytes whatever was missing, so that it tells nothing about other people's
tasks, and it does not repeat the path.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

import anyio
from starlette.types import Receive, Scope, Send

from api import errors as api
from orchestrator import errors as core
from orchestrator.events import to_json

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5  # long enough to spare the server a hammering, short for a person
MAX_DETAIL_CHARACTERS = 1000  # a request can be wrong in a thousand places
MAX_INSTANCE_CHARACTERS = 256  # a path can be as long as its sender likes
LINGER_SECONDS = 2.0  # how long the rest of a refused body may take to come
LINGER_BYTES = 32 * 1024 * 1024  # and how much of it is thrown away before the line is cut


class Problem(NamedTuple):
    """What is always the same about one kind of error."""

    status: int
    slug: str
    title: str
    detail: str | None = None
    """A fixed sentence; None shows the error's own words."""


INTERNAL = Problem(500, "internal", "Internal error")

PROBLEMS: Mapping[type[BaseException], Problem] = MappingProxyType(
    {
        api.Unauthorized: Problem(401, "unauthorized", "Not authenticated"),
        api.Forbidden: Problem(403, "forbidden", "Not allowed"),
        api.NotFound: Problem(404, "not-found", "Not found", "There is nothing here."),
        api.MethodNotAllowed: Problem(405, "method-not-allowed", "Method not allowed"),
        api.UnsupportedMediaType: Problem(415, "unsupported-media-type", "Unsupported media type"),
        api.InvalidJson: Problem(400, "invalid-json", "Invalid JSON"),
        api.InvalidLastEventId: Problem(400, "invalid-last-event-id", "Invalid cursor"),
        api.InvalidIdempotencyKey: Problem(
            400, "invalid-idempotency-key", "Invalid idempotency key"
        ),
        api.InvalidParameter: Problem(400, "invalid-parameter", "Invalid parameter"),
        api.BadFraming: Problem(400, "bad-request", "Bad request"),
        api.HeaderTooLarge: Problem(431, "header-too-large", "Header fields too large"),
        api.UriTooLong: Problem(414, "uri-too-long", "Request target too long"),
        api.PayloadTooLarge: Problem(413, "payload-too-large", "Body too large"),
        api.RequestTimeout: Problem(408, "request-timeout", "Request not completed in time"),
        core.InvalidRequest: Problem(422, "invalid-request", "Invalid request"),
        core.TaskNotFound: Problem(404, "not-found", "Not found", "There is nothing here."),
        core.TaskConflict: Problem(409, "conflict", "Not possible in this state"),
        core.CursorBeyondEnd: Problem(409, "cursor-beyond-end", "Cursor beyond the end"),
        core.IdempotencyMismatch: Problem(
            422, "idempotency-key-reused", "Idempotency key used before"
        ),
        core.UnknownIdempotencyKey: Problem(
            409, "unknown-idempotency-key", "Unknown idempotency key"
        ),
        core.AlreadyRunning: Problem(409, "already-running", "Already running"),
        core.LimitExceeded: Problem(429, "limit-exceeded", "Limit reached"),
        core.Overloaded: Problem(503, "overloaded", "Too busy"),
        core.Draining: Problem(503, "draining", "Shutting down"),
        core.StorageFull: Problem(507, "storage-full", "No room left"),
        core.StorageError: Problem(
            503,
            "storage-unavailable",
            "Storage unavailable",
            "The database cannot be used at the moment; nothing was stored. Try again shortly.",
        ),
    }
)
"""The nearest class of an error's ancestry decides."""


def problem_of(error: BaseException) -> Problem:
    """The entry of the table for an error; `INTERNAL` when it has none."""
    return problem_for(type(error))


def problem_for(error: type[BaseException]) -> Problem:
    """The entry of the table for a class of errors; `INTERNAL` when it has none."""
    for ancestor in error.__mro__:
        if (problem := PROBLEMS.get(ancestor)) is not None:
            return problem
    return INTERNAL


def problem_response(
    error: BaseException, scope: Scope | None = None
) -> tuple[int, list[api.Header], bytes]:
    """The answer to an error: status, header fields with lower-case names, body.

    An error that is not in the table is logged with its traceback and a reference.

    Args:
        error: What was raised.
        scope: The request it was raised for; None leaves ``instance`` out.
    """
    problem = problem_of(error)
    body: dict[str, Any] = {
        "type": f"/problems/{problem.slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": _detail(error, problem),
    }
    if scope is not None and problem.status != 404 and (path := _instance(scope)):
        body["instance"] = path
    if isinstance(error, core.InvalidRequest):
        body["errors"] = [{"pointer": e.pointer, "detail": e.detail} for e in error.errors]
    if isinstance(error, core.AlreadyRunning):
        body |= {"error": "ALREADY_RUNNING", "isRunning": True}
    content = to_json(body).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *_own_headers(error),
    ]
    return problem.status, headers, content


async def send_problem(error: BaseException, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with an error; silent when its client is gone.

    When the client may still be sending, its bytes are thrown away for a moment after the answer:
    a connection closed with unread bytes is reset, and the reset can overtake the answer.
    """
    if isinstance(error, api.ClientDisconnected):
        return
    status, headers, body = problem_response(error, scope)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    lingers = isinstance(error, api.ConnectionFault) and error.unread
    await send({"type": "http.response.body", "body": body, "more_body": lingers})
    if lingers:
        with anyio.move_on_after(LINGER_SECONDS):
            await _discard(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    left = LINGER_BYTES
    while left > 0:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
        left -= len(message.get("body", b""))


def _detail(error: BaseException, problem: Problem) -> str:
    if problem is INTERNAL:
        reference = secrets.token_hex(8)
        logger.error("a request failed, reference %s", reference, exc_info=error)
        return f"Something went wrong in the server. Its log tells more under {reference}."
    detail = problem.detail or str(error)
    if len(detail) > MAX_DETAIL_CHARACTERS:
        detail = detail[: MAX_DETAIL_CHARACTERS - 1] + "…"
    return detail


def _instance(scope: Scope) -> str:
    """The request path as a URI reference: nothing but unreserved characters, ``/`` and ``%``."""
    path = scope.get("raw_path") or scope["path"].encode(errors="replace")
    return quote(path, safe="/%:@")[:MAX_INSTANCE_CHARACTERS]


def _own_headers(error: BaseException) -> list[api.Header]:
    if isinstance(error, api.ApiError):
        return list(error.headers)
    retry_after = (b"retry-after", b"%d" % RETRY_AFTER_SECONDS)
    if isinstance(error, core.LimitExceeded):
        # A limit of how many there may be at once: a quota (q) without a window (w), in the form
        # of draft-ietf-httpapi-ratelimit-headers-10.
        name = error.what.replace(" ", "-").encode()
        return [
            retry_after,
            (b"ratelimit-policy", b'"%s";q=%d;qu="concurrent-requests"' % (name, error.limit)),
            (b"ratelimit", b'"%s";r=0;t=%d' % (name, RETRY_AFTER_SECONDS)),
        ]
    if isinstance(error, core.Overloaded | core.Draining | core.StorageError):
        return [retry_after]
    return []
