from __future__ import annotations

import inspect
import logging
from typing import Any

import anyio
import orjson
import pytest
from starlette.types import Message

from api import errors as api
from api import problems
from api.problems import INTERNAL, PROBLEMS, problem_of, problem_response, send_problem
from orchestrator import errors as core
from orchestrator.errors import FieldError
from tests.api.asgi import Header, make_scope, receiving

TABLE: list[tuple[Exception, int, str, list[Header]]] = [
    (
        api.Unauthorized("no", token_given=False),
        401,
        "unauthorized",
        [(b"www-authenticate", b"Bearer")],
    ),
    (
        api.Unauthorized("no"),
        401,
        "unauthorized",
        [(b"www-authenticate", b'Bearer error="invalid_token"')],
    ),
    (
        api.UnknownKey(),
        401,
        "unauthorized",
        [(b"www-authenticate", b'Bearer error="invalid_token"')],
    ),
    (api.Forbidden("no"), 403, "forbidden", []),
    (
        api.MissingScope("tasks:read"),
        403,
        "forbidden",
        [(b"www-authenticate", b'Bearer error="insufficient_scope", scope="tasks:read"')],
    ),
    (api.NotFound(), 404, "not-found", []),
    (api.MethodNotAllowed(["GET", "PUT"]), 405, "method-not-allowed", [(b"allow", b"GET, PUT")]),
    (api.UnsupportedMediaType("no"), 415, "unsupported-media-type", []),
    (api.InvalidJson("no"), 400, "invalid-json", []),
    (api.InvalidLastEventId(), 400, "invalid-last-event-id", []),
    (api.InvalidIdempotencyKey(), 400, "invalid-idempotency-key", []),
    (api.InvalidParameter("limit", "is a number"), 400, "invalid-parameter", []),
    (api.BadFraming("no"), 400, "bad-request", [(b"connection", b"close")]),
    (api.HeaderTooLarge("no"), 431, "header-too-large", [(b"connection", b"close")]),
    (api.UriTooLong("no"), 414, "uri-too-long", [(b"connection", b"close")]),
    (api.PayloadTooLarge(5, unread=True), 413, "payload-too-large", [(b"connection", b"close")]),
    (api.RequestTimeout("no"), 408, "request-timeout", [(b"connection", b"close")]),
    (core.InvalidRequest(FieldError("/a", "is wrong")), 422, "invalid-request", []),
    (core.TaskNotFound("1"), 404, "not-found", []),
    (core.TaskConflict("it runs"), 409, "conflict", []),
    (core.CursorBeyondEnd(9, 3), 409, "cursor-beyond-end", []),
    (core.IdempotencyMismatch(), 422, "idempotency-key-reused", []),
    (core.UnknownIdempotencyKey(), 409, "unknown-idempotency-key", []),
    (
        core.LimitExceeded("unfinished tasks", 1000),
        429,
        "limit-exceeded",
        [
            (b"retry-after", b"5"),
            (b"ratelimit-policy", b'"unfinished-tasks";q=1000;qu="concurrent-requests"'),
            (b"ratelimit", b'"unfinished-tasks";r=0;t=5'),
        ],
    ),
    (core.Overloaded("queued tasks", 9), 503, "overloaded", [(b"retry-after", b"5")]),
    (core.Draining(), 503, "draining", [(b"retry-after", b"5")]),
    (core.StorageFull(), 507, "storage-full", [(b"retry-after", b"5")]),
    (core.StorageError("no"), 503, "storage-unavailable", [(b"retry-after", b"5")]),
    (core.StorageCorrupt("no"), 503, "storage-unavailable", [(b"retry-after", b"5")]),
    (core.StorageLocked("no"), 503, "storage-unavailable", [(b"retry-after", b"5")]),
    (ValueError("no"), 500, "internal", []),
    (core.SettingsError("no"), 500, "internal", []),
]


@pytest.mark.parametrize(
    ("error", "status", "slug", "extra"), TABLE, ids=lambda value: type(value).__name__
)
def test_every_error_has_its_answer(
    error: Exception, status: int, slug: str, extra: list[Header]
) -> None:
    found, headers, content = problem_response(error, make_scope(path="/api/tasks/1"))
    body = orjson.loads(content)
    assert (found, body["status"], body["type"]) == (status, status, f"/problems/{slug}")
    assert body["title"]
    assert body["detail"]
    assert headers == [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *extra,
    ]


def test_every_error_of_the_api_is_in_the_table() -> None:
    classes = [
        c for _, c in inspect.getmembers(api, inspect.isclass) if issubclass(c, api.ApiError)
    ]
    abstract = {api.ApiError, api.ConnectionFault}
    assert {c for c in classes if not any(a in PROBLEMS for a in c.__mro__)} == abstract


