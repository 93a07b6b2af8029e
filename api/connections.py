"""Connections that waste time, fill memory or speak something else are closed."""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import BadFraming, ConnectionFault, HeaderTooLarge
from api.framing import MAX_HEADER_BYTES, MAX_TARGET_BYTES
from api.problems import problem_response

_BETWEEN, _HEAD, _BODY = range(3)  # which part of a request comes next


class TimedHttpToolsProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol that waits for headers only so long and takes only so many.

    * A connection that has not sent complete headers `head_seconds` after it was made, or after
      the first byte of a further request, is closed.
    * Headers that grow past every limit are answered 431 before they are complete, so that nobody
      fills the memory meanwhile.
    * What is no HTTP gets one 400. If it follows a request that is still being answered, that
      answer comes first and whole: uvicorn alone writes its 400 into the middle of it. A request
      whose own body breaks gets the 400 as its answer.
    * A complete answer of which the client takes nothing for `untaken_seconds` ends with its
      connection: it is memory of ours, and no stream or download that would notice.

    Give it to uvicorn as ``http=TimedHttpToolsProtocol``.

    Private parts of uvicorn that it stands on: the attributes ``loop``, ``transport``, ``flow``,
    ``cycle``, ``pipeline``, ``server_state.default_headers``; of a cycle ``response_started``,
    ``response_complete``, ``disconnected``, ``message_event``; that ``send_400_response`` is
    called when the parser gives up, and ``on_response_complete`` after every answer.
    """

    head_seconds = 10.0  # honest clients send headers in one piece; this is for bad lines
    untaken_seconds = 60.0  # as for a stream that is not taken
    linger_seconds = 1.0  # closing with unread bytes is a reset, which can overtake the answer
    max_head_bytes = MAX_HEADER_BYTES + MAX_TARGET_BYTES + 8 * 1024  # colons, line ends, blanks

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._part = _BETWEEN
        self._head_bytes = 0
        self._timer: TimerHandle | None = None
        self._head_until: float | None = None  # when headers must be complete; None: none are open
        # Sent before the connection is closed; once it is there, nothing more is parsed.
        self._last_words: bytes | None = None
        self._untaken: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Start waiting for headers."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stop_watching()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and see whether headers are still open."""
        if self._is_ending():
            return
        was_in_head = self._part == _HEAD
        super().data_received(data)
        if self._is_ending():
            return
        if was_in_head and self._part == _HEAD:
            self._head_bytes += len(data)
            if self._head_bytes > self.max_head_bytes:
                self._refuse(HeaderTooLarge("The header fields are too large."))
                return
        if self._head_until is None and (self._part == _HEAD or self._is_idle()):
            self._start_timer()

    def on_message_begin(self) -> None:
        """The first byte of a request came."""
        self._part, self._head_bytes = _HEAD, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The headers are complete; from here on the application decides how long to wait."""
        super().on_headers_complete()  # raises for a target that is none: still the head
        self._part = _BODY
        self._stop_timer()

    def on_message_complete(self) -> None:
        """The body is complete."""
        self._part = _BETWEEN
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is complete; if it was the last one, close with the last words."""
        was_last = not self.pipeline
        super().on_response_complete()
        if was_last and self._last_words is not None:
            self._close()
        if self.flow.write_paused and self._untaken is None:
            self._watch(None)

    def resume_writing(self) -> None:
        """The client takes what waits for it."""
        self._stop_watching()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser could not make sense of."""
        self._refuse(BadFraming("This is no valid HTTP/1.1 request."))

    def _is_idle(self) -> bool:
        cycle: Any = self.cycle  # declared without None, and None before the first request
        return cycle is None or cycle.response_complete

    def _is_ending(self) -> bool:
        return self._last_words is not None or self.transport.is_closing()

    def _refuse(self, fault: ConnectionFault | None) -> None:
        """Take nothing more from this connection and close it once its answers are complete.

        Args:
            fault: What the client is told at the end; None tells nothing.
        """
        self._stop_timer()
        self._last_words = b"" if fault is None else self._rendered(fault)
        if self._part == _BODY and self.pipeline:
            self.pipeline.popleft()  # its body broke before its turn came
        elif self._part == _BODY and not self._is_idle():
            if self.cycle.response_started:
                self._last_words = b""  # its answer has begun and cannot become another one
            self.cycle.disconnected = True
            self.cycle.message_event.set()
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
            self._timer = self.loop.call_later(self.linger_seconds, self.transport.close)
        else:
            self.transport.write(self._last_words or b"")
            self.transport.close()

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

    def _start_timer(self) -> None:
        self._head_until = self.loop.time() + self.head_seconds
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_seconds, self._on_time)

    def _stop_timer(self) -> None:
        # The timer itself runs on: one for each request would cost more than a look now and then.
        self._head_until = None

    def _on_time(self) -> None:
        self._timer = None
        if self._head_until is None:
            return
        left = self._head_until - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._on_time)
        else:
            self._refuse(None)
