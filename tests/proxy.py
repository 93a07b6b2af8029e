"""A bad line between a client and a server: a TCP proxy that cuts and dawdles on demand."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How one connection behaves."""

    cut_after: int | None = None
    """Bytes of answers that come through before it is cut; 0 swallows the answer. None: never."""
    piece: int = 65536
    """Bytes forwarded at a time; 1 is byte by byte."""
    pause: float = 0.0
    """Seconds between two pieces."""
    reset: bool = False
    """Cut by a reset instead of an orderly end."""


class Proxy:
    """Forwards connections to a port of this machine, each as badly as planned.

        async with Proxy(server.port, [Line(cut_after=100), Line(piece=1)]) as proxy:
            client = Client(proxy.url, token)  # first cut, then slow, then as good as none

    Args:
        port: Of the server.
        lines: How the next connections behave, in order; those after them are good.
    """

    def __init__(self, port: int, lines: Iterable[Line] = ()) -> None:
        self.lines = deque(lines)
        self.sent: list[bytearray] = []
        """What clients sent, by connection."""
        self.answered: list[bytearray] = []
        """What came through to them, by connection."""
        self._port = port
        self._own_port = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self._own_port}"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Accept connections; at the same address as before, if there was one."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self._own_port)
        self._own_port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuse connections and cut those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.cut()

    async def cut(self) -> None:
        """Cut the connections that are open."""
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def requests(self, method: str) -> int:
        """How many requests of a method clients have sent."""
        return sum(sent.count(f"{method} /".encode()) for sent in self.sent)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        line = self.lines.popleft() if self.lines else Line()
        sent, answered = bytearray(), bytearray()
        self.sent.append(sent)
        self.answered.append(answered)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._forward(reader, writer, line, sent, answered)
        finally:
            self._connections.discard(connection)
            if line.reset:
                writer.transport.abort()
            writer.close()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line,
        sent: bytearray, answered: bytearray,
    ) -> None:  # fmt: skip
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        up = asyncio.ensure_future(_copy(reader, server_writer, Line(), sent))
        down = asyncio.ensure_future(_copy(server_reader, writer, line, answered))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in (up, down):
                direction.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            server_writer.close()


async def _copy(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, line: Line, copied: bytearray
) -> None:
    while data := await source.read(65536):
        if line.cut_after is not None:
            data = data[: line.cut_after - len(copied)]
        for start in range(0, len(data), line.piece):
            piece = data[start : start + line.piece]
            target.write(piece)
            await target.drain()
            copied += piece
            await asyncio.sleep(line.pause)
        if line.cut_after is not None and len(copied) >= line.cut_after:
            return
