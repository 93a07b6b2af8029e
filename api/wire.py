"""One request on a connection of ours: its body on the way in, its answer on the way out.

uvicorn's own `RequestResponseCycle` looks through every field name and value with two expressions,
joins every chunk anew and writes the head of an answer by itself; that costs more than the rest of
a short answer. Here the fields are looked through together, and the head goes out with the first
piece of the body, in one system call. And where a client keeps up with its stream, `push` writes
what was made once for all readers, without waking anybody.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence

from starlette.types import ASGIApp, Message, Scope
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from api.gathering import GatheringTransport
from api.outlet import WIRE, Outlet

logger = logging.getLogger(__name__)

KNOWN_NAMES = 256  # of header fields; there are few, and others are looked at each time
COPIED_BYTES = 16 * 1024  # a longer piece is written as it is, not copied into a chunk

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_CONTROLS = bytes({*range(32), 127} - {9})  # all but the tab
_LENGTH = b"\r\ncontent-length: "
_CLOSES = re.compile(rb"\r\nconnection: [^\r]*(?i:close)")
_CONNECTION = re.compile(rb"(?<=\r\n)connection: [^\r]*\r\n")
_END = b"0\r\n\r\n"
_NO_BODY = (204, 304)

_SORRY = b"Internal Server Error"
_SORRY_FIELDS = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(_SORRY)),
    (b"connection", b"close"),
]


class Wire(Outlet):
    """One request on its way through the application; its `receive` and `send` are the ASGI ones.

    The protocol (`api.connections`) feeds it and looks at it.

    Args:
        scope: The request.
        transport: Its connection.
        flow: Whether the connection takes bytes, and may be read.
        default_headers: Header fields of every answer.
        keep_alive: Whether another request may follow.
        expects_continue: Whether the client wants to be asked for the body.
        on_response: Called when the answer is over: complete, or broken off.
        tasks: Those that answer requests; that of this one is among them as long as it takes.
    """

    __slots__ = (
        "_chunked", "_default_headers", "_expects_continue", "_flow", "_has_news", "_head", "_left",
        "_more_comes", "_news", "_on_response", "_pieces", "_task", "_tasks", "_transport",
        "_waiting_bytes", "disconnected", "keep_alive", "response_complete", "scope",
    )  # fmt: skip

    def __init__(
        self, scope: Scope, transport: GatheringTransport, flow: FlowControl,
        default_headers: Sequence[tuple[bytes, bytes]], *, keep_alive: bool, expects_continue: bool,
        on_response: Callable[[], None], tasks: set[asyncio.Task[None]],
    ) -> None:  # fmt: skip
        super().__init__()
        self.scope = scope
        self._transport = transport
        self._flow = flow
        self._default_headers = default_headers
        self.keep_alive = keep_alive
        self._expects_continue = expects_continue
        self._on_response = on_response
        self._tasks = tasks
        self._task: asyncio.Task[None] | None = None
        self._pieces: list[bytes] = []  # of the body, not received yet
        self._waiting_bytes = 0  # in all of them
        self._more_comes = True
        self._has_news = False  # there is something to receive
        self._news: asyncio.Event | None = None  # once somebody has waited for it
        self.disconnected = False
        """Whether the client is gone, or to be treated so."""
        self.response_complete = False
        """Whether the answer is."""
        self._head = b""  # while it waits for the first piece of the body
        self._chunked = False
        self._left: int | None = 0  # of Content-Length; None: closing ends the body

    @property
    def has_written(self) -> bool:
        """Whether the client may have seen some of the answer."""
        return self.status is not None and not self._head

    def start(self, app: ASGIApp, loop: asyncio.AbstractEventLoop) -> None:
        """Let the application answer, and see that the answer ends, whatever it does."""
        self._task = loop.create_task(self._run(app))
        self._tasks.add(self._task)

    async def _run(self, app: ASGIApp) -> None:
        self.scope["extensions"] = {WIRE: self}
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException as error:  # also a cancel: uvicorn does that when it has to leave
            logger.error("the application failed", exc_info=error)
            self._break_off()
        else:
            if not self.response_complete and not self._is_gone():
                logger.error("the application ended before its answer")
                self._break_off()
        finally:
            # First: a server waits for it, whatever happened. And not by a callback of the task:
            # that would be one more step of the loop.
            self._tasks.discard(self._task)
            self._task = None
            self._on_response = _nothing
            self.scope.pop("extensions", None)  # else request and answer hold each other

    def feed(self, piece: bytes) -> None:
        """A piece of the body came."""
        self._pieces.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes > HIGH_WATER_LIMIT:
            self._flow.pause_reading()
        self._tell()

    def finish(self) -> None:
        """The body is complete."""
        self._more_comes = False
        self._tell()

    def disconnect(self) -> None:
        """The client is gone, or to be treated so."""
        if not self.response_complete:
            self.disconnected = True
        self._tell()

    def _tell(self) -> None:
        self._has_news = True
        if self._news is not None:
            self._news.set()

    async def receive(self) -> Message:
        """Wait for some of the body, or for the client to go."""
        if self._expects_continue and not self._is_gone():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._expects_continue = False
        if not self.disconnected and not self.response_complete:
            self._flow.resume_reading()
            if not self._has_news:
                self._news = self._news or asyncio.Event()
                self._news.clear()
                await self._news.wait()
            self._has_news = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body = b"".join(self._pieces)
        self._pieces.clear()
        self._waiting_bytes = 0
        return {"type": "http.request", "body": body, "more_body": self._more_comes}

    async def send(self, message: Message) -> None:
        """Write a message; waits while the client does not keep up.

        Raises:
            RuntimeError: The application breaks the rules of ASGI or HTTP.
        """
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.status is None:
            self._start(message)
        elif self.response_complete and not self.disconnected:
            raise RuntimeError("The answer is complete already.")
        elif not self._is_gone():
            self._write(message)

    def push(self, chunk: bytes) -> bool:
        """Write a chunk of a body that has begun.

        Args:
            chunk: Made by `chunked`.

        Returns:
            False when the client does not keep up or is gone, or the answer is over; nothing was
            written then.
        """
        # Behind the end of an answer, the next one on this connection would be spoilt.
        if not self._chunked or self.response_complete or self.disconnected:
            return False
        if self._flow.write_paused or self._transport.is_closing():
            return False
        # Whoever pushes goes from reader to reader, with nothing in between.
        self._transport.write_now(self._taken_head() + chunk if self._head else chunk)
        self.sent += len(chunk)
        return True

    def abort(self) -> None:
        """End the connection at once, whatever waits to be sent."""
        self._transport.abort()

    def _is_gone(self) -> bool:
        # A transport that is closing may raise; the protocol hears of its end only later.
        return self.disconnected or self._transport.is_closing()

    def _start(self, message: Message) -> None:
        """Make the head of the answer, and keep it."""
        if message["type"] != "http.response.start":
            raise RuntimeError(f"An answer cannot begin with {message['type']!r}.")
        self._expects_continue = False
        status = self.status = message["status"]
        fields = (*self._default_headers, *message.get("headers", ()), *self.extra)
        head = STATUS_LINE[status] + _field_lines(fields)
        if _CLOSES.search(head):
            self.keep_alive = False
        elif not self.keep_alive:
            head = _CONNECTION.sub(b"", head) + b"connection: close\r\n"
        if (start := head.find(_LENGTH)) >= 0:
            start += len(_LENGTH)
            self._left = int(head[start : head.index(b"\r", start)])
        elif status not in _NO_BODY and self.scope["method"] != "HEAD":
            # HTTP/1.0 knows no chunks, and a connection takes one request there.
            self._chunked = self.scope["http_version"] != "1.0"
            if self._chunked:
                head += b"transfer-encoding: chunked\r\n"
            else:
                self._left = None
        self._head = head + b"\r\n"

    def _taken_head(self) -> bytes:
        head, self._head = self._head, b""
        return head

    def _write(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            raise RuntimeError(f"An answer does not go on with {message['type']!r}.")
        body = message.get("body", b"")
        last = not message.get("more_body", False)
        end = _END if last else b""
        size = len(body)
        self.sent += size
        if not self._chunked:
            self._write_piece(body)
        elif size > COPIED_BYTES:
            self._transport.write(b"%b%x\r\n" % (self._taken_head(), size))
            self._transport.write(body)
            self._transport.write(b"\r\n" + end)
        elif body:
            self._transport.write(b"%b%x\r\n%b\r\n%b" % (self._taken_head(), size, body, end))
        else:
            self._transport.write(self._taken_head() + end)
        if last:
            self._complete()

    def _write_piece(self, body: bytes) -> None:
        """Write some of a body without chunks; of an answer to HEAD only the head."""
        if self.scope["method"] == "HEAD":
            body, self._left = b"", 0
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0:
                raise RuntimeError("The body is longer than its Content-Length.")
        head = self._taken_head()
        if head and len(body) > COPIED_BYTES:
            self._transport.write(head)
            self._transport.write(body)
        elif head or body:
            self._transport.write(head + body)

    def _complete(self) -> None:
        if self._left:
            raise RuntimeError("The body is shorter than its Content-Length.")
        self.response_complete = True
        self._tell()
        if not self.keep_alive:
            self._transport.close()
        self._on_response()

    def _break_off(self) -> None:
        """End an answer that the application has left as it is."""
        if self._is_gone():
            return
        if self.status is None:
            self._start({"type": "http.response.start", "status": 500, "headers": _SORRY_FIELDS})
            self._write({"type": "http.response.body", "body": _SORRY})
        else:
            self._transport.write(self._taken_head())
            self._transport.close()
            self._on_response()  # what is left to send is watched


def chunked(body: bytes) -> bytes:
    """A piece of a body in the chunked transfer coding; not empty, that would be the end."""
    return b"%x\r\n%b\r\n" % (len(body), body)


def _field_lines(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Header fields as they are sent; refused if a value ends its line or has other controls."""
    lines = b"\r\n".join([*[_beginnings[name] + value for name, value in fields], b""])
    if len(lines) - len(lines.translate(None, _CONTROLS)) != 2 * len(fields):
        raise RuntimeError("A header field with a control character cannot be sent.")
    return lines


class _Beginnings(dict[bytes, bytes]):
    """How the line of a header field begins, by its name."""

    def __missing__(self, name: bytes) -> bytes:
        lower = name.lower()
        if not _NAME.fullmatch(lower):
            raise RuntimeError(f"A header field of the name {lower!r} cannot be sent.")
        beginning = lower + b": "
        if len(self) < KNOWN_NAMES:
            self[name] = beginning
        return beginning


_beginnings = _Beginnings()


def _nothing() -> None:
    """The answer is over, and the protocol need not be held."""
