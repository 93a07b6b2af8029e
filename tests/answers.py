"""A server that answers connections with given bytes, whatever they ask: for clients' bad days."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Self


class Answers:
    """Answers one connection after the other with the next bytes, then closes it.

        async with Answers([http(503), stream(b"…")]) as server:
            client = Client(server.url, "token")

    Args:
        answers: Whole answers; when they are used up, connections are closed at once.
    """

    def __init__(self, answers: Iterable[bytes]) -> None:
        self.requests: list[bytes] = []
        """Head and body of each request, in order."""
        self._answers = deque(answers)
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(
                (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ),
                0,
            )
            self.requests.append(head + await reader.readexactly(size))
            if self._answers:
                writer.write(self._answers.popleft())
                await writer.drain()
        writer.close()


def http(status: int, body: bytes = b"", **headers: str) -> bytes:
    """An answer with a body of known length."""
    fields = {"content_length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + body


def stream(body: bytes, **headers: str) -> bytes:
    """The beginning of a stream of unknown length."""
    fields = {"content_type": "text/event-stream", "connection": "close", **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode() + body