def test_errors_made_for_people_keep_their_words() -> None:
    _, _, content = problem_response(core.TaskConflict("The task runs; pause it first."))
    assert orjson.loads(content)["detail"] == "The task runs; pause it first."


def test_storage_errors_do_not_show_where_the_database_is() -> None:
    _, _, content = problem_response(core.StorageLocked("/srv/data/poststream.db is locked"))
    assert b"/srv" not in content


def test_fields_are_named_by_pointers() -> None:
    error = core.InvalidRequest(FieldError("/a/0", "is wrong"), FieldError("", "is odd"))
    _, _, content = problem_response(error)
    assert orjson.loads(content)["errors"] == [
        {"pointer": "/a/0", "detail": "is wrong"},
        {"pointer": "", "detail": "is odd"},
    ]


def test_a_bug_shows_a_reference_to_the_log_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, logger=problems.__name__):
        _, _, content = problem_response(RuntimeError("/etc/secret"), make_scope(path="/x"))
    reference = orjson.loads(content)["detail"].split()[-1].rstrip(".")
    assert b"secret" not in content
    assert b"RuntimeError" not in content
    assert reference in caplog.records[0].getMessage()
    assert caplog.records[0].exc_info is not None


def test_what_was_not_found_says_the_same_whatever_it_was() -> None:
    unknown_path = problem_response(api.NotFound(), make_scope(path="/<script>"))
    ghost = problem_response(core.TaskNotFound("1"), make_scope(path="/api/tasks/1"))
    other = problem_response(core.TaskNotFound("2"), make_scope(path="/api/tasks/2/cancel"))
    assert unknown_path == ghost == other
    assert b"script" not in unknown_path[2]


INSTANCES = {
    "/api/tasks/1": "/api/tasks/1",
    "/a b": "/a%20b",
    "/a\r\nset-cookie: x": "/a%0D%0Aset-cookie:%20x",
    "/a\x00\x1b[31m": "/a%00%1B%5B31m",
    "/<script>alert('1')</script>": "/%3Cscript%3Ealert%28%271%27%29%3C/script%3E",
    "/ü": "/%C3%BC",
    "/" + "x" * 1000: "/" + "x" * 255,
}


@pytest.mark.parametrize("path", INSTANCES)
def test_the_instance_is_a_harmless_reference(path: str) -> None:
    scope = make_scope(path=path)
    for raw_path in (scope["raw_path"], None):
        scope["raw_path"] = raw_path
        _, _, content = problem_response(core.Draining(), scope)
        assert orjson.loads(content)["instance"] == INSTANCES[path]


def test_a_text_that_json_cannot_say_is_cleaned_and_cut() -> None:
    _, _, content = problem_response(core.TaskConflict("\ud800" + "x" * 5000))
    detail = orjson.loads(content)["detail"]
    assert detail.startswith("\ufffdx")
    assert len(detail) == problems.MAX_DETAIL_CHARACTERS


def test_the_nearest_ancestor_decides() -> None:
    class Special(core.StorageFull):
        pass

    assert problem_of(Special()).slug == "storage-full"
    assert problem_of(KeyError()) is INTERNAL


async def answered(error: Exception, *pieces: bytes, disconnects: bool = False) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await send_problem(error, make_scope(), receiving(*pieces, disconnects=disconnects), send)
    return sent


async def test_a_problem_is_sent_as_one_answer() -> None:
    start, body = await answered(core.Draining())
    assert start["status"] == 503
    assert start["type"] == "http.response.start"
    assert orjson.loads(body["body"])["status"] == 503
    assert body["more_body"] is False


async def test_nobody_is_answered_who_left() -> None:
    assert await answered(api.ClientDisconnected("gone")) == []


@pytest.mark.parametrize("disconnects", [False, True])
async def test_the_rest_of_a_refused_body_is_read_after_the_answer(disconnects: bool) -> None:
    error = api.PayloadTooLarge(5, unread=True)
    _, whole, end = await answered(error, b"abc", b"def", disconnects=disconnects)
    assert orjson.loads(whole["body"])["status"] == 413
    assert (whole["more_body"], end["body"], end["more_body"]) == (True, b"", False)


async def test_an_endless_body_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "LINGER_BYTES", 10_000)
    received = 0

    async def receive() -> Message:
        nonlocal received
        received += 1
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    async def send(message: Message) -> None:
        pass

    await send_problem(api.PayloadTooLarge(5, unread=True), make_scope(), receive, send)
    assert received == 10


async def test_a_body_that_never_comes_is_not_awaited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(problems, "LINGER_SECONDS", 0.01)
    sent: list[Any] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    await send_problem(api.PayloadTooLarge(5, unread=True), make_scope(), receive, send)
    assert sent[-1]["more_body"] is False
