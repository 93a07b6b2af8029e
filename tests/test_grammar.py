"""The grammar check itself: it must object to every kind of broken log."""

from __future__ import annotations

from typing import Any

import pytest

from tests.grammar import check_log, check_prefix, parse_frames, split_frames

CREATED = {"type": "task_created", "selectedAgents": ["a", "b"]}
COMPLETE = {"type": "task_complete", "outputs": 1}
ERROR = {"type": "task_error"}


def start(role: str = "a", attempt: int = 1) -> dict[str, Any]:
    return {"type": "agent_start", "agentRole": role, "attempt": attempt}


def said(role: str = "a", attempt: int = 1) -> dict[str, Any]:
    return {"type": "agent_progress", "agentRole": role, "attempt": attempt, "message": "m"}


def done(role: str = "a", attempt: int = 1) -> dict[str, Any]:
    return {"type": "agent_complete", "agentRole": role, "attempt": attempt}


def failed(role: str = "a", attempt: int = 1, *, again: bool) -> dict[str, Any]:
    return {"type": "agent_error", "agentRole": role, "attempt": attempt, "willRetry": again}


def state(reason: str, *delivered: str, status: str = "queued") -> dict[str, Any]:
    return {"type": "task_state", "state": status, "reason": reason, "done": list(delivered)}


PAUSING = state("pause", status="pausing")
PAUSED = state("pause", status="paused")


def log(*events: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"taskId": "t", "seq": seq, **event} for seq, event in enumerate(events, start=1)]


@pytest.mark.parametrize(
    "events",
    [
        log(CREATED, start(), said(), done(), COMPLETE),
        log(CREATED, start(), start("b"), said("b"), done(), failed("b", again=False), COMPLETE),
        log(CREATED, start(), failed(again=True), start(attempt=2), done(attempt=2), COMPLETE),
        log(CREATED, start(), failed(again=True), state("recovered"), start(attempt=2),
            done(attempt=2), COMPLETE),
        log(CREATED, ERROR, state("retry"), start(), done(), COMPLETE),
        log(CREATED, start(), failed(again=False), ERROR, state("retry"), start(attempt=2),
            done(attempt=2), COMPLETE),
        log(CREATED, start(), PAUSING, failed(again=True), PAUSED, state("resume"),
            start(attempt=2), done(attempt=2), COMPLETE),
        log(CREATED, start(), PAUSING, state("resume", status="running"), done(), COMPLETE),
        log(CREATED, PAUSED, ERROR),
    ],
)  # fmt: skip
def test_a_good_log_passes(events: list[dict[str, Any]]) -> None:
    check_log(events)


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], "empty"),
        (log(start()), "begins with"),
        (log(CREATED, CREATED), "at the beginning only"),
        (log(CREATED), "no end"),
        (log(CREATED, start(), done()), "no end"),
        (log(CREATED, {**ERROR, "seq": 3}), "number 3 stands where 2"),
        (log(CREATED, {**ERROR, "seq": 1}), "number 1 stands where 2"),
        (log(CREATED, {**ERROR, "taskId": "u"}), "another task"),
        (log(CREATED, start("c")), "not selected"),
        (log(CREATED, said()), "no attempt"),
        (log(CREATED, start(), done(), said()), "no attempt"),
        (log(CREATED, start(), said(attempt=2)), "no attempt"),
        (log(CREATED, start(), done(), done()), "no attempt"),
        (log(CREATED, start(), done(), failed(again=False)), "no attempt"),
        (log(CREATED, start(), start(attempt=2)), "no end"),
        (log(CREATED, start(attempt=2)), "numbered"),
        (log(CREATED, start(), failed(again=True), start()), "numbered"),
        (log(CREATED, start(), done(), start(attempt=2)), "finished agent"),
        (log(CREATED, start(), failed(again=False), start(attempt=2)), "not to be tried"),
        (log(CREATED, start(), ERROR), "attempts are open"),
        (log(CREATED, start(), state("recovered")), "attempts are open"),
        (log(CREATED, start(), done(), state("handed_back")), "done names"),
        (log(CREATED, start(), done(), COMPLETE, ERROR), "only a retry"),
        (log(CREATED, start(), done(), COMPLETE, COMPLETE), "only a retry"),
        (log(CREATED, start(), failed(again=False), COMPLETE), "outputs counts"),
        (log(CREATED, state("retry")), "follows a terminal"),
        (log(CREATED, start(), PAUSING, PAUSED), "attempts are open"),
        (log(CREATED, start(), done(), PAUSING, PAUSED), "done names"),
        (log(CREATED, PAUSED, start()), "a paused task is resumed or ended"),
    ],
)
def test_a_broken_log_is_named(events: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_log(events)


def frame(seq: int, text: str = "") -> bytes:
    return f'id: {seq}\nevent: x\ndata: {{"type":"x","seq":{seq},"t":"{text}"}}\n\n'.encode()


def test_frames_are_found_between_what_belongs_to_one_answer() -> None:
    stream = b": keep-alive\nretry: 3000\n" + frame(1) + b": keep-alive\n" + frame(2)
    stream += b'event: complete\ndata: {"taskId":"t"}\n\n' + frame(3)[:-1]
    assert split_frames(stream) == [frame(1), frame(2)]
    assert [event["seq"] for event in parse_frames(split_frames(stream))] == [1, 2]


@pytest.mark.parametrize("seen", [[], [frame(1)], [frame(1), frame(2)], [frame(2), frame(3)]])
def test_a_part_of_the_log_is_a_prefix_from_where_it_began(seen: list[bytes]) -> None:
    check_prefix(seen, [frame(1), frame(2), frame(3)])


@pytest.mark.parametrize(
    "seen",
    [[frame(2), frame(1)], [frame(1), frame(1)], [frame(1), frame(3)], [frame(1, "other")],
     [frame(3), frame(4)], [frame(4)]],
)  # fmt: skip
def test_what_is_not_in_the_log_is_noticed(seen: list[bytes]) -> None:
    with pytest.raises(AssertionError):
        check_prefix(seen, [frame(1), frame(2), frame(3)])
