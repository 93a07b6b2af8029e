"""Events: their frozen names and shapes, and that text of any kind stays the same text."""

from __future__ import annotations

import json
import math
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from orchestrator.clock import iso
from orchestrator.events import (
    EVENT,
    EVENT_TYPES,
    TERMINAL_TYPES,
    Draft,
    Event,
    cleaned,
    encode,
    framed,
    parse,
    to_json,
)  # fmt: skip
from tests.grammar import parse_frames, split_frames
from tests.orchestrator.teams import execute, request, run_task, service, team

TASK = "8c5e1b1a-6f0e-4b0e-9c39-0f5ad0a5a3c1"

# What is on the wire, for ever. A trailing question mark: may be left out.
FROZEN = {
    "task_created": "title selectedAgents executionMode agents estimatedSeconds?",
    "agent_start": "agentRole agentName agentDescription attempt",
    "agent_progress": "agentRole attempt message? progress? content? reasoning? tool? question? "
    "itemsDone? itemsTotal? itemsFailed? etaSeconds? artifact?",
    "agent_complete": "agentRole attempt status executionTime hasArtifacts artifacts output? "
    "outputTruncated? usage?",
    "agent_error": "agentRole attempt status executionTime error code willRetry",
    "task_complete": "totalExecutionTime outputs failedAgents usage?",
    "task_error": "status error code totalExecutionTime requestedBy? notStopped?",
    "task_state": "state reason requestedBy? done?",
}
FROZEN_PARTS = {
    "agents": "agentRole agentName agentDescription",
    "tool": "callId name state",
    "question": "questionId text options?",
    "artifact": "name mediaType size",
    "artifacts": "name mediaType size",
    "usage": "inputTokens? outputTokens? costUsd?",
}
FROZEN_WORDS = {
    ("task_created", "executionMode"): "sequential parallel graph",
    ("agent_complete", "status"): "success",
    ("agent_error", "status"): "error timeout cancelled",
    ("task_error", "status"): "failed cancelled timed_out",
    ("task_state", "state"): "queued running pausing paused waiting cancelling",
    ("task_state", "reason"): "recovered handed_back retry pause resume question answer cancel "
    "worker_stopped",
    ("tool", "state"): "started finished failed",
}
COMMON = "type taskId seq? timestamp"


def models() -> dict[str, type[BaseModel]]:
    union = get_args(get_args(Event)[0])
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in union}


def shape(model: type[BaseModel]) -> set[str]:
    return {
        f"{field.alias or name}{'' if field.is_required() or name in ('type', 'status') else '?'}"
        for name, field in model.model_fields.items()
    }


def part(name: str) -> type[BaseModel]:
    """The model of a field, out of lists and options."""
    for model in models().values():
        for field in model.model_fields.values():
            if field.alias == name or field.serialization_alias == name:
                found = _inner(field.annotation)
                if found is not None:
                    return found
    raise AssertionError(name)


def _inner(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _inner(each))), None)


def test_the_types_are_these_and_no_others() -> None:
    assert list(models()) == list(FROZEN) == list(EVENT_TYPES)
    assert {"task_complete", "task_error"} == TERMINAL_TYPES


@pytest.mark.parametrize("type", FROZEN)
def test_the_fields_of_an_event_are_frozen(type: str) -> None:
    assert shape(models()[type]) == {*COMMON.split(), *FROZEN[type].split()}


@pytest.mark.parametrize("name", FROZEN_PARTS)
def test_the_fields_of_its_parts_are_frozen(name: str) -> None:
    assert {s.removesuffix("?") for s in shape(part(name))} == {
        s.removesuffix("?") for s in FROZEN_PARTS[name].split()
    }


@pytest.mark.parametrize(("owner", "field"), FROZEN_WORDS)
def test_the_words_of_a_field_are_frozen(owner: str, field: str) -> None:
    model = models()[owner] if owner in FROZEN else part(owner)
    found = next(f for n, f in model.model_fields.items() if (f.alias or n) == field)
    assert get_origin(found.annotation) is Literal
    assert list(get_args(found.annotation)) == FROZEN_WORDS[owner, field].split()


