"""Connections that take their time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from api.connections import TimedHttpToolsProtocol
from api.gathering import GATHERED_BYTES
from api.outlet import WIRE
from tests.api import raw
from tests.api.raw import (
    CHUNKED,
    GET,
    GO,
    LAST_GET,
    PATIENCE_SECONDS,
    Running,
    post,
    problem,
    read_all,
    read_until,
    request,
    serving,
    until,
)

HEAD_SECONDS = 0.3


class QuickProtocol(TimedHttpToolsProtocol):
    head_seconds = HEAD_SECONDS
    linger_seconds = HEAD_SECONDS
    untaken_seconds = HEAD_SECONDS


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with serving(request.param, QuickProtocol) as running:
        yield running


def closed_after(made: socket.socket) -> float:
    started = time.monotonic()
    with contextlib.suppress(ConnectionResetError):
        assert read_all(made) == b""
    return time.monotonic() - started


SLOW = {
    "nothing": b"",
    "one byte": b"G",
    "half a line": b"GET /a HT",
    "headers without end": b"GET /a HTTP/1.1\r\nHost: x\r\nA: b\r\n",
    "empty lines": b"\r\n\r\n",
}


def test_headers_that_do_not_come_are_not_awaited(server: Running) -> None:
    with contextlib.ExitStack() as stack:
        waiting = {name: stack.enter_context(server.connect()) for name in SLOW}
        for name, made in waiting.items():
            made.sendall(SLOW[name])
        assert closed_after(waiting.pop("nothing")) > HEAD_SECONDS / 2
        for made in waiting.values():
            closed_after(made)


def test_the_same_holds_between_two_requests(server: Running) -> None:
    with contextlib.ExitStack() as stack:
        waiting = {name: stack.enter_context(server.connect()) for name in SLOW if SLOW[name]}
        for name, made in waiting.items():
            made.sendall(GET)
            read_until(made, b"0\r\n\r\n")
            made.sendall(SLOW[name])
        for made in waiting.values():
            closed_after(made)


def test_a_byte_now_and_then_wins_no_time(server: Running) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS / 2
    with server.connect() as made:
        made.settimeout(HEAD_SECONDS / 10)
        with contextlib.suppress(ConnectionError):
            made.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\nA: ")
            while time.monotonic() < give_up:
                made.sendall(b"b")
                with contextlib.suppress(TimeoutError):
                    assert made.recv(1) == b""
                    break
        assert time.monotonic() < give_up


def test_a_connection_between_requests_may_rest(server: Running) -> None:
    with server.connect() as resting, server.connect() as slow:
        resting.sendall(GET)
        read_until(resting, b"0\r\n\r\n")
        closed_after(slow)  # so the time for headers has passed
        resting.sendall(LAST_GET)
        assert read_all(resting).startswith(b"HTTP/1.1 200 OK")


def test_after_a_rest_headers_are_awaited_as_long_as_ever(server: Running) -> None:
    with server.connect() as made, server.connect() as slow:
        made.sendall(GET)
        read_until(made, b"0\r\n\r\n")
        closed_after(
            slow
        )  # so what was to come first has passed, and only the end of rest is awaited
        made.sendall(b"GET /a HT")
        assert closed_after(made) < PATIENCE_SECONDS / 2


class BriefProtocol(QuickProtocol):
    timeout_keep_alive: Any  # to uvicorn whole seconds
    rest_seconds = 2 * HEAD_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout_keep_alive = self.rest_seconds


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_no_connection_rests_for_ever(loop: str) -> None:
    with serving(loop, BriefProtocol) as running, running.connect() as made:
        for _ in range(2):
            made.sendall(GET)
            read_until(made, b"0\r\n\r\n")
        assert closed_after(made) > HEAD_SECONDS  # longer than headers are awaited


def test_a_stream_may_take_longer_than_headers(server: Running) -> None:
    with server.connect() as streaming, server.connect() as slow:
        streaming.sendall(request(b"GET /wait HTTP/1.1", b"Host: x", b"Connection: close"))
        read_until(streaming, b"first,\r\n")
        closed_after(slow)
        server.exchange(GO)
        assert read_all(streaming) == b"4\r\nlast\r\n0\r\n\r\n"


def test_half_a_request_behind_a_stream_does_not_cut_it(server: Running) -> None:
    with server.connect() as streaming, server.connect() as slow:
        streaming.sendall(request(b"GET /wait HTTP/1.1", b"Host: x") + b"GET /a HT")
        read_until(streaming, b"first,\r\n")
        closed_after(slow)
        server.exchange(GO)
        assert read_all(streaming) == b"4\r\nlast\r\n0\r\n\r\n"


def test_the_rest_of_an_answered_body_is_not_awaited_for_ever(server: Running) -> None:
    with server.connect() as made:
        made.sendall(post(b"2\r\n[]\r\n", CHUNKED, path=b"/a"))
        read_until(made, b"0\r\n\r\n")
        made.sendall(b"2\r\n[")
        closed_after(made)


def is_cut(made: socket.socket) -> bool:
    """Whether nobody is there to take one more byte."""
    try:
        made.sendall(b"G")
    except ConnectionError:
        return True
    return False


def test_a_client_that_goes_on_after_the_last_word_is_cut(server: Running) -> None:
    with server.connect() as made:
        made.sendall(b"\x00")
        assert problem(read_all(made))[0] == 400
        until(lambda: is_cut(made))


@pytest.mark.parametrize("last", [b"Connection: keep-alive", b"Connection: close"])
def test_a_client_that_takes_nothing_of_a_complete_answer_is_cut(
    server: Running, last: bytes
) -> None:
    with server.connect() as made:
        made.sendall(request(b"GET /big HTTP/1.1", b"Host: x", last))
        until(lambda: is_cut(made))


class WatchedProtocol(BriefProtocol):
    lost = 0

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        WatchedProtocol.lost += 1


class Filling(raw.App):
    """Sends until nearly too much waits, and then what is left of the answer, in one turn."""

    ends: tuple[int, ...] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wire = scope["extensions"][WIRE]
        piece = {"type": "http.response.body", "body": bytes(4000), "more_body": True}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while wire._transport.get_write_buffer_size() < 50_000:
            await send(piece)
            await asyncio.sleep(0)  # a turn of the loop
        for size in self.ends:
            await send({**piece, "body": bytes(size), "more_body": size != self.ends[-1]})
        self.answered.append("paused" if wire._flow.write_paused else "")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("rest_seconds", "ends"),
    [
        (60.0, (100, GATHERED_BYTES - 100)),  # too much, known of after the end of the answer
        (0.0, (100,)),  # never too much; the connection is closed at once
        (HEAD_SECONDS, (100,)),  # the same after a rest
        (60.0, ()),  # the answer is broken off
    ],
    ids=["kept", "closed", "rested", "broken off"],
)
def test_what_is_left_of_an_answer_holds_no_connection(
    monkeypatch: pytest.MonkeyPatch, loop: str, rest_seconds: float, ends: tuple[int, ...]
) -> None:
    monkeypatch.setattr(raw, "App", Filling)
    monkeypatch.setattr(Filling, "ends", ends)
    monkeypatch.setattr(WatchedProtocol, "lost", 0)
    monkeypatch.setattr(WatchedProtocol, "rest_seconds", rest_seconds)
    last = b"Connection: keep-alive" if rest_seconds else b"Connection: close"
    with serving(loop, WatchedProtocol) as running, socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.connect(("127.0.0.1", running.port))
        made.sendall(request(b"GET /a HTTP/1.1", b"Host: x", last))
        until(lambda: WatchedProtocol.lost == 1)
        assert running.app.answered == [""]


class Roomy(raw.App):
    """Lets half an answer wait before it minds."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits = {"high": raw.BIG // 2, "low": raw.BIG // 2 - 1}
        scope["extensions"][WIRE]._transport.set_write_buffer_limits(**limits)
        await super().__call__(scope, receive, send)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_that_takes_only_some_of_its_last_answer_is_cut(
    monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    monkeypatch.setattr(raw, "App", Roomy)
    monkeypatch.setattr(WatchedProtocol, "lost", 0)
    with serving(loop, WatchedProtocol) as running, running.connect() as made:
        made.sendall(request(b"GET /big HTTP/1.1", b"Host: x", b"Connection: close"))
        taken = 0
        while taken < raw.BIG // 2:
            taken += len(made.recv(65536))
        until(lambda: WatchedProtocol.lost == 1)


def test_many_slow_connections_leave_the_others_alone(server: Running) -> None:
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(server.connect()) for _ in range(200)]
        for made in slow:
            made.sendall(b"GET /a HTTP/1.1\r\n")
        assert server.exchange(LAST_GET).startswith(b"HTTP/1.1 200 OK")
        for made in slow:
            closed_after(made)
