from __future__ import annotations

import hashlib
from typing import Any

import anyio
import orjson
import pytest
from starlette.types import Message

from api.bodies import parse_task_request, read_json
from api.errors import (
    BadFraming,
    ClientDisconnected,
    InvalidJson,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)
from orchestrator.tasks import body_hash
from tests.api.asgi import Header, make_scope, receiving

JSON = (b"content-type", b"application/json")


async def read(
    *pieces: bytes,
    headers: list[Header] | None = None,
    max_bytes: int = 1000,
    disconnects: bool = False,
) -> Any:
    scope = make_scope("POST", headers=[JSON] if headers is None else headers)
    receive = receiving(*pieces, disconnects=disconnects)
    return await read_json(scope, receive, max_bytes=max_bytes)


MEDIA_TYPES = [
    b"application/json",
    b"Application/JSON",
    b"application/json; charset=utf-8",
    b"application/json;charset=UTF-8",
    b'application/json ; charset="utf-8"',
]

NO_MEDIA_TYPES = [
    b"",
    b"text/plain",
    b"text/json",
    b"text/html",
    b"application/x-www-form-urlencoded",
    b"multipart/form-data; boundary=x",
    b"application/xml",
    b"text/xml; charset=utf-8",
    b"application/python-pickle",
    b"application/octet-stream",
    b"application/json-patch+json",
    b"application/vnd.api+json",
    b"application/jsonp",
    b"application/json; charset=utf8",
    b"application/json; charset=utf-7",
    b"application/json; charset=utf-16",
    b"application/json; charset=latin-1",
    b"application/json; profile=x",
    b"application/json; charset=utf-8; charset=utf-7",
    b"application/json, text/plain",
    b"xapplication/json",
    b"*/*",
]


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
async def test_plain_json_is_read(media_type: bytes) -> None:
    assert await read(b'{"a":1}', headers=[(b"content-type", media_type)]) == {"a": 1}


@pytest.mark.parametrize("media_type", NO_MEDIA_TYPES)
async def test_no_other_type_is_read(media_type: bytes) -> None:
    with pytest.raises(UnsupportedMediaType):
        await read(b'{"a":1}', headers=[(b"content-type", media_type)])


@pytest.mark.parametrize("headers", [[], [JSON, JSON], [JSON, (b"content-type", b"text/plain")]])
async def test_the_type_must_be_given_once(headers: list[Header]) -> None:
    with pytest.raises(UnsupportedMediaType):
        await read(b"{}", headers=headers)


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"deflate", b"x-gzip", b"identity, gzip"])
async def test_no_coding_is_undone(coding: bytes) -> None:
    with pytest.raises(UnsupportedMediaType, match="Content-Encoding"):
        await read(b"{}", headers=[JSON, (b"content-encoding", coding)])


async def test_identity_is_no_coding() -> None:
    assert await read(b"{}", headers=[JSON, (b"content-encoding", b"Identity")]) == {}


@pytest.mark.parametrize("size", [999, 1000])
async def test_a_body_up_to_the_limit_is_read(size: int) -> None:
    text = b'"' + b"x" * (size - 2) + b'"'
    length = (b"content-length", b"%d" % size)
    assert len(await read(text, headers=[JSON, length])) == size - 2
    assert len(await read(text[:1], text[1:500], b"", text[500:], headers=[JSON])) == size - 2


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    async def receive() -> Message:
        raise AssertionError("it was read")

    scope = make_scope("POST", headers=[JSON, (b"content-length", b"1001")])
    with pytest.raises(PayloadTooLarge) as raised:
        await read_json(scope, receive, max_bytes=1000)
    assert raised.value.unread


async def test_a_body_that_turns_out_too_large_is_read_no_further() -> None:
    received = 0

    async def receive() -> Message:
        nonlocal received
        received += 1
        return {"type": "http.request", "body": b" " * 400, "more_body": True}

    with pytest.raises(PayloadTooLarge) as raised:
        await read_json(make_scope("POST", headers=[JSON]), receive, max_bytes=1000)
    assert raised.value.unread
    assert received == 3


async def test_a_body_too_large_in_one_piece_leaves_nothing_unread() -> None:
    with pytest.raises(PayloadTooLarge) as raised:
        await read(b" " * 1001)
    assert not raised.value.unread


@pytest.mark.parametrize("length", [b"", b"-1", b"+5", b"5, 5", b"0x5", b"5.0", b"9" * 19, b"\xb2"])
async def test_a_length_that_is_no_number_is_refused(length: bytes) -> None:
    with pytest.raises(BadFraming):
        await read(b"{}", headers=[JSON, (b"content-length", length)])


BAD_JSON = [
    b"", b"{", b"[1,]", b"{'a':1}", b"NaN", b'{"a":Infinity}', b'{"a":1,"a":2}', b'"\xff"',
    b'"\\ud800"', b"\xef\xbb\xbf{}", b'{"a":' + b"9" * 500 + b"}", b"[" * 900, b"{} {}",
    b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    b"\x80\x04\x95", b"\x1f\x8b\x08", b"a=1&b=2",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_JSON, ids=lambda text: repr(text[:20]))
async def test_what_is_no_strict_json_is_refused_without_repeating_it(text: bytes) -> None:
    with pytest.raises(InvalidJson) as raised:
        await read(text)
    assert "passwd" not in str(raised.value)


async def test_ten_megabytes_are_refused_at_the_door() -> None:
    with pytest.raises(PayloadTooLarge):
        await read(*[b"x" * 65536] * 160, max_bytes=1024 * 1024)


@pytest.mark.parametrize("pieces", [(), (b'{"a"',), (b'{"a"', b":")])
async def test_a_client_that_leaves_is_told_apart_from_a_short_body(
    pieces: tuple[bytes, ...],
) -> None:
    with pytest.raises(ClientDisconnected):
        await read(*pieces, disconnects=True)


async def test_a_body_that_stops_coming_is_given_up() -> None:
    left = iter([{"type": "http.request", "body": b"{", "more_body": True}])

    async def receive() -> Message:
        if (message := next(left, None)) is not None:
            return message
        await anyio.sleep_forever()
        raise AssertionError

    with pytest.raises(RequestTimeout):
        await read_json(
            make_scope("POST", headers=[JSON]), receive, max_bytes=1000, max_seconds=0.01
        )


async def test_a_body_becomes_a_request_and_keeps_its_hash() -> None:
    text = b'{ "selectedAgents": ["a"], "description": "x", "title": null }'
    body = await read(text)
    request = parse_task_request(body)
    assert (request.description, request.selected_agents, request.title) == ("x", ["a"], None)
    canonical = b'{"description":"x","selectedAgents":["a"],"title":null}'
    assert body_hash(body) == hashlib.sha256(canonical).hexdigest()
    assert body_hash(body) == body_hash(orjson.loads(canonical))