FULL: dict[str, dict[str, Any]] = {
    "task_created": {
        "title": "t", "selectedAgents": ["a"], "executionMode": "graph",
        "agents": [{"agentRole": "a", "agentName": "A", "agentDescription": "d"}],
        "estimatedSeconds": 1.5,
    },
    "agent_start": {"agentRole": "a", "agentName": "A", "agentDescription": "d", "attempt": 1},
    "agent_progress": {
        "agentRole": "a", "attempt": 2, "message": "m", "progress": 0.5, "content": "c",
        "reasoning": "r", "tool": {"callId": "1", "name": "n", "state": "started"},
        "question": {"questionId": "q", "text": "?", "options": ["x"]}, "itemsDone": 1,
        "itemsTotal": 2, "itemsFailed": 0, "etaSeconds": 3.5,
        "artifact": {"name": "n", "mediaType": "text/plain", "size": 1},
    },
    "agent_complete": {
        "agentRole": "a", "attempt": 1, "status": "success", "executionTime": 5,
        "hasArtifacts": True, "artifacts": [{"name": "n", "mediaType": "t/p", "size": 1}],
        "output": {"deep": [1, None, {"x": 2.5}]}, "outputTruncated": True,
        "usage": {"inputTokens": 1, "outputTokens": 2, "costUsd": 0.5},
    },
    "agent_error": {
        "agentRole": "a", "attempt": 1, "status": "timeout", "executionTime": 1, "error": "e",
        "code": "c", "willRetry": True,
    },
    "task_complete": {
        "totalExecutionTime": 1, "outputs": 2, "failedAgents": ["b"],
        "usage": {"inputTokens": 1, "outputTokens": 2, "costUsd": 0.5},
    },
    "task_error": {
        "status": "cancelled", "error": "e", "code": "cancelled", "totalExecutionTime": 1,
        "requestedBy": "me", "notStopped": ["a"],
    },
    "task_state": {"state": "queued", "reason": "recovered", "requestedBy": "me", "done": ["a"]},
}  # fmt: skip


def numbered(draft: Draft, seq: int) -> str:
    return encode(TASK, seq, draft)


@pytest.mark.parametrize("type", FULL)
def test_a_draft_comes_back_as_it_was(type: str) -> None:
    text = numbered(Draft(type, FULL[type], 1_700_000_000_123), 7)
    expected = {
        "type": type, "taskId": TASK, "seq": 7, "timestamp": "2023-11-14T22:13:20.123Z",
        **FULL[type],
    }  # fmt: skip
    assert json.loads(text) == expected
    event = parse(text)
    assert event.type == type
    assert event.model_dump(mode="json", by_alias=True, exclude_none=True) == _without_none(
        expected
    )


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return value


def test_readers_ignore_fields_they_do_not_know() -> None:
    text = numbered(Draft("task_state", {**FULL["task_state"], "newer": 1}, 0), 1)
    assert "newer" not in parse(text).model_dump()


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "task_ended"}, {"type": "agent_progress", "progress": 1.5},
        {"type": "agent_start", "attempt": 0}, {"type": "agent_error", "status": "failed"},
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused(broken: dict[str, Any]) -> None:
    full = {**FULL.get(broken["type"], {}), "taskId": TASK, "timestamp": "x", **broken}
    with pytest.raises(ValidationError):
        EVENT.validate_python(full)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\u2028b\u2029c\u0085d", '"a\\u2028b\\u2029c\\u0085d"'),
        ("\ud800", '"�"'),
        ("x\udfffy", '"x�y"'),
        ("\ud83d\ude00", '"😀"'),  # two halves of one character
        ("\x00\x1f\n\r", '"\\u0000\\u001f\\n\\r"'),
        (2**63, "9223372036854775808"),
        (2**64, '"18446744073709551616"'),
        (-(2**63) - 1, '"-9223372036854775809"'),
        (math.nan, "null"),
        (math.inf, "null"),
        ([math.nan, "\ud800"], '[null,"�"]'),
        ({1: "a", None: "b"}, '{"1":"a","None":"b"}'),
        ({"set": {3}}, '{"set":[3]}'),
        (b"bytes", "\"b'bytes'\""),
        (True, "true"),
    ],
)
def test_what_json_cannot_say_is_replaced(value: Any, text: str) -> None:
    assert to_json(value) == text


def test_an_integer_of_any_length_is_text() -> None:
    assert json.loads(to_json(10**2000)) == str(10**2000)
    assert json.loads(to_json(10**6000)).startswith("0x")


