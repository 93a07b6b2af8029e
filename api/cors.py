"""Cross-origin requests of browsers: exactly the listed origins, and nothing for anybody else.

Outermost of all wrappers, so that errors and streams carry the header fields too: a page that
cannot read why it was refused is a page nobody can debug. Credentials are never allowed: tokens
come in a header that the page itself sets, so a foreign page has nothing to ride on.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.errors import SettingsError

ALLOWED_METHODS = "GET, HEAD, POST, PUT, DELETE"
ALLOWED_HEADERS = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer"
EXPOSED_HEADERS = (
    "X-Task-Id, Location, Idempotency-Replayed, Retry-After, RateLimit, RateLimit-Policy"
)
PREFLIGHT_SECONDS = 600  # how long a browser may remember; also how long a removed origin lives

_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class CorsPolicy:
    """ASGI wrapper that lets pages of the listed origins call the application.

    Args:
        app: What is wrapped.
        origins: Scheme, host and port, e.g. ``https://example.com``; none changes nothing.

    Raises:
        SettingsError: An entry is no origin; there are no wildcards, and ``null`` is everybody.
    """

    def __init__(self, app: ASGIApp, *, origins: Iterable[str]) -> None:
        self._app = app
        self._origins = frozenset(_as_sent(origin).encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or pass the request on and complete its answer."""
        if not self._origins or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origin, asked_method = _origin_of(scope)
        listed = origin if origin in self._origins else None
        if listed is not None and asked_method and scope["method"] == "OPTIONS":
            await _answer_preflight(listed, send)
            return
        await self._app(scope, receive, _completing(send, listed))


def _as_sent(origin: str) -> str:
    """An origin as browsers write it: lower case, without a default port."""
    origin = origin.strip().lower().rstrip("/")
    if not _ORIGIN.fullmatch(origin):
        raise SettingsError(
            f"POSTSTREAM_CORS_ORIGINS: {origin!r} is no origin, e.g. https://example.com:8443."
        )
    return origin.removesuffix(_DEFAULT_PORTS[origin.partition(":")[0]])


def _origin_of(scope: Scope) -> tuple[bytes | None, bool]:
    """The one origin a request names, None when there is not one, and whether it asks for more."""
    origins: list[bytes] = []
    asks = False
    for name, value in scope["headers"]:
        if name == b"origin":
            origins.append(value)
        elif name == b"access-control-request-method":
            asks = True
    return (origins[0] if len(origins) == 1 else None), asks


def _completing(send: Send, origin: bytes | None) -> Send:
    """A `send` that adds the header fields; a plain function, since streams send often."""

    def complete(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (b"vary", b"Origin")]
            if origin is not None:
                headers.append((b"access-control-allow-origin", origin))
                headers.append((b"access-control-expose-headers", EXPOSED_HEADERS.encode()))
            message = {**message, "headers": headers}
        return send(message)

    return complete


async def _answer_preflight(origin: bytes, send: Send) -> None:
    headers = [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-methods", ALLOWED_METHODS.encode()),
        (b"access-control-allow-headers", ALLOWED_HEADERS.encode()),
        (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS),
        (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
