"""Raw bytes against a real server: what is served, what is refused, and what comes after."""

from __future__ import annotations

import contextlib
import logging
import ssl
import time
from collections.abc import Iterator

import pytest

from api.connections import TimedHttpToolsProtocol
from tests.api.raw import (
    CHUNKED,
    GET,
    GO,
    LAST_GET,
    SMUGGLED,
    Running,
    answers,
    post,
    problem,
    read_all,
    read_until,
    request,
    serving,
    until,
)


class PatientProtocol(TimedHttpToolsProtocol):
    linger_seconds = 60.0  # nothing below may be due to it
    read_bytes = 0  # on all connections

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        PatientProtocol.read_bytes += len(data)


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with serving(request.param, PatientProtocol) as running:
        yield running


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


@pytest.mark.parametrize("fields", [b"A: " + b"b" * 8_000_000, b"A: b\r\n" * 1_000_000])
def test_fields_without_measure_behind_a_body_are_refused(server: Running, fields: bytes) -> None:
    found, _ = problem(server.exchange(post(b"2\r\n[]\r\n0\r\n", CHUNKED), fields))
    assert found == 431


class NarrowProtocol(PatientProtocol):
    max_head_bytes = 1000


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_body_between_two_halves_of_headers_is_no_header(loop: str) -> None:
    first, second = post(b" " * 2000, b"Content-Length: 2000", path=b"/a"), LAST_GET
    with serving(loop, NarrowProtocol) as running, running.connect() as made:
        for half in (first[:20], first[20:] + second[:20], second[20:]):
            read = PatientProtocol.read_bytes + len(half)
            made.sendall(half)
            until(lambda read=read: PatientProtocol.read_bytes == read)  # type: ignore[misc]
        assert read_all(made).count(b"HTTP/1.1 200 OK") == 2


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


def test_a_body_in_small_pieces_takes_no_time_from_others(server: Running) -> None:
    raw = post(b"1\r\nx\r\n" * 30_000, CHUNKED, path=b"/late")
    with server.connect() as made:
        started, read = time.monotonic(), PatientProtocol.read_bytes + len(raw)
        made.sendall(raw)
        until(lambda: PatientProtocol.read_bytes == read)
        assert time.monotonic() - started < 1
        until(lambda: server.app.reached[-1:] == ["POST /late"])
    server.exchange(GO)


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
        server.exchange(GO)
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
        server.exchange(GO)
        until(lambda: "/late" in server.app.answered)


def test_a_body_that_broke_is_not_asked_for(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    before = len(server.app.failed)
    received = server.exchange(post(b"zz\r\n", CHUNKED, b"Expect: 100-continue"))
    assert problem(received)[0] == 400
    until(lambda: len(server.app.failed) > before)
    server.exchange(LAST_GET)  # so the turn in which it failed is over
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_body_that_breaks_behind_a_stream_is_answered_after_it(server: Running) -> None:
    with server.connect() as made:
        made.sendall(request(b"GET /wait HTTP/1.1", b"Host: x"))
        read_until(made, b"first,\r\n")
        made.sendall(post(b"zz\r\n", CHUNKED, path=b"/never"))
        server.exchange(GO)
        rest = read_all(made)
    assert problem(rest.partition(b"0\r\n\r\n")[2])[0] == 400
    assert "POST /never" not in server.app.reached


def test_a_body_that_breaks_after_its_answer_is_not_answered_again(server: Running) -> None:
    with server.connect() as made:
        made.sendall(post(b"2\r\n[]\r\n", CHUNKED, path=b"/a"))
        assert read_until(made, b"0\r\n\r\n").startswith(b"HTTP/1.1 200 OK")
        made.sendall(b"zz\r\n")
        assert read_all(made) == b""


def test_behind_an_unwanted_upgrade_no_body_becomes_a_request(server: Running) -> None:
    upgrade = request(b"GET /a HTTP/1.1", b"Host: x", b"Connection: upgrade", b"Upgrade: h2c")
    with server.connect() as made:
        made.sendall(upgrade + post(b"", b"Content-Length: %d" % len(SMUGGLED)))
        received = read_until(made, b"0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            made.sendall(SMUGGLED)
            received += read_all(made)
    assert answers(received) == 1
    assert b"\r\nconnection: close\r\n" in received
    assert "GET /smuggled" not in server.app.reached


def test_a_real_tls_client_is_turned_away(server: Running) -> None:
    context = ssl.create_default_context()
    with server.connect() as made, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(made, server_hostname="x")
