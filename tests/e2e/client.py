"""A small HTTP client that shows what really came over the line, byte for byte.

One connection for each request. Nothing is repaired on the way: a stream can be cut at any byte,
and a header field can be as wrong as a test wants it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

DEADLINE = 30.0  # for anything a test waits for; far longer than it ever takes
KEEPALIVE = b": keep-alive\n"
BEGIN = b": keep-alive\nretry: 3000\n"

Headers = Sequence[tuple[str, str | bytes | None]]
_TERMINAL = ("task_complete", "task_error")


class Frame(NamedTuple):
    """One frame with an id, as it came."""

    seq: int
    type: str
    raw: bytes

    @property
    def data(self) -> dict[str, Any]:
        """Its event."""
        found: dict[str, Any] = orjson.loads(self.raw.partition(b"\ndata: ")[2])
        return found


@dataclass
class Answer:
    """A whole answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found == name]

    def header(self, name: str) -> str | None:
        return next(iter(self.values(name)), None)

    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def slug(self) -> str:
        """The stable end of a problem's type."""
        return str(self.json()["type"]).rpartition("/")[2]


@dataclass
class Response(Answer):
    """An answer under way. Close it."""

    reader: asyncio.StreamReader = field(kw_only=True)
    writer: asyncio.StreamWriter = field(kw_only=True)
    ended: bool = False
    """Whether the body came to its end, as opposed to the connection."""
    received: bytearray = field(default_factory=bytearray)
    """The body so far, without transfer coding."""
    _left: int = 0

    async def read(self) -> bytes:
        """The next bytes of the body; empty at its end or the connection's."""
        try:
            piece = await self._read()
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            return b""
        self.received += piece
        return piece

    async def read_to_end(self) -> bytes:
        """The whole body."""
        async with asyncio.timeout(DEADLINE):
            while await self.read():
                pass
        return bytes(self.received)

    async def read_until(self, wanted: Callable[[bytes], Any]) -> bytes:
        """Read until the body so far satisfies a condition.

        Raises:
            EOFError: It came to an end before that.
        """
        async with asyncio.timeout(DEADLINE):
            while not wanted(bytes(self.received)):
                if not await self.read():
                    raise EOFError(bytes(self.received[-400:]))
        return bytes(self.received)

    def cut(self) -> None:
        """Break the connection off, with a reset."""
        self.writer.transport.abort()

    async def _read(self) -> bytes:
        if self.header("transfer-encoding") != "chunked":
            length = self.header("content-length")
            missing = 65536 if length is None else int(length) - len(self.received)
            self.ended = missing == 0
            return b"" if self.ended else await self.reader.read(missing)
        if self._left == 0:
            self._left = int(await self.reader.readuntil(b"\r\n"), 16)
            if self._left == 0:
                await self.reader.readexactly(2)
                self.ended = True
                return b""
        piece = await self.reader.read(self._left)
        self._left -= len(piece)
        if piece and self._left == 0:
            await self.reader.readexactly(2)
        return piece


