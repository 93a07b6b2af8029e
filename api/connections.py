"""Connections that waste time, fill memory or speak something else are closed."""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from collections import deque
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import BadFraming, ConnectionFault, HeaderTooLarge
from api.framing import MAX_HEADER_BYTES, MAX_TARGET_BYTES
from api.gathering import GatheringTransport
from api.problems import problem_response
from api.wire import Wire

_BETWEEN, _HEAD, _BODY = range(3)  # which part of a request comes next
_NOWHERE: Any = deque(maxlen=0)  # takes fields and keeps none


class TimedHttpToolsProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol that waits for headers only so long and takes only so many.

    * A connection that has not sent complete headers `head_seconds` after it was made, or after
      the first byte of a further request, is closed.
    * Headers that grow past every limit are answered 431 before they are complete, so that nobody
      fills the memory meanwhile. So are fields behind a body; short ones are dropped: nobody here
      wants them, and among the header fields they could pass for what a proxy has looked at.
    * What is no HTTP gets one 400. If it follows a request that is still being answered, that
      answer comes first and whole: uvicorn alone writes its 400 into the middle of it. A request
      whose own body breaks gets the 400 as its answer.
    * A request to go on in another protocol is answered as what else it is, and the last one: the
      parser has lost what stands behind it, and what comes next may be the middle of a request.
    * A complete answer of which the client takes nothing for `untaken_seconds` ends with its
      connection: it is memory of ours, and no stream or download that would notice. The same
      holds for what is left to send, however little, when a connection is to be closed.
    * Whoever answers is told that the client went, also when it has sent more requests meanwhile.

    Give it to uvicorn as ``http=TimedHttpToolsProtocol``.

    In the place of uvicorn's own request and answer stands a `Wire`. And of all that limits how
    long a connection may rest there is one timer, which is looked at when it is due: one for each
    request would cost more than a look now and then.

    Private parts of uvicorn that it stands on: the attributes of `HttpToolsProtocol`; that
    ``_should_upgrade`` knows whether another protocol takes over; that a server waits for what is
    in ``tasks``, and cancels it in the end; and what is done with a ``cycle``, which the attributes
    of `Wire` with these names are for.
    """

    cycle: Any  # a `Wire`; None before the first request
    transport: Any  # a `GatheringTransport`
    scope: Any  # more than uvicorn's type knows
    head_seconds = 10.0  # honest clients send headers in one piece; this is for bad lines
    untaken_seconds = 60.0  # as for a stream that is not taken
    linger_seconds = 1.0  # closing with unread bytes is a reset, which can overtake the answer
    max_head_bytes = MAX_HEADER_BYTES + MAX_TARGET_BYTES + 8 * 1024  # colons, line ends, blanks

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._part = _BETWEEN
        self._head_bytes = 0  # read since the headers began, or since the last piece of a body
        self._timer: TimerHandle | None = None
        # When headers must be complete, or the next request begin; None: the application is busy.
        self._deadline: float | None = None
        self._rests = False  # between two requests
        # Sent before the connection is closed; once it is there, nothing more is parsed.
        self._last_words: bytes | None = None
        self._untaken: TimerHandle | None = None
        self._answering: Any = None  # a `Wire`; `cycle` is the one of the last request

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Start waiting for headers."""
        gathering: Any = GatheringTransport(transport, self.loop)
        super().connection_made(gathering)
        self._wait(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stop_watching()
        if self._answering is not None:
            self._answering.disconnect()
            self._answering = None
        self.pipeline.clear()
        self.cycle = None  # uvicorn would treat it as its own
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and see whether headers are still open."""
        if self._is_ending():
            return
        if self._rests:
            self._rests, self._deadline = False, None
        self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self._refuse(BadFraming("This is no valid HTTP/1.1 request."))
        except httptools.HttpParserUpgrade:
            self._upgrade()
        if self._is_ending():
            return
        if self._part != _BETWEEN and self._head_bytes > self.max_head_bytes:
            self._refuse(HeaderTooLarge("The header fields are too large."))
        elif self._deadline is None and (self._part == _HEAD or self._is_idle()):
            self._wait(self.head_seconds)

    def on_message_begin(self) -> None:
        """The first byte of a request came."""
        self._part, self._head_bytes = _HEAD, 0
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        """The headers are complete; from here on the application decides how long to wait."""
        version = self.parser.get_http_version()
        self.scope = self._made_scope(version)  # raises for a target that is none: still the head
        self._part, self._deadline = _BETWEEN, None
        if self.parser.should_upgrade() and self._should_upgrade():
            return  # another protocol takes over
        self._part, self._head_bytes = _BODY, 0
        self.headers = _NOWHERE  # what comes behind the body
        was_idle = self._is_idle()
        wire: Any = Wire(
            self.scope, self.transport, self.flow, self.server_state.default_headers,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            expects_continue=self.expect_100_continue, on_response=self.on_response_complete,
            tasks=self.tasks,
        )  # fmt: skip
        self.cycle = wire
        app = service_unavailable if self._is_crowded() else self.app
        if was_idle:
            self._answer(wire, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((wire, app))

    def _answer(self, wire: Any, app: Any) -> None:
        self._answering = wire
        wire.start(app, self.loop)

    def on_body(self, body: bytes) -> None:
        """A piece of the body came."""
        self._head_bytes = 0
        if self._part == _BODY and not self.cycle.response_complete:
            self.cycle.feed(body)

    def on_message_complete(self) -> None:
        """The body is complete."""
        if self._part == _BODY and not self.cycle.response_complete:
            self.cycle.finish()
        self._part = _BETWEEN

    def on_response_complete(self) -> None:
        """An answer is over; if it was the last one, rest, or close with the last words."""
        self.server_state.total_requests += 1
        was_last = not self.pipeline
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:
                self._answer(*self.pipeline.pop())
            elif self._deadline is None:
                self._rests = True
                self._wait(self.timeout_keep_alive)
        if was_last and self._last_words is not None:
            self._close()
        if self.flow.write_paused or self._is_leaving():
            self._start_watching()

    def pause_writing(self) -> None:
        """The client does not keep up: see that it goes on."""
        super().pause_writing()
        # Streams and downloads see to that themselves; nobody else does. An answer may be complete
        # before it comes here, as its last piece may have waited for the end of the turn.
        if self._is_idle() or self.cycle.status is None:
            self._start_watching()

    def resume_writing(self) -> None:
        """The client takes what waits for it."""
        if not self.transport.is_closing():  # else the rest has to go too
            self._stop_watching()
        super().resume_writing()

    def _upgrade(self) -> None:
        """Go on in another protocol; what the parser has read behind the request is lost."""
        if self._should_upgrade():
            self.handle_websocket_upgrade()
        else:  # a body that comes next would be read as a request
            self.cycle.keep_alive = False
            self._refuse(None)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _is_ending(self) -> bool:
        return self._last_words is not None or self.transport.is_closing()

    def _refuse(self, fault: ConnectionFault | None) -> None:
        """Take nothing more from this connection and close it once its answers are complete.

        Args:
            fault: What the client is told at the end; None tells nothing.
        """
        self._deadline = None
        self._last_words = b"" if fault is None else self._rendered(fault)
        if self._part == _BODY and self.pipeline:
            self.pipeline.popleft()  # its body broke before its turn came
        elif self._part == _BODY and not self._is_idle():
            if self.cycle.has_written:
                self._last_words = b""  # its answer has begun and cannot become another one
            self.cycle.disconnect()
            self._close()
        elif self._is_idle():
            if self._part == _BODY:
                self._last_words = b""  # it was answered before its body came to the end
            self._close()

    def _close(self) -> None:
        if self.transport.is_closing():
            return
        if self._last_words and self.transport.can_write_eof():
            self.transport.write(self._last_words)
            self.transport.write_eof()
            self.flow.resume_reading()  # to throw away what still comes, and to see the end
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_later(self.linger_seconds, self._leave)
        else:
            self.transport.write(self._last_words or b"")
            self._leave()

    def _leave(self) -> None:
        self.transport.close()
        if self._is_leaving():
            self._start_watching()

    def _is_leaving(self) -> bool:
        left: int = self.transport.get_write_buffer_size()
        return left > 0 and bool(self.transport.is_closing())

    def _start_watching(self) -> None:
        if self._untaken is None:
            self._watch(None)

    def _watch(self, before: int | None) -> None:
        """End the connection if as much waits as before: while writing is paused none is added."""
        waits = self.transport.get_write_buffer_size()
        if before is not None and waits >= before:
            self.transport.abort()
        else:
            self._untaken = self.loop.call_later(self.untaken_seconds, self._watch, waits)

    def _stop_watching(self) -> None:
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None

    def _rendered(self, fault: ConnectionFault) -> bytes:
        status, headers, body = problem_response(fault)
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
        lines += [b"%s: %s" % header for header in (*self.server_state.default_headers, *headers)]
        return b"\r\n".join([*lines, b"", body])

    def _is_crowded(self) -> bool:
        most = self.limit_concurrency
        return most is not None and max(len(self.connections), len(self.tasks)) >= most

    def _made_scope(self, version: str) -> Any:
        target = httptools.parse_url(self.url)
        path = target.path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
            "method": self.parser.get_method().decode("ascii"),
            "path": self.root_path + (unquote(path) if "%" in path else path),
            "raw_path": self.root_path.encode("ascii") + target.path,
            "query_string": target.query or b"",
        }

    def _wait(self, seconds: float) -> None:
        """Close this connection unless it goes on in time."""
        self._deadline = self.loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self.loop.call_later(seconds, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        left = self._deadline - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._on_time)
        else:
            self._refuse(None)