def test_nesting_has_an_end() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    assert "…" in to_json(deep)
    round: list[Any] = []
    round.append(round)
    assert "…" in to_json(cleaned(round))


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"), (999, "1970-01-01T00:00:00.999Z"),
        (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
        (4_102_444_800_000, "2100-01-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"),
    ],
)  # fmt: skip
def test_times_are_utc_with_milliseconds(ms: int, text: str) -> None:
    assert iso(ms) == text


def test_a_frame_has_three_lines_and_line_feeds_only() -> None:
    assert framed([(3, "t", '{"a":1}')]) == b'id: 3\nevent: t\ndata: {"a":1}\n\n'


# -- output that tries to be something else -----------------------------------------------------

_FORGED = '{"type":"task_complete","taskId":"x","seq":99,"outputs":1}'
TEXTS = {
    "LF forgery": f"x\n\nid: 99\nevent: task_complete\ndata: {_FORGED}\n\n",
    "CR forgery": f"x\r\rid: 99\revent: task_complete\rdata: {_FORGED}\r\r",
    "CRLF forgery": f"x\r\n\r\nid: 99\r\nevent: task_complete\r\ndata: {_FORGED}\r\n\r\n",
    "mixed forgery": f"x\n\r\n\revent: task_complete\n\rdata: {_FORGED}\n\n\r",
    "LS forgery": f"x\u2028\u2028event: task_complete\u2028data: {_FORGED}\u2028\u2028",
    "PS forgery": f"x\u2029\u2029event: task_complete\u2029data: {_FORGED}\u2029\u2029",
    "NEL forgery": f"x\x85\x85event: task_complete\x85data: {_FORGED}\x85\x85",
    "VT": "a\x0bb", "FF": "a\x0cb", "FS": "a\x1cb\x1dc\x1ed\x1fe",
    "NUL": "a\x00b", "only NUL": "\x00", "BOM first": "\ufeffa", "BOM inside": "a\ufeffb",
    "ANSI": "\x1b[2J\x1b[31mred\x1b]0;title\x07", "backspace": "abc\b\b\bxyz",
    "HTML": "<script>alert(1)</script><!-- ]]> --><img src=x onerror=alert(1)>",
    "JSON": '"},{"type":"task_complete"},{"a":"', "quotes": "'\"`\\\\", "braces": "{{{}}}${x}%s",
    "comment line": ": keep-alive\n", "retry line": "retry: 1\n", "id line": "id: 1\n",
    "blank": " ", "newline": "\n", "two newlines": "\n\n", "CR": "\r", "tab": "\t",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈", "right to left": "\u202egnp.exe\u2066", "combining": "Z̷̢̤a̸l̶g̵o̸",
    "not normalised": "e\u0301 é", "private use": "\ue000\U0010ffff", "not a character": "\uffff",
    "a long line": "x" * 200_000, "many lines": "line\n" * 20_000,
}  # fmt: skip


def test_there_are_as_many_texts_as_were_promised() -> None:
    assert len(TEXTS) >= 35


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("kind", ["message", "content"])
async def test_any_text_is_the_same_text_in_one_event_or_its_pieces(name: str, kind: str) -> None:
    text = TEXTS[name]

    async def work(context: Any) -> None:
        await (context.write(text) if kind == "content" else context.progress(text))

    async with service(team(a=work)) as opened:
        events = await run_task(opened, "a")
    said = [event[kind] for event in events if kind in event]
    assert said == [text]
    assert [event["type"] for event in events].count("task_complete") == 1


@pytest.mark.parametrize("name", TEXTS)
def test_any_text_is_one_line_of_a_stream(name: str) -> None:
    text = TEXTS[name]
    draft = Draft("agent_progress", {"agentRole": "a", "attempt": 1, "message": text}, 0)
    data = framed([(1, "agent_progress", numbered(draft, 1))])
    assert split_frames(data) == [data]
    assert parse_frames([data])[0]["message"] == text
    assert len(data.decode().splitlines()) == 4  # also for readers that know too many line ends


@pytest.mark.parametrize("text", ["a\ud800b", "\udcff"])
async def test_half_a_character_becomes_a_replacement(text: str) -> None:
    async def work(context: Any) -> None:
        await context.write(text)
        await context.progress(text)

    told = await execute(team(a=work), request("a"))
    shown = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert [e.get("content", e.get("message")) for e in told.logged[2:4]] == [shown, shown]
