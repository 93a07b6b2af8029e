"""The server log: what a line holds, what it never holds, and the line of a request."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from api.logs import RequestLog, configure_logging, hide
from orchestrator.activity import ActivityLog, divert

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl-_x"
log = logging.getLogger("orchestrator.somewhere")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    yield from _logging_to(io.StringIO(), monkeypatch)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    yield from _logging_to(Terminal(), monkeypatch)


def _logging_to(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    monkeypatch.setattr("sys.stderr", stream)
    configure_logging()
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
    divert(None)


def parsed(stream: io.StringIO) -> list[dict[str, Any]]:
    for handler in logging.getLogger().handlers:
        handler.flush()  # lines of a moment are written together
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_context(lines: io.StringIO) -> None:
    log.info("task %s", "ended", extra={"task_id": "t1", "attempt": 2, "duration_ms": 1.5})
    (line,) = parsed(lines)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "message": "task ended",
        "logger": "orchestrator.somewhere",
        "task_id": "t1",
        "attempt": 2,
        "duration_ms": 1.5,
    }


async def test_a_line_that_cannot_be_written_takes_no_other_with_it(lines: io.StringIO) -> None:
    (ours,) = [handler for handler in logging.getLogger().handlers if hasattr(handler, "note")]
    log.info("before")
    # To this handler alone: that of the tests raises.
    facts = {"name": "a.b", "levelno": 20, "levelname": "INFO", "msg": "%d", "args": (TOKEN,)}
    ours.handle(logging.makeLogRecord(facts))
    log.info("after")
    before, bad, after = parsed(lines)
    assert (before["message"], after["message"]) == ("before", "after")
    assert bad["message"] == "a line could not be written (TypeError)"
    assert (bad["logger"], bad["level"]) == ("a.b", "info")
    assert TOKEN not in lines.getvalue()


async def test_a_line_of_a_task_that_cannot_be_written_takes_no_other_with_it(
    lines: io.StringIO,
) -> None:
    class Wordless:
        def __str__(self) -> str:
            raise ValueError(TOKEN)

    activity = ActivityLog("a.b").line
    log.info("before")
    activity("task started", {"task_id": "t1"})
    activity("task ended", {"task_id": "t1", "status": Wordless()})
    log.info("after")
    before, started, bad, after = parsed(lines)
    said = [line["message"] for line in (before, started, after)]
    assert said == ["before", "task started", "after"]
    assert bad["message"] == "a line could not be written (ValueError)"
    assert (bad["logger"], bad["level"]) == ("a.b", "info")
    assert TOKEN not in lines.getvalue()


def test_lines_of_tasks_look_like_all_others_and_keep_their_order(lines: io.StringIO) -> None:
    activity = ActivityLog("orchestrator.somewhere").line
    activity("task started", {"task_id": "t1", "attempt": 2, "agents": ["a"], "code": None})
    log.info("between")
    activity("task ended", {"task_id": "t1", "status": "completed"})
    first, between, last = parsed(lines)
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "level": "info",
        "message": "task started",
        "logger": "orchestrator.somewhere",
        "task_id": "t1",
        "attempt": 2,
        "agents": ["a"],
        "code": None,
    }
    assert (between["message"], last["message"]) == ("between", "task ended")


@pytest.mark.parametrize(
    "path", [f"/api/{TOKEN}", 'x"y\\z', "two\nlines", "\u2028\ud800", f'bearer {TOKEN}"}}']
)
def test_lines_of_tasks_hide_tokens_and_stay_one_line_of_json(
    lines: io.StringIO, path: str
) -> None:
    ActivityLog("a.b").line("request", {"path": path})
    (line,) = parsed(lines)
    assert TOKEN not in line["path"]
    assert "\u2028" not in lines.getvalue()


def test_without_a_server_lines_of_tasks_are_records(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ActivityLog("a.b").line("task started", {"task_id": "t1"})
    (record,) = caplog.records
    assert (record.name, record.message, record.__dict__["task_id"]) == (
        "a.b",
        "task started",
        "t1",
    )


def test_a_terminal_gets_readable_lines(terminal: io.StringIO) -> None:
    log.warning("agent left behind", extra={"agent": "lint"})
    text = terminal.getvalue()
    assert "agent left behind" in text
    assert "lint" in text
    assert not text.startswith("{")


def test_the_form_can_be_chosen(monkeypatch: pytest.MonkeyPatch, terminal: io.StringIO) -> None:
    monkeypatch.setattr("sys.stderr", terminal)
    configure_logging(json=True)
    log.info("once")
    assert parsed(terminal)[0]["message"] == "once"  # and only once: the first handler is gone


@pytest.mark.parametrize(
    "key",
    [
        "authorization",
        "Authorization",
        "token",
        "access_token",
        "ticket",
        "prompt",
        "description",
        "inputs",
        "output",
        "content",
        "jwt_secret",
        "api_key",
        "set-cookie",
    ],
)
def test_suspicious_keys_are_blanked(lines: io.StringIO, key: str) -> None:
    log.info("x", extra={key: "geheim", "nested": {key: ["geheim"]}})
    assert "geheim" not in lines.getvalue()
    assert parsed(lines)[0][key] == "[hidden]"


def test_ordinary_keys_stay(lines: io.StringIO) -> None:
    log.info("x", extra={"output_tokens": 7, "content_type": "text/plain", "agent": "lint"})
    line = parsed(lines)[0]
    assert (line["output_tokens"], line["content_type"], line["agent"]) == (7, "text/plain", "lint")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"bad token {TOKEN}.", "bad token [token]"),
        (f"Authorization: Bearer {TOKEN}", "Authorization: Bearer [token]"),
        ("Authorization: bearer abc", "Authorization: bearer [token]"),
        ("GET /x?ticket=abc-1&y=2", "GET /x?ticket=[token]&y=2"),
        (f"{TOKEN}, {TOKEN}", "[token], [token]"),
        ("eyJhbGciOiJub25lIn0.e30.", "[token]"),
        ("eyes are not tokens", "eyes are not tokens"),
    ],
)
def test_what_looks_like_a_token_is_replaced(text: str, shown: str) -> None:
    assert hide(text).removesuffix(".") == shown.removesuffix(".")


def test_tokens_are_replaced_wherever_they_stand(lines: io.StringIO) -> None:
    try:
        raise ValueError(f"cannot read {TOKEN}")
    except ValueError:
        log.exception("with %s", TOKEN, extra={"url": TOKEN, "list": [{"a": TOKEN}], "o": {TOKEN}})
    assert "eyJ" not in lines.getvalue()
    assert "ValueError: cannot read [token]" in parsed(lines)[0]["exception"]


def test_nobody_forges_a_line(lines: io.StringIO) -> None:
    log.info("a\n{}\x1b[2J", extra={"path": "/x\r\n", "surrogate": "\ud800", "huge": 10**30})
    assert len(lines.getvalue().splitlines()) == 1
    assert parsed(lines)[0]["path"] == "/x\r\n"


def test_nobody_forges_a_line_on_a_terminal(terminal: io.StringIO) -> None:
    log.info("a\nb", extra={"path": "/x\x1b[2J\n"})
    assert len(terminal.getvalue().splitlines()) == 1
    assert "\x1b[2J" not in terminal.getvalue()


def test_a_traceback_is_readable_on_a_terminal(terminal: io.StringIO) -> None:
    try:
        raise ValueError(TOKEN)
    except ValueError:
        log.exception("oops")
    assert "Traceback (most recent call last)" in terminal.getvalue()
    assert "eyJ" not in terminal.getvalue()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/fails":
        raise ValueError("no")
    if scope["path"] == "/left":
        return
    await send({"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b"12", "more_body": True})
    await send({"type": "http.response.body", "body": scope["state"]["request_id"].encode()})


async def get(path: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(RequestLog(app), client=("10.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path, headers=headers)


async def test_a_request_is_one_line(lines: io.StringIO) -> None:
    response = await get("/tasks?ticket=geheim", **{"X-Request-Id": "abc-1"})
    assert response.headers["x-request-id"] == "abc-1"
    assert response.headers["a"] == "b"
    assert response.text == "12abc-1"
    (line,) = parsed(lines)
    assert line.pop("duration_ms") >= 0
    del line["timestamp"]
    assert line == {
        "level": "info",
        "message": "request",
        "logger": "api.logs",
        "request_id": "abc-1",
        "method": "GET",
        "path": "/tasks",
        "status": 201,
        "bytes": 7,
        "client": "10.0.0.1",
    }


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>", "a\tb"])
async def test_an_odd_request_id_is_replaced(given: str) -> None:
    response = await get("/", **{"X-Request-Id": given})
    assert len(response.headers["x-request-id"]) == 16
    assert response.text == "12" + response.headers["x-request-id"]


async def test_request_ids_differ() -> None:
    assert (await get("/")).headers["x-request-id"] != (await get("/")).headers["x-request-id"]


async def test_a_failure_is_an_error_line(lines: io.StringIO) -> None:
    with pytest.raises(ValueError, match="no"):
        await get("/fails")
    assert [(x["level"], x["status"]) for x in parsed(lines)] == [("error", 500)]


async def test_lines_of_a_moment_are_written_together_and_a_warning_at_once(
    lines: io.StringIO,
) -> None:
    logger = logging.getLogger("a")
    logger.info("one")
    logger.info("two")
    assert lines.getvalue() == ""
    logger.warning("three")
    assert [json.loads(line)["message"] for line in lines.getvalue().splitlines()] == [
        "one", "two", "three",
    ]  # fmt: skip
    logger.info("four")
    async with asyncio.timeout(5):
        while "four" not in lines.getvalue():  # noqa: ASYNC110 - a timer writes it
            await asyncio.sleep(0)


async def test_a_client_that_left_has_no_status(lines: io.StringIO) -> None:
    scope: Scope = {"type": "http", "method": "GET", "path": "/left", "headers": [], "client": None}
    await RequestLog(app)(scope, _never, _ignore)
    assert parsed(lines)[0]["status"] is None


async def test_other_scopes_pass() -> None:
    seen = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    scope = {"type": "lifespan"}
    await RequestLog(inner)(scope, _never, _ignore)
    assert seen == [{"type": "lifespan"}]


async def test_the_middleware_is_cheap_when_nobody_listens() -> None:
    logging.getLogger("api.logs").setLevel(logging.CRITICAL)
    try:
        best = min([await _microseconds(1_000) for _ in range(3)])
    finally:
        logging.getLogger("api.logs").setLevel(logging.NOTSET)
    assert best < 50  # measured: 2 to 5


async def _microseconds(count: int) -> float:
    wrapped = RequestLog(app)
    started = time.perf_counter()
    for _ in range(count):
        scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": None}
        await wrapped(scope, _never, _ignore)
    return (time.perf_counter() - started) / count * 1e6


async def _never() -> Message:
    raise AssertionError("nobody asked for the body")


async def _ignore(message: Message) -> None:
    pass
