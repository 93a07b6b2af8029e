from __future__ import annotations

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from api.cors import CorsPolicy
from api.errors import Unauthorized
from api.problems import send_problem
from orchestrator.errors import SettingsError
from tests.api.asgi import HOST, Answer, Header, answering, call, make_scope

ORIGIN = "https://app.example"
EXPOSED = {
    "x-task-id", "location", "idempotency-replayed", "retry-after", "ratelimit", "ratelimit-policy",
}  # fmt: skip
ALLOWED = {"authorization", "content-type", "idempotency-key", "last-event-id", "prefer"}


def words(answer: Answer, name: bytes) -> set[str]:
    return {word.strip().lower() for word in b",".join(answer.values(name)).decode().split(",")}


async def ask(app: ASGIApp, origin: str | None, method: str = "GET", *more: Header) -> Answer:
    sent = [] if origin is None else [(b"origin", origin.encode())]
    return await call(app, make_scope(method, headers=[HOST, *sent, *more]))


def preflight(method: str = "POST") -> Header:
    return (b"access-control-request-method", method.encode())


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    await send_problem(Unauthorized("no"), scope, receive, send)


@pytest.mark.parametrize("app", [answering(), answering(409), failing], ids=["ok", "409", "401"])
async def test_every_answer_to_a_listed_origin_can_be_read(app: ASGIApp) -> None:
    answer = await ask(CorsPolicy(app, origins=[ORIGIN]), ORIGIN)
    plain = await ask(app, ORIGIN)
    assert (answer.status, answer.body) == (plain.status, plain.body)
    assert answer.headers[: len(plain.headers)] == plain.headers
    assert answer.values(b"access-control-allow-origin") == [ORIGIN.encode()]
    assert words(answer, b"access-control-expose-headers") == EXPOSED
    assert words(answer, b"vary") == {"origin"}
    assert answer.values(b"access-control-allow-credentials") == []


async def test_a_preflight_is_answered_without_asking_the_application() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("it was asked")

    answer = await ask(CorsPolicy(app, origins=[ORIGIN]), ORIGIN, "OPTIONS", preflight())
    assert (answer.status, answer.body) == (204, b"")
    assert answer.values(b"access-control-allow-origin") == [ORIGIN.encode()]
    assert words(answer, b"access-control-allow-headers") == ALLOWED
    assert words(answer, b"access-control-allow-methods") == {
        "get", "head", "post", "put", "delete",
    }  # fmt: skip
    assert "origin" in words(answer, b"vary")


FOREIGN = {
    "none": None,
    "null": "null",
    "empty": "",
    "star": "*",
    "other host": "https://evil.example",
    "suffix": "https://app.example.evil.example",
    "prefix": "https://evilapp.example",
    "subdomain": "https://x.app.example",
    "other scheme": "http://app.example",
    "other port": "https://app.example:8443",
    "default port, which browsers leave out": "https://app.example:443",
    "slash": "https://app.example/",
    "path": "https://app.example/x",
    "user": "https://app.example@evil.example",
    "capitals": "https://APP.example",
    "blank": "https://app.example https://evil.example",
    "line end": "https://app.example\r\nx: y",
    "NUL": "https://app.example\x00",
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_no_other_origin_can_read_anything(name: str, method: str) -> None:
    app = CorsPolicy(answering(405), origins=[ORIGIN, "https://other.example"])
    answer = await ask(app, FOREIGN[name], method, preflight())
    assert answer.status == 405
    assert [field for field, _ in answer.headers if field.startswith(b"access-control")] == []
    assert words(answer, b"vary") == {"origin"}


async def test_two_origins_are_none() -> None:
    app = CorsPolicy(answering(), origins=[ORIGIN])
    answer = await ask(app, ORIGIN, "GET", (b"origin", ORIGIN.encode()))
    assert answer.values(b"access-control-allow-origin") == []


async def test_options_without_a_question_is_an_ordinary_request() -> None:
    answer = await ask(CorsPolicy(answering(405), origins=[ORIGIN]), ORIGIN, "OPTIONS")
    assert answer.status == 405


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_an_empty_list_changes_nothing(method: str) -> None:
    app = CorsPolicy(answering(), origins=[])
    assert await ask(app, ORIGIN, method, preflight()) == await ask(answering(), ORIGIN, method)


@pytest.mark.parametrize(
    ("configured", "sent"),
    [
        ("https://app.example:443", "https://app.example"),
        ("http://app.example:80/", "http://app.example"),
        ("HTTPS://App.Example", "https://app.example"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://[::1]:5173", "http://[::1]:5173"),
        ("http://app.example:443", "http://app.example:443"),
    ],
)
async def test_an_origin_may_be_written_as_people_do(configured: str, sent: str) -> None:
    answer = await ask(CorsPolicy(answering(), origins=[configured]), sent)
    assert answer.values(b"access-control-allow-origin") == [sent.encode()]


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "", "app.example", "https://*.example", "https://a.example/x", "ftp://a.example",
     "https://a.example:x", "https://a@b.example", "https://"],
)  # fmt: skip
def test_what_is_no_origin_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(SettingsError, match="CORS_ORIGINS"):
        CorsPolicy(answering(), origins=[origin])


async def test_other_protocols_pass_through() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    scope: Scope = {"type": "lifespan"}
    await CorsPolicy(app, origins=[ORIGIN])(scope, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]
