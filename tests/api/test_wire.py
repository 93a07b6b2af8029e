"""The wire: what an application says, as bytes on a real connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl

from api.connections import TimedHttpToolsProtocol
from api.gathering import GatheringTransport
from api.outlet import WIRE
from api.wire import COPIED_BYTES, Wire, chunked
from tests.api import raw

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
LAST: Message = {"type": "http.response.body", "body": b""}


def body(data: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


class Said:
    """Sends some messages; keeps what that raised, and the wire."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.pushes: list[bytes] = []
        self.raised: list[str] = []
        self.took: list[bool] = []
        self.wire: Wire | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wire = self.wire = scope["extensions"][WIRE]
        try:
            for message in self.messages:
                await send(message)
                if message["type"] == "http.response.start":
                    self.took += [wire.push(chunked(data)) for data in self.pushes]
        except RuntimeError as error:
            self.raised.append(str(error))
            raise


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Said, raw.Running]]:
    app = Said()
    monkeypatch.setattr(raw, "App", lambda: app)
    with raw.serving("asyncio", TimedHttpToolsProtocol) as running:
        yield app, running


def fields(*pairs: tuple[bytes, bytes]) -> Message:
    return {**START, "headers": list(pairs)}


def test_a_body_without_a_length_goes_in_chunks_and_the_connection_goes_on(
    said: tuple[Said, raw.Running],
) -> None:
    app, running = said
    app.messages = [fields((b"x-a", b"1")), body(b"one,"), body(b""), body(b"two", more=False)]
    received = running.exchange(raw.GET + raw.LAST_GET)
    assert raw.answers(received) == 2
    head, _, rest = received.partition(b"\r\n\r\n")
    assert b"\r\nx-a: 1\r\n" in head
    assert b"\r\ntransfer-encoding: chunked" in head
    assert b"connection: close" not in head
    assert rest.startswith(b"4\r\none,\r\n3\r\ntwo\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_what_is_pushed_stands_between_what_is_sent(said: tuple[Said, raw.Running]) -> None:
    app, running = said
    app.messages = [START, body(b"last", more=False)]
    app.pushes = [b"first,", b"second,"]
    received = running.exchange(raw.LAST_GET)
    assert received.endswith(b"\r\n\r\n6\r\nfirst,\r\n7\r\nsecond,\r\n4\r\nlast\r\n0\r\n\r\n")
    assert app.took == [True, True]
    assert app.wire is not None
    assert app.wire.sent == len(b"6\r\nfirst,\r\n7\r\nsecond,\r\nlast")


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([body(b"x")], "cannot begin"),
        ([START, START], "does not go on"),
        ([START, LAST, LAST], "complete already"),
        ([fields((b"content-length", b"2")), body(b"xyz", more=False)], "longer"),
        ([fields((b"content-length", b"4")), body(b"xyz", more=False)], "shorter"),
        ([fields((b"x-a", b"1\r\nx-b: 2"))], "cannot be sent"),
        ([fields((b"x-a", b"a\x00"))], "cannot be sent"),
        ([fields((b"x a", b"1"))], "cannot be sent"),
        ([fields((b"", b"1"))], "cannot be sent"),
    ],
)
def test_what_breaks_http_is_refused(
    said: tuple[Said, raw.Running], messages: list[Message], why: str
) -> None:
    app, running = said
    app.messages = messages
    received = running.exchange(raw.LAST_GET)
    assert len(app.raised) == 1
    assert why in app.raised[0]
    assert b"x-b" not in received


def test_with_a_length_nothing_is_pushed(said: tuple[Said, raw.Running]) -> None:
    app, running = said
    app.messages = [fields((b"Content-Length", b"3")), body(b"abc", more=False)]
    app.pushes = [b"x"]
    received = running.exchange(raw.LAST_GET)
    assert received.endswith(b"\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc")
    assert app.took == [False]


