"""The page: its own routes, its assets, and a plain sentence where it was not built.

The page is the folder `api/_web`, built from `web/`. Its routes all answer with the same
`index.html`; which screen it is, the page itself reads from the address.
"""

from __future__ import annotations

import functools
import html
import re
from pathlib import Path

import orjson

from api.endpoint import NO_STORE, NOSNIFF, Call
from api.errors import Header, NotFound

FOLDER = Path(__file__).parents[1] / "_web"

PATHS = (
    "/", "/new", "/login", "/history", "/worker", "/settings", "/tasks/{task_id}",
    "/tasks/{task_id}/results",
)  # fmt: skip

ASSETS = "/assets/{name}"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",  # artifacts are read with a token, then shown from memory
        "connect-src 'self'",
        "base-uri 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""What the page may load: nothing from elsewhere, and nothing written into the document."""

_SAFETY: list[Header] = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    NOSNIFF,
]
_FOR_EVER = (b"cache-control", b"public, max-age=31536000, immutable")
_ASK_AGAIN = (b"cache-control", b"no-cache")
_NAME = re.compile(r"[A-Za-z0-9_.-]+\.(?:js|css|svg)")
_KINDS = {"js": b"text/javascript", "css": b"text/css", "svg": b"image/svg+xml"}

_NOT_BUILT = b"""Poststream is running, but its page was not built here.

The API is complete without it.

In a checkout `make page` builds it; an installed package carries it unless it was made without.

Start a task and watch it, with a token from `poststream token`:

    curl -N -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\
         -d '{"description": "...", "selectedAgents": ["..."]}' /api/agents/execute/stream

The README lists events and routes.
"""


async def show(call: Call) -> None:
    """Any route of the page."""
    index = _read(FOLDER / "index.html")
    if index is None:
        await _send(call, _NOT_BUILT, [(b"content-type", b"text/plain; charset=utf-8"), NO_STORE])
        return
    body = _completed(index.decode(), call).encode()
    await _send(call, body, [(b"content-type", b"text/html; charset=utf-8"), _ASK_AGAIN])


async def asset(call: Call) -> None:
    """`GET /assets/{name}`: a file whose name changes with its content, so it never grows old."""
    name = call.path("name")
    body = _read(FOLDER / "assets" / name) if _NAME.fullmatch(name) else None
    if body is None:
        raise NotFound
    kind = _KINDS[name.rpartition(".")[2]] + b"; charset=utf-8"
    await _send(call, body, [(b"content-type", kind), _FOR_EVER])


def _completed(index: str, call: Call) -> str:
    """The document with where it is mounted and what it has to know of this server."""
    settings = call.components.settings
    facts = {
        "pollMilliseconds": settings.poll_milliseconds,
        "keepaliveSeconds": settings.keepalive_seconds,
    }
    base = html.escape(call.url("/"))
    content = html.escape(orjson.dumps(facts).decode())
    return index.replace('<base href="/"', f'<base href="{base}"', 1).replace(
        '<meta name="poststream" content="{}"', f'<meta name="poststream" content="{content}"', 1
    )


def _read(path: Path) -> bytes | None:
    """A file of the page; None when it is not there."""
    try:
        return _cached(path, path.stat().st_mtime_ns)
    except OSError:
        return None


@functools.lru_cache(maxsize=64)
def _cached(path: Path, changed: int) -> bytes:
    return path.read_bytes()


async def _send(call: Call, body: bytes, headers: list[Header]) -> None:
    length = (b"content-length", b"%d" % len(body))
    await call.send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [*headers, length, *_SAFETY],
        }
    )
    await call.send({"type": "http.response.body", "body": body})
