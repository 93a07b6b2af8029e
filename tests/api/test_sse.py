"""The lines of a stream that belong to one answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api import sse
from orchestrator.events import framed, to_json

COMPLETE = {"type": "task_complete", "taskId": "t-1", "seq": 3, "outputs": 1, "failedAgents": []}
FAILED = {"type": "task_error", "taskId": "t-1", "seq": 3, "error": "it broke", "code": "timeout"}


def frames_of(*events: dict[str, Any]) -> bytes:
    return framed((e["seq"], e["type"], to_json(e)) for e in events)


def test_an_answer_begins_without_a_blank_line() -> None:
    assert sse.BEGIN == b": keep-alive\nretry: 3000\n"


def test_a_keepalive_is_one_comment_and_one_line_end() -> None:
    assert sse.KEEPALIVE == b": keep-alive\n"


def test_a_drain_asks_readers_to_come_back_soon() -> None:
    assert sse.DRAIN == b"retry: 1000\n"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (COMPLETE, b'event: complete\ndata: {"taskId":"t-1"}\n\n'),
        (FAILED, b'event: error\ndata: {"taskId":"t-1","error":"it broke"}\n\n'),
    ],
)
def test_the_end_frame_follows_from_the_last_event(event: dict[str, Any], expected: bytes) -> None:
    progress = {"type": "agent_progress", "seq": 2, "message": "event: error\n\ndata: {}"}
    assert sse.end_frame("t-1", frames_of(event)) == expected
    assert sse.end_frame("t-1", frames_of(progress, event)) == expected


@pytest.mark.parametrize(
    "error",
    [
        "two\nlines", "cr\rlf\r\n", "\u2028\u2029\u0085", 'quotes " and \\', "\n\nevent: x\n",
        "\x00", "\ud800",
    ],
)  # fmt: skip
def test_no_text_of_an_agent_breaks_out_of_the_end_frame(error: str) -> None:
    end = sse.end_frame("t-1", frames_of({**FAILED, "error": error}))
    event, data, *rest = end.decode().split("\n")
    assert event == "event: error"
    assert rest == ["", ""]
    assert data.splitlines() == [data]
    said = json.loads(data.removeprefix("data: "))["error"]
    assert said == error.encode("utf-8", "replace").decode().replace("?", "\ufffd")


def test_only_a_terminal_event_at_the_end_is_kept() -> None:
    progress = {"type": "agent_progress", "seq": 2, "message": "event: task_error"}
    assert sse.terminal_frame(frames_of(COMPLETE)) == frames_of(COMPLETE)
    assert sse.terminal_frame(frames_of(progress, FAILED)) == frames_of(FAILED)
    assert sse.terminal_frame(frames_of(progress)) == b""
    assert sse.terminal_frame(frames_of(FAILED, progress)) == b""


def test_streams_are_neither_cached_nor_buffered_nor_sniffed() -> None:
    assert dict(sse.HEADERS) == {
        b"content-type": b"text/event-stream; charset=utf-8",
        b"cache-control": b"no-cache, no-transform",
        b"x-accel-buffering": b"no",
        b"connection": b"keep-alive",
        b"x-content-type-options": b"nosniff",
    }
