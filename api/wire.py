"""The last step of an answer: from ASGI messages to bytes on the connection.

uvicorn's own `send` looks through every field name and value with two expressions and joins every
chunk anew; with the ten fields of a stream that costs more than the rest of a short answer. Here a
field is looked through once, and remembered. And where a client keeps up with its stream, `push`
writes what was made once for all readers, without waking anybody.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

WIRE = "poststream.wire"
"""ASGI extension of our server: the `Wire` of the answer."""

COPIED_BYTES = 16 * 1024  # a longer piece is written as it is, not copied into a chunk

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_NO_BODY = (204, 304)


class Wire:
    """One answer on its way out; its `send` is the ASGI one.

    An ASGI application itself: it runs the one it is given with that `send`.

    Args:
        cycle: uvicorn's request and response. Private parts of it that this stands on: ``flow``,
            ``transport``, ``scope``, ``default_headers``, ``on_response``, ``message_event``,
            ``disconnected``, ``keep_alive``, ``waiting_for_100_continue``, ``response_started``,
            ``response_complete``, ``chunked_encoding`` and ``expected_content_length``.
        app: Answers the request.
    """

    __slots__ = ("_app", "_cycle", "pushed")

    def __init__(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:
        self._cycle: Any = cycle
        self._app = app
        self.pushed = 0
        """Bytes that went past `send`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application."""
        scope["extensions"] = {WIRE: self}
        try:
            await self._app(scope, receive, self.send)
        finally:
            del scope["extensions"]  # else request and answer hold each other, for the collector

    async def send(self, message: Message) -> None:
        """Write a message; waits while the client does not keep up.

        Raises:
            RuntimeError: The application breaks the rules of ASGI or HTTP.
        """
        cycle = self._cycle
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.response_complete and not cycle.disconnected:
            raise RuntimeError("The answer is complete already.")
        if self._is_gone():
            return
        if cycle.response_started:
            self._write(message)
        else:
            self._start(message)

    def push(self, chunk: bytes) -> bool:
        """Write a chunk of a body that has begun.

        Args:
            chunk: Made by `chunked`.

        Returns:
            False when the client does not keep up or is gone, or the answer is over; nothing was
            written then.
        """
        cycle = self._cycle
        if cycle.flow.write_paused or self._is_gone() or not cycle.chunked_encoding:
            return False
        if cycle.response_complete:  # the next answer on this connection would be spoilt
            return False
        cycle.transport.write(chunk)
        self.pushed += len(chunk)
        return True

    def abort(self) -> None:
        """End the connection at once, whatever waits to be sent."""
        self._cycle.transport.abort()

    def _is_gone(self) -> bool:
        # A transport that is closing may raise; the protocol hears of its end only later.
        return bool(self._cycle.disconnected or self._cycle.transport.is_closing())

    def _start(self, message: Message) -> None:
        cycle = self._cycle
        if message["type"] != "http.response.start":
            raise RuntimeError(f"An answer cannot begin with {message['type']!r}.")
        cycle.response_started = True
        cycle.waiting_for_100_continue = False
        status = message["status"]
        lines = [STATUS_LINE[status]]
        closes = False
        for name, value in (*cycle.default_headers, *message.get("headers", ())):
            line = _field_line(name, value)
            if line.startswith(b"con"):  # connection, content-length
                closes = self._mind(line) or closes
            lines.append(line)
        if not cycle.keep_alive and not closes:
            lines.append(b"connection: close\r\n")
        if cycle.chunked_encoding is None:
            cycle.chunked_encoding = status not in _NO_BODY and cycle.scope["method"] != "HEAD"
            if cycle.chunked_encoding:
                lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        cycle.transport.write(b"".join(lines))

    def _mind(self, line: bytes) -> bool:
        """Heed a field that says how the answer ends; True if it ends the connection."""
        cycle = self._cycle
        name, _, value = line[:-2].partition(b": ")
        if name == b"content-length":
            cycle.expected_content_length = int(value)
            cycle.chunked_encoding = False
        elif name == b"connection" and b"close" in value.lower():
            cycle.keep_alive = False
            return True
        return False

    def _write(self, message: Message) -> None:
        cycle = self._cycle
        if message["type"] != "http.response.body":
            raise RuntimeError(f"An answer does not go on with {message['type']!r}.")
        body = message.get("body", b"")
        last = not message.get("more_body", False)
        if cycle.chunked_encoding:
            if len(body) > COPIED_BYTES:
                cycle.transport.write(b"%x\r\n" % len(body))
                cycle.transport.write(body)
                data = b"\r\n"
            else:
                data = chunked(body) if body else b""
            data = data + b"0\r\n\r\n" if last else data
        elif cycle.scope["method"] == "HEAD":
            data, cycle.expected_content_length = b"", 0
        else:
            cycle.expected_content_length -= len(body)
            if cycle.expected_content_length < 0:
                raise RuntimeError("The body is longer than its Content-Length.")
            data = body
        if data:
            cycle.transport.write(data)
        if last:
            self._complete()

    def _complete(self) -> None:
        cycle = self._cycle
        if cycle.expected_content_length != 0:
            raise RuntimeError("The body is shorter than its Content-Length.")
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()


def chunked(body: bytes) -> bytes:
    """A piece of a body in the chunked transfer coding; not empty, that would be the end."""
    return b"%x\r\n%b\r\n" % (len(body), body)


@functools.lru_cache(maxsize=1024)  # most fields are the same each time
def _field_line(name: bytes, value: bytes) -> bytes:
    name = name.lower()
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise RuntimeError(f"The header field {name!r} cannot be sent.")
    return b"%b: %b\r\n" % (name, value)