@dataclass(frozen=True)
class Client:
    """One caller of one server."""

    port: int
    token: str | None = None
    host: str = "127.0.0.1"

    def through(self, port: int) -> Client:
        """The same caller, over another port."""
        return Client(port, self.token)

    @contextlib.asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Headers = (),
        buffer: int = 2**16,
    ) -> AsyncIterator[Response]:
        """Send a request; yields its answer as soon as the header is there.

        Args:
            method: HTTP method.
            path: With its query, as it goes over the line.
            body: Bytes as they are, anything else as JSON.
            headers: Beside Host, Authorization, Content-Type and Content-Length; a name that is
                given here replaces the usual value, None leaves it out.
            buffer: How much may wait on this side unread.
        """
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_connection(self.host, self.port, limit=buffer)
        try:
            writer.write(self._request(method, path, body, headers))
            async with asyncio.timeout(DEADLINE):
                head = await reader.readuntil(b"\r\n\r\n")
            status, found = _parse_head(head)
            yield Response(status, found, reader=reader, writer=writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def call(
        self, method: str, path: str, body: Any = None, *, headers: Headers = ()
    ) -> Answer:
        """A request and its whole answer."""
        async with self.open(method, path, body, headers=headers) as response:
            length = response.header("content-length")
            empty = method == "HEAD" or response.status == 204 or length == "0"
            content = b"" if empty else await response.read_to_end()
            return Answer(response.status, response.headers, content)

    async def get(self, path: str, *, headers: Headers = ()) -> Any:
        """The JSON of a GET that must succeed."""
        answer = await self.call("GET", path, headers=headers)
        assert answer.status == 200, answer
        return answer.json()

    async def submit(self, body: dict[str, Any], *, headers: Headers = ()) -> str:
        """Start a task without reading it; returns its id."""
        answer = await self.call("POST", "/api/tasks", body, headers=headers)
        assert answer.status == 202, answer
        return str(answer.json()["taskId"])

    async def log(self, task_id: str, *, after: int = 0) -> list[Frame]:
        """Every frame of a task behind a cursor, once the task has ended."""
        answer = await self.call("GET", f"/api/tasks/{task_id}/stream?after={after}")
        assert answer.status in (200, 204), answer
        found = frames(answer.body)
        assert answer.status == 204 or found[-1].type in _TERMINAL, answer.body[-400:]
        return found

    async def run(self, body: dict[str, Any], *, headers: Headers = ()) -> list[Frame]:
        """Start a task and read its stream to the end."""
        answer = await self.call("POST", "/api/agents/execute/stream", body, headers=headers)
        assert answer.status == 200, answer
        return frames(answer.body)

    async def status(self, task_id: str) -> str:
        """The status of a task."""
        return str((await self.get(f"/api/tasks/{task_id}"))["status"])

    async def reaches(self, task_id: str, *statuses: str) -> str:
        """Wait until a task has one of these statuses."""
        found = ""

        async def reached() -> bool:
            nonlocal found
            found = await self.status(task_id)
            return found in statuses

        await until(reached, f"{task_id} is {statuses}")
        return found

    def _request(self, method: str, path: str, body: Any, headers: Headers) -> bytes:
        content = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        given = {name.lower() for name, _ in headers}
        usual: list[tuple[str, str | bytes | None]] = [("Host", f"{self.host}:{self.port}")]
        if self.token is not None:
            usual.append(("Authorization", f"Bearer {self.token}"))
        if body is not None:
            usual += [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        fields = [*((n, v) for n, v in usual if n.lower() not in given), *headers]
        head = f"{method} {path} HTTP/1.1\r\n".encode("utf-8", "surrogateescape")
        for name, value in fields:
            if value is not None:
                text = value if isinstance(value, bytes) else value.encode()
                head += name.encode() + b": " + text + b"\r\n"
        return head + b"\r\n" + content


def task(*script: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The body of a submit that plays a script; selects the agents that it names."""
    roles = list(dict.fromkeys(part["agent"] for part in script))
    inputs = {"script": list(script)}
    return {"description": "a test", "selectedAgents": roles, "inputs": inputs, **fields}


async def until(
    condition: Callable[[], Awaitable[bool]], what: str, *, seconds: float = DEADLINE
) -> None:
    """Ask again and again until something is so.

    Raises:
        AssertionError: It was not so before the deadline.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await condition():
        assert loop.time() < deadline, f"waited {seconds:g} s in vain: {what}"
        await asyncio.sleep(0.01)


def frames(body: bytes) -> list[Frame]:
    """Complete frames with an id, without the lines that belong to one answer only."""
    found = []
    *blocks, _ = body.split(b"\n\n")
    for block in blocks:
        lines = [line for line in block.split(b"\n") if not line.startswith((b":", b"retry:"))]
        if lines and lines[0].startswith(b"id: "):
            raw = b"\n".join(lines) + b"\n\n"
            found.append(Frame(int(lines[0][4:]), lines[1].removeprefix(b"event: ").decode(), raw))
    return found


def joined(found: Sequence[Frame]) -> bytes:
    """Frames as bytes."""
    return b"".join(frame.raw for frame in found)


def types(found: Sequence[Frame]) -> list[str]:
    """Their types, in order."""
    return [frame.type for frame in found]


def end_frame(body: bytes) -> tuple[str, dict[str, Any]] | None:
    """Event and data of the frame without id that closes an answer; None when there is none."""
    match = re.search(rb"\n\nevent: (\w+)\ndata: ([^\n]*)\n\n\Z", b"\n\n" + body)
    return (match[1].decode(), orjson.loads(match[2])) if match else None


def _parse_head(head: bytes) -> tuple[int, list[tuple[str, str]]]:
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines)
    return int(first.split(" ")[1]), [(n.lower(), v.strip()) for n, _, v in fields]
