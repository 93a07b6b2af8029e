"""Raw bytes against a real server."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from api.bodies import read_json
from api.connections import TimedHttpToolsProtocol
from api.framing import FramingGuard
from api.problems import send_problem
from orchestrator.errors import PoststreamError

PATIENCE_SECONDS = 10.0  # after which a test gives up; nothing here takes long
HEAD_SECONDS = 0.3


class PatientProtocol(TimedHttpToolsProtocol):
    linger_seconds = 60.0  # nothing below may be due to it


class QuickProtocol(TimedHttpToolsProtocol):
    head_seconds = HEAD_SECONDS
    linger_seconds = HEAD_SECONDS


class App:
    """Echoes JSON bodies; ``/wait`` streams one piece, and the rest once ``/go`` was asked for.

    ``/late`` reads nothing and begins to answer only then.
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
                body = b"ok"
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


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server(loop: str) -> Iterator[Running]:
    with serving(loop, PatientProtocol) as running:
        yield running


@pytest.fixture(scope="module")
def quick(loop: str) -> Iterator[Running]:
    """A server that waits for headers less long than a test has patience."""
    with serving(loop, QuickProtocol) as running:
        yield running


def request(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([*lines, b"", body])


def post(body: bytes, *lines: bytes, path: bytes = b"/json") -> bytes:
    """A request with a body in chunks or of a length, as ``lines`` say."""
    fields = (b"Host: x", b"Content-Type: application/json", *lines)
    return request(b"POST " + path + b" HTTP/1.1", *fields, body=body)


GET = request(b"GET /a HTTP/1.1", b"Host: x")
LAST_GET = request(b"GET /a HTTP/1.1", b"Host: x", b"Connection: close")
CHUNKED = b"Transfer-Encoding: chunked"
SMUGGLED = request(b"GET /smuggled HTTP/1.1", b"Host: x")

ACCEPTED: dict[str, bytes] = {
    "plain": LAST_GET,
    "HTTP/1.0": request(b"GET /a HTTP/1.0"),
    "HTTP/1.0 with host": request(b"GET /a HTTP/1.0", b"Host: x"),
    "empty lines before": b"\r\n\r\n" + LAST_GET,
    "whole address": request(b"GET http://x/a HTTP/1.1", b"Host: x", b"Connection: close"),
    "star": request(b"OPTIONS * HTTP/1.1", b"Host: x", b"Connection: close"),
    "length": post(b'{"a":1}', b"Content-Length: 7", b"Connection: close"),
    "chunks": post(b'3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n', CHUNKED, b"Connection: close"),
    "expectation": post(b"[]", b"Content-Length: 2", b"Expect: 100-continue", b"Connection: close"),
    "unwanted upgrade": request(
        b"GET /a HTTP/1.1", b"Host: x", b"Connection: close, Upgrade", b"Upgrade: h2c"
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_good_requests_are_served(server: Running, name: str) -> None:
    received = server.exchange(ACCEPTED[name])
    received = received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answers(received) == 1


REFUSED: dict[str, bytes] = {
    "length and chunks": post(b"0\r\n\r\n" + SMUGGLED, b"Content-Length: 5", CHUNKED),
    "chunks and length": post(b"0\r\n\r\n" + SMUGGLED, CHUNKED, b"Content-Length: 5"),
    "two lengths": post(b"[]" + SMUGGLED, b"Content-Length: 2", b"Content-Length: 40"),
    "the same length twice": post(b"[]", b"Content-Length: 2", b"Content-Length: 2"),
    "list of lengths": post(b"[]", b"Content-Length: 2, 2"),
    "negative length": post(b"[]", b"Content-Length: -2"),
    "length with plus": post(b"[]", b"Content-Length: +2"),
    "length in hex": post(b"[]", b"Content-Length: 0x2"),
    "length beyond 64 bits": post(b"[]", b"Content-Length: 99999999999999999999999"),
    "empty length": post(b"[]", b"Content-Length:"),
    "coding twice": post(b"0\r\n\r\n", CHUNKED, CHUNKED),
    "other coding": post(b"0\r\n\r\n" + SMUGGLED, b"Transfer-Encoding: xchunked"),
    "coding before chunked": post(b"0\r\n\r\n", b"Transfer-Encoding: gzip, chunked"),
    "coding after chunked": post(b"0\r\n\r\n", b"Transfer-Encoding: chunked, identity"),
    "coding with a blank before the colon": post(b"0\r\n\r\n", b"Transfer-Encoding : chunked"),
    "coding hidden by a tab": post(b"0\r\n\r\n", b"Transfer-Encoding:\x0bchunked"),
    "chunks in HTTP/1.0": request(b"POST /json HTTP/1.0", CHUNKED, body=b"0\r\n\r\n"),
    "no chunk size": post(b"\r\n[]\r\n0\r\n\r\n", CHUNKED),
    "chunk size is a word": post(b"zz\r\n[]\r\n0\r\n\r\n", CHUNKED),
    "negative chunk": post(b"-2\r\n[]\r\n0\r\n\r\n", CHUNKED),
    "chunk beyond 64 bits": post(b"fffffffffffffffff\r\n[]\r\n0\r\n\r\n", CHUNKED),
    "chunk longer than its size": post(b"1\r\n[]\r\n0\r\n\r\n", CHUNKED),
    "bare LF in chunks": post(b"2\n[]\n0\n\n", CHUNKED),
    "NUL in a value": request(b"GET /a HTTP/1.1", b"Host: x", b"A: b\x00c"),
    "NUL in a name": request(b"GET /a HTTP/1.1", b"Host: x", b"A\x00: b"),
    "bare CR in a value": request(b"GET /a HTTP/1.1", b"Host: x", b"A: b\rB: c"),
    "bare LF line ends": b"GET /a HTTP/1.1\nHost: x\n\n",
    "folded field": request(b"GET /a HTTP/1.1", b"Host: x", b"A: b", b" c"),
    "field without colon": request(b"GET /a HTTP/1.1", b"Host: x", b"A"),
    "field without name": request(b"GET /a HTTP/1.1", b"Host: x", b": b"),
    "blank in a name": request(b"GET /a HTTP/1.1", b"Host: x", b"A B: c"),
    "blank before the first field": request(b"GET /a HTTP/1.1", b" Host: x"),
    "no host": request(b"GET /a HTTP/1.1", b"A: b"),
    "two hosts": request(b"GET /a HTTP/1.1", b"Host: x", b"Host: y"),
    "odd host": request(b"GET /a HTTP/1.1", b"Host: x/y"),
    "HTTP/0.9": b"GET /a\r\n\r\n",
    "HTTP/0.9, said aloud": request(b"GET /a HTTP/0.9", b"Host: x"),
    "HTTP/2": request(b"GET /a HTTP/2.0", b"Host: x"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": request(b"GET /a HTTP/9.9", b"Host: x"),
    "other protocol": b"GET /a ICE/1.0\r\n\r\n",
    "lower-case protocol": request(b"GET /a http/1.1", b"Host: x"),
    "unknown method": request(b"STEAL /a HTTP/1.1", b"Host: x"),
    "lower-case method": request(b"get /a HTTP/1.1", b"Host: x"),
    "no target": request(b"GET  HTTP/1.1", b"Host: x"),
    "blank in the target": request(b"GET /a b HTTP/1.1", b"Host: x"),
    "NUL in the target": request(b"GET /a\x00b HTTP/1.1", b"Host: x"),
    "raw bytes in the target": request(b"GET /\xff\xfe HTTP/1.1", b"Host: x"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "zeros": bytes(1000),
    "JSON": b'{"jsonrpc":"2.0"}\n',
}


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


@pytest.mark.parametrize("name", REFUSED)
def test_bad_requests_get_one_answer_and_the_connection_is_closed(
    server: Running, name: str
) -> None:
    status, _ = problem(server.exchange(REFUSED[name]))
    assert status == 400
    assert "GET /smuggled" not in server.app.reached


@pytest.mark.parametrize("method", [b"TRACE", b"CONNECT"])
def test_no_tunnels_and_no_echoes(server: Running, method: bytes) -> None:
    target = b"x:80" if method == b"CONNECT" else b"/a"
    raw = request(method + b" " + target + b" HTTP/1.1", b"Host: x", b"Connection: close")
    received = server.exchange(raw)
    assert received.split(b" ")[1] in (b"400", b"405")
    assert answers(received) == 1


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"A: " + b"b" * 40_000 + b"\r\n\r\n", 431),
        (b"A: b\r\n" * 10_000 + b"\r\n", 431),
        (b"A: " + b"b" * 1_000_000 + b"\r\n\r\n", 431),
        (b"A: " + b"b" * 8_000_000, 431),
        (b"A: b\r\n" * 1_000_000, 431),
    ],
    ids=["40 KB", "10,000 fields", "1 MB", "8 MB without end", "a million fields without end"],
)
def test_headers_without_measure_are_answered_before_they_end(
    server: Running, head: bytes, status: int
) -> None:
    found, _ = problem(server.exchange(b"GET /a HTTP/1.1\r\nHost: x\r\n", head))
    assert found == status


def test_a_target_without_measure_is_refused(server: Running) -> None:
    raw = request(b"GET /" + b"a" * 20_000 + b" HTTP/1.1", b"Host: x")
    assert problem(server.exchange(raw))[0] == 414
    assert problem(server.exchange(b"GET /" + b"a" * 1_000_000))[0] == 431


def test_a_large_body_is_refused_and_the_answer_arrives(server: Running) -> None:
    for lines, body in [
        ([b"Content-Length: 10000000"], b" " * 10_000_000),
        ([CHUNKED], b"989680\r\n" + b" " * 10_000_000 + b"\r\n0\r\n\r\n"),
    ]:
        assert problem(server.exchange(post(body, *lines)))[0] == 413


# --- what comes after a good request -------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(server: Running) -> None:
    received = server.exchange(GET + GET + LAST_GET)
    assert received.count(b"HTTP/1.1 200 OK") == 3


def test_junk_after_a_request_is_answered_after_it(server: Running) -> None:
    for junk in (b"\x00\x01\x02", b"GET /a\x00", REFUSED["TLS"]):
        received = server.exchange(GET + junk)
        first, _, rest = received.partition(b"\r\n0\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 200 OK\r\n")
        assert first.endswith(b"ok")
        assert problem(rest)[0] == 400


def test_junk_after_two_requests_is_answered_after_both(server: Running) -> None:
    received = server.exchange(GET + GET + b"\x00")
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert received.count(b"HTTP/1.1 400") == 1
    assert received.index(b"HTTP/1.1 400") > received.rindex(b"HTTP/1.1 200 OK")


def test_junk_does_not_get_into_a_stream_that_is_under_way(server: Running) -> None:
    with server.connect() as made:
        made.sendall(request(b"GET /wait HTTP/1.1", b"Host: x"))
        head = read_until(made, b"first,\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        made.sendall(b"\x00junk")
        made.sendall(b"more junk" * 100)
        server.exchange(request(b"GET /go HTTP/1.1", b"Host: x", b"Connection: close"))
        rest = read_all(made)
    assert rest.startswith(b"4\r\nlast\r\n0\r\n\r\n")
    assert problem(rest.partition(b"0\r\n\r\n")[2])[0] == 400


def test_a_body_that_breaks_is_answered_in_place_of_its_request(server: Running) -> None:
    before = len(server.app.failed)
    with server.connect() as made:
        made.sendall(post(b"2\r\n[1\r\n", CHUNKED))
        until(lambda: server.app.reached[-1:] == ["POST /json"])
        made.sendall(b"zz\r\n")
        assert problem(read_all(made))[0] == 400
        until(lambda: len(server.app.failed) > before)
    assert server.app.failed[before:] == ["ClientDisconnected"]


def test_an_answer_that_comes_after_the_last_word_is_dropped(server: Running) -> None:
    with server.connect() as made:
        made.sendall(post(b"2\r\n[1\r\n", CHUNKED, path=b"/late"))
        until(lambda: server.app.reached[-1:] == ["POST /late"])
        made.sendall(b"zz\r\n")
        assert problem(read_all(made))[0] == 400
        server.exchange(request(b"GET /go HTTP/1.1", b"Host: x", b"Connection: close"))
        until(lambda: "/late" in server.app.answered)


def test_a_body_that_breaks_behind_a_stream_is_answered_after_it(server: Running) -> None:
    with server.connect() as made:
        made.sendall(request(b"GET /wait HTTP/1.1", b"Host: x"))
        read_until(made, b"first,\r\n")
        made.sendall(post(b"zz\r\n", CHUNKED, path=b"/never"))
        server.exchange(request(b"GET /go HTTP/1.1", b"Host: x", b"Connection: close"))
        rest = read_all(made)
    assert problem(rest.partition(b"0\r\n\r\n")[2])[0] == 400
    assert "POST /never" not in server.app.reached


def test_a_body_that_breaks_after_its_answer_is_not_answered_again(server: Running) -> None:
    with server.connect() as made:
        made.sendall(post(b"2\r\n[]\r\n", CHUNKED, path=b"/a"))
        assert read_until(made, b"0\r\n\r\n").startswith(b"HTTP/1.1 200 OK")
        made.sendall(b"zz\r\n")
        assert read_all(made) == b""


# --- slow connections ----------------------------------------------------------------------------


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


def test_headers_that_do_not_come_are_not_awaited(quick: Running) -> None:
    with contextlib.ExitStack() as stack:
        waiting = {name: stack.enter_context(quick.connect()) for name in SLOW}
        for name, made in waiting.items():
            made.sendall(SLOW[name])
        assert closed_after(waiting.pop("nothing")) > HEAD_SECONDS / 2
        for made in waiting.values():
            closed_after(made)


def test_the_same_holds_between_two_requests(quick: Running) -> None:
    with contextlib.ExitStack() as stack:
        waiting = {name: stack.enter_context(quick.connect()) for name in SLOW if SLOW[name]}
        for name, made in waiting.items():
            made.sendall(GET)
            read_until(made, b"0\r\n\r\n")
            made.sendall(SLOW[name])
        for made in waiting.values():
            closed_after(made)


def test_a_byte_now_and_then_wins_no_time(quick: Running) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS / 2
    with quick.connect() as made:
        made.settimeout(HEAD_SECONDS / 10)
        with contextlib.suppress(ConnectionError):
            made.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\nA: ")
            while time.monotonic() < give_up:
                made.sendall(b"b")
                with contextlib.suppress(TimeoutError):
                    assert made.recv(1) == b""
                    break
        assert time.monotonic() < give_up


def test_a_connection_between_requests_may_rest(quick: Running) -> None:
    with quick.connect() as resting, quick.connect() as slow:
        resting.sendall(GET)
        read_until(resting, b"0\r\n\r\n")
        closed_after(slow)  # so the time for headers has passed
        resting.sendall(LAST_GET)
        assert read_all(resting).startswith(b"HTTP/1.1 200 OK")


def test_a_stream_may_take_longer_than_headers(quick: Running) -> None:
    with quick.connect() as streaming, quick.connect() as slow:
        streaming.sendall(request(b"GET /wait HTTP/1.1", b"Host: x", b"Connection: close"))
        read_until(streaming, b"first,\r\n")
        closed_after(slow)
        quick.exchange(request(b"GET /go HTTP/1.1", b"Host: x", b"Connection: close"))
        assert read_all(streaming) == b"4\r\nlast\r\n0\r\n\r\n"


def test_half_a_request_behind_a_stream_does_not_cut_it(quick: Running) -> None:
    with quick.connect() as streaming, quick.connect() as slow:
        streaming.sendall(request(b"GET /wait HTTP/1.1", b"Host: x") + b"GET /a HT")
        read_until(streaming, b"first,\r\n")
        closed_after(slow)
        quick.exchange(request(b"GET /go HTTP/1.1", b"Host: x", b"Connection: close"))
        assert read_all(streaming) == b"4\r\nlast\r\n0\r\n\r\n"


def test_the_rest_of_an_answered_body_is_not_awaited_for_ever(quick: Running) -> None:
    with quick.connect() as made:
        made.sendall(post(b"2\r\n[]\r\n", CHUNKED, path=b"/a"))
        read_until(made, b"0\r\n\r\n")
        made.sendall(b"2\r\n[")
        closed_after(made)


def test_a_client_that_goes_on_after_the_last_word_is_cut(quick: Running) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    with quick.connect() as made:
        made.sendall(b"\x00")
        assert problem(read_all(made))[0] == 400
        with pytest.raises(ConnectionError):
            while time.monotonic() < give_up:
                made.sendall(b"more")


def test_many_slow_connections_leave_the_others_alone(quick: Running) -> None:
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(quick.connect()) for _ in range(200)]
        for made in slow:
            made.sendall(b"GET /a HTTP/1.1\r\n")
        assert quick.exchange(LAST_GET).startswith(b"HTTP/1.1 200 OK")
        for made in slow:
            closed_after(made)


def test_a_real_tls_client_is_turned_away(server: Running) -> None:
    context = ssl.create_default_context()
    with server.connect() as made, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(made, server_hostname="x")
