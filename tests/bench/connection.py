"""The load: keep-alive connections that ask for streams and count what comes.

Whatever counts must not be slower than whatever is counted. The servers send no CR outside of
chunk sizes, and no blank line but behind an event; so events and writes are counted in whole
pieces, without looking at single chunks.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import cast

_END = b"0\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STAMP = re.compile(rb"@t=(\d+)@")
_OPENED_AT_ONCE = 50


class Load:
    """Everything that was counted on some connections to one server.

    Args:
        port: Of the server, on this machine.
        stamps: Whether events carry the time they were made at.
        light: Whether to count bytes only; for answers that are known to be equal.
    """

    def __init__(self, port: int, *, stamps: bool = False, light: bool = False) -> None:
        self.stamps = stamps
        self.light = light
        self.events = 0
        self.line_ends = 0
        self.bytes = 0
        self.answers = 0
        self.first_seconds: list[float] = []
        """From a request to the first event of its answer."""
        self.delays: list[float] = []
        """Seconds from the stamp of an event to its arrival."""
        self.body = b""
        """Of the last answer that had a length."""
        self._port = port
        self._connections: list[Connection] = []
        self._changed = asyncio.Event()

    @property
    def events_per_write(self) -> float:
        """Events per HTTP chunk."""
        return self.events / max(1.0, self.line_ends / 2 - self.answers)

    async def repeat(self, request: bytes, *, connections: int, seconds: float) -> float:
        """Ask again and again on each connection until the time is over.

        Returns:
            Seconds until the last answer was complete.
        """
        opened = await self._connect(connections)
        started = time.perf_counter()
        for connection in opened:
            connection.ask(request, until=started + seconds)
        await self.ended()
        return time.perf_counter() - started

    async def once(self, requests: Sequence[bytes]) -> None:
        """Ask once on a connection for each; returns at once, see `begun` and `ended`."""
        opened = await self._connect(len(requests))
        for connection, request in zip(opened, requests, strict=True):
            connection.ask(request)

    async def begun(self) -> None:
        """Wait until each has had an event."""
        await self._until(lambda: len(self.first_seconds) >= len(self._connections))

    async def ended(self) -> None:
        """Wait until all answers are complete."""
        await self._until(lambda: not any(c.waiting for c in self._connections))

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.close()

    def changed(self) -> None:
        """An answer has begun, ended or broken off."""
        self._changed.set()

    async def _connect(self, count: int) -> list[Connection]:
        loop = asyncio.get_running_loop()
        opened: list[Connection] = []
        for start in range(0, count, _OPENED_AT_ONCE):
            opening = [
                loop.create_connection(lambda: Connection(self), "127.0.0.1", self._port)
                for _ in range(start, min(start + _OPENED_AT_ONCE, count))
            ]
            opened += [made for _, made in await asyncio.gather(*opening)]
        self._connections += opened
        return opened

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                self._changed.clear()
                await self._changed.wait()
                if broken := next((c.error for c in self._connections if c.error), None):
                    raise RuntimeError(broken)


class Connection(asyncio.Protocol):
    """One connection, with at most one request under way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._transport: asyncio.Transport
        self._request = b""
        self._until = 0.0
        self._asked = 0.0
        self._head: bytes | None = b""  # as far as it came; None behind it
        self._left: int | None = None  # of an answer with a length
        self._last = b""
        self._first = False
        self.waiting = False
        """Whether an answer is due or under way."""
        self.error = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's only looks like one

    def ask(self, request: bytes, *, until: float = 0.0) -> None:
        """Send a request, and again after each answer until a time of `time.perf_counter`."""
        self._request, self._until = request, until
        self._ask()

    def close(self) -> None:
        """Close it."""
        self.waiting = False
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that an answer broke off."""
        if self.waiting:
            self.error = f"an answer broke off ({exc})"
            self._load.changed()

    def data_received(self, data: bytes) -> None:
        """Count."""
        if self._head is not None and not (data := self._behind_head(data)):
            return
        load, last = self._load, self._last
        load.bytes += len(data)
        if self._left is not None:
            load.body += data
            self._left -= len(data)
            if self._left == 0:
                self._complete()
            return
        if not load.light:
            load.events += data.count(b"\n\n") + (last[-1:] == b"\n" == data[:1])
            load.line_ends += data.count(b"\r\n") + (last[-1:] == b"\r" and data[:1] == b"\n")
            if load.stamps:
                now = time.monotonic_ns()
                load.delays += [(now - int(t)) / 1e9 for t in _STAMP.findall(data)]
        if self._first:
            self._first = False
            load.first_seconds.append(time.perf_counter() - self._asked)
            load.changed()
        self._last = data[-5:] if len(data) >= 5 else (last + data)[-5:]
        if self._last == _END:
            self._complete()

    def _ask(self) -> None:
        self.waiting = self._first = True
        self._head, self._last, self._left = b"", b"", None
        self._asked = time.perf_counter()
        self._transport.write(self._request)

    def _behind_head(self, data: bytes) -> bytes:
        head, found, rest = ((self._head or b"") + data).partition(b"\r\n\r\n")
        if not found:
            self._head = head
            return b""
        if head[9:10] != b"2":
            self.error = (head.partition(b"\r\n")[0] + b" " + rest).decode(errors="replace")
            self._load.changed()
            return b""
        self._head = None
        if (length := _LENGTH.search(head)) is not None:
            self._left = int(length[1])
            self._load.body = b""
        return rest

    def _complete(self) -> None:
        self._load.answers += 1
        if time.perf_counter() < self._until:
            self._ask()
        else:
            self.waiting = False
            self._load.changed()


def request(
    method: str, path: str, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()
) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: text/event-stream"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body
