"""Two servers that store nothing, as references: one below everything, one the usual way.

    python -m tests.bench.floor raw|starlette

Both take `POST /` with {events, gap (seconds), batch (events per write)}, where `gap` below
0 never sends a second event; and `GET /?events=N&gap=SECONDS`, whose readers share one source.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

_TEXT = (
    'id: %d\nevent: agent_progress\ndata: {"seq":%d,"taskId":"t-0123456789abcdef",'
    '"agentRole":"scripted-1","message":"@t=%020d@ %s"}\n\n'
)
_FILLING = "x" * 60


def frame(number: int) -> bytes:
    """An event of the usual size that says when it was made."""
    return (_TEXT % (number, number, time.monotonic_ns(), _FILLING)).encode()


FRAMES = [(_TEXT % (number, number, 0, _FILLING)).encode() for number in range(10_000)]
"""The same, made beforehand."""

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")],
}


def pieces(events: int, batch: int) -> list[bytes]:
    """Frames made beforehand, joined for each write."""
    if batch == 1 and events <= len(FRAMES):
        return FRAMES[:events]
    return [b"".join(FRAMES[i : min(i + batch, events)]) for i in range(0, events, batch)]


class Source:
    """One sequence of events for everybody who asks while it runs.

    Args:
        show: Gives one event to all readers; an empty one is the end.
    """

    def __init__(self, show: Callable[[bytes], Awaitable[None]]) -> None:
        self._show = show
        self._running: asyncio.Task[None] | None = None

    def start(self, events: int, gap: float) -> None:
        """Begin, unless it runs."""
        if self._running is None:
            self._running = asyncio.create_task(self._run(events, gap))

    async def _run(self, events: int, gap: float) -> None:
        for number in range(events):
            await asyncio.sleep(gap)
            await self._show(frame(number))
        self._running = None
        await self._show(b"")


class Raw:
    """A bare ASGI callable: one event per send, encoded beforehand where it can be."""

    def __init__(self) -> None:
        self._readers: list[tuple[Send, asyncio.Future[None]]] = []
        self._source = Source(self._show)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"] == "/readyz":
            await send({**_START, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await send(_START)
        if scope["method"] == "POST":
            await self._events(orjson.loads(body), receive, send)
        else:
            await self._share(*_shared(scope["query_string"]), send)
        await send({"type": "http.response.body", "body": b""})

    async def _events(self, wanted: dict[str, Any], receive: Receive, send: Send) -> None:
        events, gap = wanted["events"], wanted["gap"]
        if gap == 0:
            for piece in pieces(events, wanted["batch"]):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            return
        for number in range(events):
            await send({"type": "http.response.body", "body": frame(number), "more_body": True})
            if gap < 0:
                while (await receive())["type"] != "http.disconnect":
                    pass
            await asyncio.sleep(gap)

    async def _share(self, events: int, gap: float, send: Send) -> None:
        ended = asyncio.get_running_loop().create_future()
        self._readers.append((send, ended))
        self._source.start(events, gap)
        await ended

    async def _show(self, data: bytes) -> None:
        message = {"type": "http.response.body", "body": data, "more_body": True}
        if data:
            for send, _ in self._readers:
                await send(message)
            return
        readers, self._readers = self._readers, []
        for _, ended in readers:
            ended.set_result(None)


class Usual:
    """A Starlette application with `StreamingResponse`, and a queue for each reader."""

    def __init__(self) -> None:
        self._queues: list[asyncio.Queue[bytes]] = []
        self._source = Source(self._show)
        self.app = Starlette(
            routes=[
                Route("/", self._post, methods=["POST"]),
                Route("/", self._get),
                Route("/readyz", lambda _: Response()),
            ]
        )

    async def _post(self, request: Request) -> Response:
        wanted = await request.json()
        return StreamingResponse(self._events(**wanted), media_type="text/event-stream")

    async def _get(self, request: Request) -> Response:
        events, gap = _shared(request.scope["query_string"])
        return StreamingResponse(self._share(events, gap), media_type="text/event-stream")

    async def _events(self, events: int, gap: float, batch: int) -> AsyncIterator[bytes]:
        if gap == 0:
            for piece in pieces(events, batch):
                yield piece
            return
        for number in range(events):
            yield frame(number)
            if gap < 0:
                await asyncio.Event().wait()
            await asyncio.sleep(gap)

    async def _share(self, events: int, gap: float) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._queues.append(queue)
        self._source.start(events, gap)
        while data := await queue.get():
            yield data

    async def _show(self, data: bytes) -> None:
        for queue in self._queues:
            queue.put_nowait(data)
        if not data:
            self._queues.clear()


def _shared(query: bytes) -> tuple[int, float]:
    values = parse_qs(query.decode())
    return int(values["events"][0]), float(values["gap"][0])


def main() -> None:
    """Serve until ended."""
    app = Raw() if sys.argv[1] == "raw" else Usual().app
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", lifespan="off", log_level="warning",
        access_log=False,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
