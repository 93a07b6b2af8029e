from __future__ import annotations

import pytest
from starlette.types import Receive, Scope, Send

from api.framing import MAX_HEADER_BYTES, MAX_TARGET_BYTES, FramingGuard, find_fault
from tests.api.asgi import HOST, Header, answering, call, make_scope

GOOD_HOSTS = [
    b"localhost", b"localhost:8000", b"127.0.0.1", b"127.0.0.1:65535", b"[::1]", b"[::1]:8000",
    b"example.com", b"EXAMPLE.com.", b"my_service", b"xn--bcher-kva.example",
]  # fmt: skip

BAD_HOSTS = [
    b"", b" ", b"a b", b"a/b", b"a@b", b"user:pass@host", b"a,b", b"a\x00b", b"a\nb", b"a:b",
    b"a:", b"a:123456", b"http://a", b"[::1", b"::1", b"<script>", b"a?b", b"a#b", b"\xff",
]  # fmt: skip


@pytest.mark.parametrize("host", GOOD_HOSTS)
async def test_a_host_with_an_optional_port_is_accepted(host: bytes) -> None:
    answer = await call(FramingGuard(answering()), make_scope(headers=[(b"host", host)]))
    assert answer.status == 200


@pytest.mark.parametrize("host", BAD_HOSTS)
async def test_anything_else_is_no_host(host: bytes) -> None:
    answer = await call(FramingGuard(answering()), make_scope(headers=[(b"host", host)]))
    assert answer.status == 400


CHUNKED = (b"transfer-encoding", b"chunked")
LENGTH = (b"content-length", b"5")

FRAMES: list[tuple[str, str, list[Header], int | None]] = [
    ("1.1", "GET", [HOST], None),
    ("1.1", "POST", [HOST, LENGTH], None),
    ("1.1", "POST", [HOST, CHUNKED], None),
    ("1.1", "POST", [HOST, (b"transfer-encoding", b"Chunked")], None),
    ("1.0", "GET", [HOST], None),
    ("1.0", "GET", [], None),
    ("1.1", "GET", [], 400),
    ("1.1", "GET", [HOST, HOST], 400),
    ("1.0", "GET", [HOST, HOST], 400),
    ("0.9", "GET", [], 400),
    ("0.9", "GET", [HOST], 400),
    ("2.0", "GET", [HOST], 400),
    ("1.2", "GET", [HOST], 400),
    ("1.1", "POST", [HOST, LENGTH, CHUNKED], 400),
    ("1.1", "POST", [HOST, CHUNKED, LENGTH], 400),
    ("1.1", "POST", [HOST, LENGTH, LENGTH], 400),
    ("1.1", "POST", [HOST, CHUNKED, CHUNKED], 400),
    ("1.1", "POST", [HOST, (b"transfer-encoding", b"gzip, chunked")], 400),
    ("1.1", "POST", [HOST, (b"transfer-encoding", b"identity")], 400),
    ("1.1", "POST", [HOST, (b"transfer-encoding", b"")], 400),
    ("1.0", "POST", [HOST, CHUNKED], 400),
    ("1.1", "TRACE", [HOST], 405),
    ("1.1", "CONNECT", [HOST], 405),
    ("1.1", "OPTIONS", [HOST], None),
]


@pytest.mark.parametrize(("version", "method", "headers", "status"), FRAMES)
async def test_requests_in_doubt_are_answered_and_their_connection_closed(
    version: str, method: str, headers: list[Header], status: int | None
) -> None:
    scope = make_scope(method, headers=headers, http_version=version)
    answer = await call(FramingGuard(answering()), scope)
    assert answer.status == (status or 200)
    if status is not None:
        assert answer.values(b"content-type") == [b"application/problem+json"]
        assert answer.json()["status"] == status
    closes = [b"close"] if status == 400 else []
    assert answer.values(b"connection") == closes
    assert bool(answer.values(b"allow")) == (status == 405)


def filled(size: int) -> list[Header]:
    """Header fields of that many bytes in all, as they are sent."""
    first = (b"x", b"")
    rest = size - sum(len(b"%s: %s\r\n" % field) for field in (HOST, first, (b"y", b"")))
    return [HOST, first, (b"y", b"z" * rest)]


async def test_header_fields_are_counted_together() -> None:
    app = FramingGuard(answering())
    fits = await call(app, make_scope(headers=filled(MAX_HEADER_BYTES)))
    assert fits.status == 200
    answer = await call(app, make_scope(headers=filled(MAX_HEADER_BYTES + 1)))
    assert answer.status == 431
    assert answer.json()["type"] == "/problems/header-too-large"
    assert answer.values(b"connection") == [b"close"]
    many = [HOST, *[(b"a", b"b")] * (MAX_HEADER_BYTES // 6)]
    assert (await call(app, make_scope(headers=many))).status == 431


async def test_a_target_has_its_own_limit() -> None:
    app = FramingGuard(answering())
    path = "/" + "x" * (MAX_TARGET_BYTES // 2 - 1)
    query = b"y" * (MAX_TARGET_BYTES // 2)
    assert (await call(app, make_scope(path=path, query_string=query))).status == 200
    answer = await call(app, make_scope(path=path, query_string=query + b"y"))
    assert answer.status == 414
    assert answer.values(b"connection") == [b"close"]


async def test_a_refused_request_does_not_reach_the_application() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("it was reached")

    assert (await call(FramingGuard(app), make_scope(headers=[]))).status == 400


async def test_other_protocols_pass_through() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    await FramingGuard(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]


def test_an_ordinary_request_has_no_fault() -> None:
    scope = make_scope("POST", "/api/tasks", headers=[HOST, LENGTH])
    assert find_fault(scope) is None
    del scope["raw_path"]  # ASGI allows a server to leave it out
    assert find_fault(scope) is None
