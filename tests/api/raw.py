"""A real server and raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson
import uvicorn
from starlette.types import Receive, Scope, Send

from api.bodies import read_json
from api.connections import TimedHttpToolsProtocol
from api.framing import FramingGuard
from api.problems import send_problem
from orchestrator.errors import PoststreamError

PATIENCE_SECONDS = 10.0  # after which a test gives up; nothing here takes long
BIG = 16 * 1024 * 1024  # more than the system keeps for a connection


class App:
    """Echoes JSON bodies; ``/wait`` streams one piece, and the rest once ``/go`` was asked for.

    ``/late`` reads nothing and begins to answer only then; ``/big`` answers with `BIG` bytes.
    """

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.failed: list[str] = []
        self.answered: list[str] = []
        self._go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached.append(f"{scope['method']} {scope['path']}")
        try:
            if scope["path"] == "/json":
                body = orjson.dumps(await read_json(scope, receive, max_bytes=1000))
            else:
                body = bytes(BIG) if scope["path"] == "/big" else b"ok"
            if scope["path"] == "/late":
                await self._wait()
        except PoststreamError as error:
            self.failed.append(type(error).__name__)
            await send_problem(error, scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/wait":
            await send({"type": "http.response.body", "body": b"first,", "more_body": True})
            await self._wait()
            body = b"last"
        elif scope["path"] == "/go":
            self._go.set()
        await send({"type": "http.response.body", "body": body})
        self.answered.append(scope["path"])

    async def _wait(self) -> None:
        await self._go.wait()
        self._go = asyncio.Event()


class Running(NamedTuple):
    app: App
    port: int

    def connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def exchange(self, *pieces: bytes) -> bytes:
        """Send some bytes and read until the server closes."""
        with self.connect() as made:
            for piece in pieces:
                made.sendall(piece)
            return read_all(made)


def read_all(made: socket.socket) -> bytes:
    received = b""
    while piece := made.recv(65536):
        received += piece
    return received


def read_until(made: socket.socket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        piece = made.recv(65536)
        assert piece, f"closed after {received!r}"
        received += piece
    return received


def until(condition: Callable[[], bool]) -> None:
    """Wait until the server's thread has come so far."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.001)


@contextlib.contextmanager
def serving(loop: str, protocol: type[TimedHttpToolsProtocol]) -> Iterator[Running]:
    app = App()
    config = uvicorn.Config(
        FramingGuard(app),
        loop=loop,
        http=protocol,
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
    )
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, args=([listening],))
    thread.start()
    try:
        yield Running(app, listening.getsockname()[1])
    finally:
        running.should_exit = True
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def request(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([*lines, b"", body])


def post(body: bytes, *lines: bytes, path: bytes = b"/json") -> bytes:
    """A request with a body in chunks or of a length, as ``lines`` say."""
    fields = (b"Host: x", b"Content-Type: application/json", *lines)
    return request(b"POST " + path + b" HTTP/1.1", *fields, body=body)


def answers(received: bytes) -> int:
    """How many answers there are in what was received."""
    return len(re.findall(rb"HTTP/1\.1 [0-9]{3} ", received))


def problem(received: bytes) -> tuple[int, Any]:
    """Status and body of the one answer in what was received."""
    head, _, body = received.partition(b"\r\n\r\n")
    assert answers(received) == 1, received
    assert b"\r\ncontent-type: application/problem+json\r\n" in head
    assert b"\r\nconnection: close" in head
    assert f"content-length: {len(body)}\r\n".encode() in head
    status = int(head.split(b" ", 2)[1])
    document = orjson.loads(body)
    assert document["status"] == status
    return status, document


GET = request(b"GET /a HTTP/1.1", b"Host: x")
GO = request(b"GET /go HTTP/1.1", b"Host: x", b"Connection: close")
LAST_GET = request(b"GET /a HTTP/1.1", b"Host: x", b"Connection: close")
CHUNKED = b"Transfer-Encoding: chunked"
SMUGGLED = request(b"GET /smuggled HTTP/1.1", b"Host: x")
