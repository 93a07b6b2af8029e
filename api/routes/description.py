"""What the server says of its own routes: the OpenAPI document and the page made of it."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import orjson

from api.endpoint import NOSNIFF, Call
from api.errors import Header

_CACHED = (b"cache-control", b"no-cache")


async def document(call: Call) -> None:
    """`GET /openapi.json`: every route, for programs."""
    server = {"servers": [{"url": call.scope.get("root_path", "") or "/"}]}
    found = await asyncio.to_thread(_document)
    await _send(call, orjson.dumps(found | server), b"application/json")


async def page(call: Call) -> None:
    """`GET /docs`: every route, for people."""
    from api.docs import POLICY

    policy = (b"content-security-policy", POLICY.encode())
    await _send(call, await asyncio.to_thread(_page), b"text/html; charset=utf-8", policy)


@functools.cache
def _document() -> dict[str, Any]:
    # Describing all models takes half a second: only those who ask wait, and not the loop.
    from api.openapi import make_document
    from api.routes import ROUTES
    from api.routes.operations import OPERATIONS
    from api.versions import installed_version

    return make_document(ROUTES, OPERATIONS, version=installed_version())


@functools.cache
def _page() -> bytes:
    from api.docs import render

    return render(_document()).encode()


async def _send(call: Call, data: bytes, media_type: bytes, *headers: Header) -> None:
    fields = [
        (b"content-type", media_type),
        (b"content-length", b"%d" % len(data)),
        _CACHED,
        NOSNIFF,
        *headers,
    ]
    await call.send({"type": "http.response.start", "status": 200, "headers": fields})
    await call.send({"type": "http.response.body", "body": data})
