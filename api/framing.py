"""What a request must look like before anything else looks at it.

httptools refuses most of what smuggles one request inside another, but takes headers of any size,
no Host, and HTTP/0.9. The guard answers what is left.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import (
    ApiError,
    BadFraming,
    HeaderTooLarge,
    MethodNotAllowed,
    UriTooLong,
)
from api.problems import send_problem

MAX_HEADER_BYTES = 32 * 1024  # a token has at most 8 KiB; every field is copied and kept
MAX_TARGET_BYTES = 8 * 1024  # paths and queries are logged and kept as well

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")

_NEVER = frozenset({"TRACE", "CONNECT"})  # would echo a token, or make the server a tunnel
_VERSIONS = frozenset({"1.0", "1.1"})
_WATCHED = frozenset({b"host", b"content-length", b"transfer-encoding"})
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


class FramingGuard:
    """ASGI wrapper that answers requests in doubt itself and closes their connections.

    Args:
        app: What is wrapped; it sees only requests with one host and one length.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass a request on, or answer what is wrong with it."""
        if scope["type"] == "http" and (fault := find_fault(scope)) is not None:
            return send_problem(fault, scope, receive, send)
        return self._app(scope, receive, send)


def find_fault(scope: Scope) -> ApiError | None:
    """What is wrong with a request; None when nothing is."""
    size = 0
    watched: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        size += len(name) + len(value) + 4  # as sent: with colon, blank and line end
        if name in _WATCHED:
            if name in watched:
                return BadFraming(f"{name.decode().title()} is given twice.", unread=True)
            watched[name] = value
    if size > MAX_HEADER_BYTES:
        return HeaderTooLarge(
            f"The header fields are larger than {MAX_HEADER_BYTES} bytes.", unread=True
        )
    if len(scope["query_string"]) + len(scope.get("raw_path") or b"") > MAX_TARGET_BYTES:
        return UriTooLong(f"Path and query are larger than {MAX_TARGET_BYTES} bytes.", unread=True)
    if (reason := _doubt(scope["http_version"], watched)) is not None:
        return BadFraming(reason, unread=True)
    if scope["method"] in _NEVER:
        return MethodNotAllowed(METHODS)
    return None


def _doubt(version: str, watched: dict[bytes, bytes]) -> str | None:
    if version not in _VERSIONS:
        return "This is HTTP/1.1; HTTP/1.0 is understood."
    host = watched.get(b"host")
    if host is None and version == "1.1":
        return "Host is missing."
    if host is not None and not _HOST.fullmatch(host):
        return "Host is no host with an optional port."
    coding = watched.get(b"transfer-encoding")
    if coding is not None and (version == "1.0" or coding.lower() != b"chunked"):
        return "Of the transfer codings, chunked is understood, in HTTP/1.1."
    if coding is not None and b"content-length" in watched:
        return "Content-Length and Transfer-Encoding exclude each other."
    return None
