"""Reads Server-Sent Events from bytes that come in any pieces.

No I/O, and nothing of HTTP. Lines end with LF, CR or CRLF and with nothing else: readers that
split text at every Unicode line end tear events apart.
"""

from __future__ import annotations

from typing import NamedTuple

MAX_MESSAGE_BYTES = 8 * 1024 * 1024  # a server that never ends a message must not fill the memory

_BOM = b"\xef\xbb\xbf"


class SseTooLarge(ValueError):
    """Raised when a message grows larger than it may."""


class SseMessage(NamedTuple):
    """One message of a stream."""

    event: str
    """Its type; ``message`` when it names none."""
    data: str
    """Its ``data`` lines, joined by LF."""
    id: str | None
    """Its own ``id``; None when it has none, whatever earlier messages had."""


class SseReader:
    """Takes bytes, returns messages. One reader reads one answer.

    What stands after the last blank line is no message: an answer that breaks off there was cut.
    A block without ``data`` is none either.

    Args:
        max_bytes: The largest message that is read.
    """

    __slots__ = (
        "_after_cr", "_at_start", "_bytes", "_data", "_event", "_id", "_line", "_max_bytes"
    )  # fmt: skip

    def __init__(self, *, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._line = bytearray()  # a line whose end has not come
        self._at_start = True  # no line is complete yet, so a byte order mark may stand here
        self._after_cr = False  # an LF that comes next belongs to the line end before it
        self._event = ""
        self._id: str | None = None
        self._data: list[bytes] = []
        self._bytes = 0  # of the data so far

    def feed(self, data: bytes) -> list[SseMessage]:
        """Take the next bytes.

        Returns:
            The messages they complete, in order, possibly none.

        Raises:
            SseTooLarge: A message is larger than `max_bytes`; the reader is of no use any more.
        """
        if not data:
            return []
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r")
        messages: list[SseMessage] = []
        for line in data.splitlines(keepends=True):  # of bytes: at CR, LF and CRLF only
            if self._bytes + len(self._line) + len(line) > self._max_bytes:
                raise SseTooLarge(f"a message has more than {self._max_bytes} bytes")
            if line[-1] not in b"\r\n":
                self._line += line
                return messages
            if self._line:
                line = bytes(self._line) + line
                self._line.clear()
            message = self._take(line.rstrip(b"\r\n"))
            if message is not None:
                messages.append(message)
        return messages

    def _take(self, line: bytes) -> SseMessage | None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._end()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match field:
            case b"data":
                self._data.append(value)
                self._bytes += len(line)
            case b"event":
                self._event = value.decode("utf-8", "replace")
            case b"id" if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        return None

    def _end(self) -> SseMessage | None:
        message = None
        if self._data:
            data = b"\n".join(self._data).decode("utf-8", "replace")
            message = SseMessage(self._event or "message", data, self._id)
        self._event, self._id, self._bytes = "", None, 0
        self._data.clear()
        return message
