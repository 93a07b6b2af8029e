"""Calls an ASGI application without a server."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]
HOST = (b"host", b"127.0.0.1:8000")


class Answer(NamedTuple):
    """What an application answered."""

    status: int
    headers: list[Header]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for field, value in self.headers if field == name]

    def json(self) -> Any:
        return orjson.loads(self.body)


def make_scope(
    method: str = "GET",
    path: str = "/",
    *,
    headers: list[Header] | None = None,
    query_string: bytes = b"",
    http_version: str = "1.1",
) -> Scope:
    return {
        "type": "http",
        "http_version": http_version,
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query_string,
        "headers": [HOST] if headers is None else headers,
    }


def receiving(*pieces: bytes, disconnects: bool = False) -> Receive:
    """A `receive` that brings a body in pieces and then its end, or the client's."""
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
    ]
    if disconnects:
        messages.append({"type": "http.disconnect"})
    elif messages:
        messages[-1]["more_body"] = False
    else:
        messages.append({"type": "http.request"})
    left = iter(messages)

    async def receive() -> Message:
        return next(left, {"type": "http.disconnect"})

    return receive


async def call(app: ASGIApp, scope: Scope, *pieces: bytes) -> Answer:
    """One request and its whole answer."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receiving(*pieces), send)
    start, *rest = sent
    assert start["type"] == "http.response.start"
    assert not rest[-1].get("more_body", False)
    body = b"".join(message.get("body", b"") for message in rest)
    return Answer(start["status"], list(start["headers"]), body)


def answering(status: int = 200, body: bytes = b"ok") -> ASGIApp:
    """An application that always answers the same."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/plain"), (b"x-task-id", b"1")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app