@pytest.mark.parametrize("headers", [(), ((b"content-length", b"3"),)])
def test_head_has_no_body(
    said: tuple[Said, raw.Running], headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    app, running = said
    app.messages = [fields(*headers), body(b"abc", more=False)]
    received = running.exchange(raw.request(b"HEAD / HTTP/1.1", b"Host: x", b"Connection: close"))
    assert received.endswith(b"\r\n\r\n")
    assert b"abc" not in received
    assert b"transfer-encoding" not in received


@pytest.mark.parametrize("field", [(b"x-a", b"1"), (b"Connection", b"keep-alive")])
def test_http_1_0_gets_no_chunks_and_one_request_on_a_connection(
    said: tuple[Said, raw.Running], field: tuple[bytes, bytes]
) -> None:
    app, running = said
    app.messages = [fields(field), body(b"one,"), body(b"two", more=False)]
    app.pushes = [b"x"]
    old = raw.request(b"GET / HTTP/1.0", b"Connection: keep-alive")
    received = running.exchange(old)  # returns, so the server closed
    assert received.endswith(b"\r\n\r\none,two")
    assert b"transfer-encoding" not in received
    assert received.count(b"\r\nconnection: ") == received.count(b"\r\nconnection: close\r\n") == 1
    assert app.took == [False]


def test_an_application_may_close_the_connection(said: tuple[Said, raw.Running]) -> None:
    app, running = said
    app.messages = [fields((b"connection", b"close")), body(b"x", more=False)]
    received = running.exchange(raw.GET)  # returns, so the server closed
    assert received.count(b"connection: close") == 1


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_on_a_connection_that_was_ended_nothing_is_written_raised_or_blamed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, loop: str
) -> None:
    took: list[bool] = []

    class Aborting(Said):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            wire: Wire = scope["extensions"][WIRE]
            await send(START)
            wire.abort()
            took.append(wire.push(chunked(b"late")))
            await send(body(b"late"))
            await send(LAST)

    monkeypatch.setattr(raw, "App", Aborting)
    with raw.serving(loop, TimedHttpToolsProtocol) as running, contextlib.suppress(ConnectionError):
        running.exchange(raw.GET)
    assert took == [False]
    assert [record for record in caplog.records if record.name == "api.wire"] == []


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_whoever_answers_hears_that_the_client_went_whatever_was_asked_behind(
    monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    told: list[str] = []

    class Waiting(Said):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await send(START)
            await send(body(b"first,"))
            while (await receive())["type"] != "http.disconnect":
                pass
            told.append(scope["path"])

    monkeypatch.setattr(raw, "App", Waiting)
    with raw.serving(loop, TimedHttpToolsProtocol) as running:
        with running.connect() as made:
            made.sendall(raw.request(b"GET /first HTTP/1.1", b"Host: x") + raw.GET)
            raw.read_until(made, b"first,\r\n")
        raw.until(lambda: bool(told))
    assert told == ["/first"]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_fields_behind_a_body_are_no_header_fields(
    monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    seen: list[bytes] = []

    class Reading(Said):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            while (await receive())["more_body"]:
                pass
            seen.extend(name for name, _ in scope["headers"])
            await send(START)
            await send(LAST)

    monkeypatch.setattr(raw, "App", Reading)
    with raw.serving(loop, TimedHttpToolsProtocol) as running:
        trailer = b"2\r\n[]\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
        running.exchange(raw.post(trailer, raw.CHUNKED, b"Connection: close"))
    assert seen == [b"host", b"content-type", b"transfer-encoding", b"connection"]


def test_a_push_right_after_the_end_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    took: list[bool] = []

    class Late(Said):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            wire: Wire = scope["extensions"][WIRE]
            await send(START)
            await send(LAST)
            took.append(wire.push(chunked(b"late")))

    monkeypatch.setattr(raw, "App", Late)
    with raw.serving("asyncio", TimedHttpToolsProtocol) as running:
        received = running.exchange(raw.GET + raw.LAST_GET)
    assert took == [False, False]
    assert b"late" not in received


def test_an_answer_that_is_over_holds_nothing_of_its_request(
    said: tuple[Said, raw.Running],
) -> None:
    app, running = said
    app.messages = [START, body(b"x", more=False)]
    running.exchange(raw.LAST_GET)
    assert app.wire is not None
    assert WIRE not in app.wire.scope.get("extensions", {})


class Connection(asyncio.Transport):
    """Keeps what is written, each write by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


async def run(app: ASGIApp, *, method: str = "GET") -> Connection:
    connection = Connection()
    tasks: set[asyncio.Task[None]] = set()
    wire = Wire(
        {"type": "http", "method": method, "http_version": "1.1"},
        GatheringTransport(connection, asyncio.get_running_loop()), FlowControl(connection), (),
        keep_alive=True, expects_continue=False, on_response=lambda: None,
        tasks=tasks,
    )  # fmt: skip
    wire.start(app, asyncio.get_running_loop())
    await asyncio.wait(tasks)
    assert not tasks
    await asyncio.sleep(0)  # a turn of the loop: what is gathered goes out
    return connection


OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = fields((b"content-length", b"2"))


@pytest.mark.parametrize(
    ("method", "messages", "written"),
    [
        (
            "GET",
            [START, body(b"a"), body(b"b", more=False)],
            [OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n", b"1\r\nb\r\n0\r\n\r\n"],
        ),
        (
            "GET",
            [START, body(b""), LAST],
            [OK + b"transfer-encoding: chunked\r\n\r\n", b"0\r\n\r\n"],
        ),
        ("GET", [START, LAST], [OK + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"]),
        ("GET", [LENGTH, body(b"ab", more=False)], [OK + b"content-length: 2\r\n\r\nab"]),
        ("HEAD", [LENGTH, body(b"ab", more=False)], [OK + b"content-length: 2\r\n\r\n"]),
        ("GET", [{**START, "status": 204}, LAST], [b"HTTP/1.1 204 No Content\r\n\r\n"]),
    ],
    ids=["pieces", "nothing yet", "nothing", "length", "HEAD", "204"],
)
async def test_the_head_goes_out_with_the_first_piece(
    method: str, messages: list[Message], written: list[bytes]
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    connection = await run(app, method=method)
    assert connection.written == written
    assert not connection.closed


@pytest.mark.parametrize("start", [START, LENGTH])
async def test_a_long_piece_is_not_copied_behind_the_head(start: Message) -> None:
    piece = bytes(COPIED_BYTES + 1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"%d" % len(piece))] if start is LENGTH else []
        await send({**start, "headers": headers})
        await send(body(piece, more=False))

    connection = await run(app)
    assert connection.written[1] == piece
    assert connection.written[0].startswith(OK)


async def test_what_is_pushed_first_goes_out_with_the_head() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        assert scope["extensions"][WIRE].push(b"1\r\na\r\n")
        await send(LAST)

    connection = await run(app)
    assert connection.written == [
        OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n", b"0\r\n\r\n",
    ]  # fmt: skip


@pytest.mark.parametrize("failing", [True, False])
async def test_an_answer_that_was_begun_and_left_shows_its_head_and_ends(failing: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        if failing:
            raise ValueError("no")

    connection = await run(app)
    assert connection.written == [OK + b"transfer-encoding: chunked\r\n\r\n"]
    assert connection.closed


@pytest.mark.parametrize("failing", [True, False])
async def test_a_request_that_was_not_answered_gets_a_500(failing: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if failing:
            raise ValueError("no")

    (written,) = (await run(app)).written
    assert written.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"\r\nconnection: close\r\n" in written
    assert written.endswith(b"\r\n\r\nInternal Server Error")


async def test_nobody_waits_for_an_answer_whose_application_has_emptied_its_scope() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(LAST)
        scope.clear()

    connection = await run(app)  # asserts that no task is left
    assert b"".join(connection.written).endswith(b"0\r\n\r\n")
