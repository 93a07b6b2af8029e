"""Gathering: answers that come in one turn of the loop are sent together at its end.

Whoever sleeps is woken by what it is sent, and waking takes the kernel longer than sending. Sent
one by one, with other work in between, every answer wakes its client anew; sent together, those
for one client or proxy wake it once. The first in a turn goes out at once, so that a request alone
waits for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from weakref import WeakKeyDictionary

logger = logging.getLogger(__name__)

GATHERED_BYTES = 16 * 1024  # what is longer is sent at once


class GatheringTransport:
    """A transport that may keep what is written until the end of this turn of the loop.

    It keeps one piece: with a second one both are sent, so that the transport below knows of
    nearly everything when it says whether the client keeps up.

    Args:
        transport: Of the connection.
        loop: On which it lives.
    """

    __slots__ = (
        "_kept", "_loop", "_transport", "_turn", "abort", "can_write_eof", "get_extra_info",
        "get_protocol", "get_write_buffer_limits", "get_write_buffer_size", "is_closing",
        "is_reading", "pause_reading", "resume_reading", "set_protocol", "set_write_buffer_limits",
    )  # fmt: skip

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._turn = _Turn.of(loop)
        self._kept = b""
        # Whatever sends nothing is as below; a `__getattr__` would slow every attribute down.
        self.abort = transport.abort
        self.can_write_eof = transport.can_write_eof
        self.get_extra_info = transport.get_extra_info
        self.get_protocol = transport.get_protocol
        self.get_write_buffer_limits = transport.get_write_buffer_limits
        self.get_write_buffer_size = transport.get_write_buffer_size
        self.is_closing = transport.is_closing
        self.is_reading = transport.is_reading
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.set_protocol = transport.set_protocol
        self.set_write_buffer_limits = transport.set_write_buffer_limits

    def write(self, data: bytes) -> None:
        """Send data, at the latest at the end of this turn."""
        turn = self._turn
        if self._kept or len(data) > GATHERED_BYTES:
            self.write_now(data)
        elif turn.has_begun:
            self._kept = data
            turn.keeping.append(self)
        else:
            turn.begin(self._loop)
            self.write_now(data)

    def write_now(self, data: bytes) -> None:
        """Send data, and what was kept before it."""
        if self._kept:
            self.flush()
        self._transport.write(data)

    def write_eof(self) -> None:
        """Send what is kept, and then the end."""
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what is kept, and close."""
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Send what is kept."""
        if self._kept and not self.is_closing():
            kept, self._kept = self._kept, b""
            self._transport.write(kept)


class _Turn:
    """The current turn of a loop."""

    def __init__(self) -> None:
        self.has_begun = False
        """Whether something was sent in it."""
        self.keeping: list[GatheringTransport] = []
        """Who keeps something until its end."""
        self._context = Context()  # not that of whoever was first: its end belongs to nobody

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> _Turn:
        turn = _turns.get(loop)
        if turn is None:
            turn = _turns[loop] = cls()
        return turn

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Something is sent, the first in this turn."""
        self.has_begun = True
        loop.call_soon(self._end, context=self._context)

    def _end(self) -> None:
        self.has_begun = False
        keeping, self.keeping = self.keeping, []
        for transport in keeping:
            try:
                transport.flush()
            except Exception:  # the transport is foreign, and the other connections wait for theirs
                logger.exception("what was kept could not be sent")


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turn] = WeakKeyDictionary()
