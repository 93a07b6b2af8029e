"""What can be asked for, and the states of a task."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.tasks import (
    END_STATES,
    EVENT_TO_AGENT_STATUS,
    MOVES,
    OWNED_STATES,
    AgentStatus,
    TaskRequest,
    TaskStatus,
    body_hash,
    rounded_ms,
)  # fmt: skip

ALLOWED = {
    "queued": "running paused cancelled",
    "running": "completed failed timed_out pausing waiting cancelling queued",
    "pausing": "running paused completed failed timed_out cancelling",
    "paused": "queued cancelled",
    "waiting": "running queued paused cancelled",
    "cancelling": "cancelled",
    "completed": "queued",
    "failed": "queued",
    "timed_out": "queued",
    "cancelled": "queued",
}


def test_every_move_is_one_of_these() -> None:
    assert {s.value: set(moves) for s, moves in MOVES.items()} == {
        name: set(moves.split()) for name, moves in ALLOWED.items()
    }
    assert {s.value for s in END_STATES} == {"completed", "failed", "timed_out", "cancelled"}
    assert {s.value for s in OWNED_STATES} == {"running", "pausing", "cancelling"}


def test_agents_have_these_states() -> None:
    words = "pending running waiting completed error cancelled skipped"
    assert [s.value for s in AgentStatus] == words.split()
    assert {k: v.value for k, v in EVENT_TO_AGENT_STATUS.items()} == {
        "success": "completed", "error": "error", "timeout": "error", "cancelled": "cancelled",
    }  # fmt: skip


def ask(**fields: Any) -> TaskRequest:
    return TaskRequest.model_validate({"description": "d", "selectedAgents": ["a", "b"], **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"title": "t"}, {"executionMode": "parallel"}, {"inputs": {"any": [1, None]}},
        {"onAgentError": "continue"}, {"timeoutSeconds": 0.5}, {"timeoutSeconds": 31_536_000},
        {"maxParallel": 50}, {"priority": -10}, {"priority": 10}, {"onRestart": "fail"},
        {"executionMode": "graph", "dependsOn": {"b": ["a"]}},
        {"executionMode": "graph", "dependsOn": {}}, {"executionMode": "graph"},
        {"after": ["x"]}, {"budget": {"tokens": 1}}, {"budget": {"costUsd": 0.1, "seconds": 1}},
        {"metadata": {f"k{n}": "v" * 512 for n in range(16)}}, {"metadata": {}},
        {"jobType": "scheduled"}, {"triggerSource": "x"}, {"selectedAgents": ["A-1.b_c"]},
        {"selectedAgents": [f"a{n}" for n in range(50)]},
        {"title": None, "inputs": None, "budget": None, "after": None, "dependsOn": None},
    ],
)  # fmt: skip
def test_a_good_request_is_taken(fields: dict[str, Any]) -> None:
    task = ask(**fields)
    assert TaskRequest.model_validate_json(task.to_json()) == task


@pytest.mark.parametrize(
    "fields",
    [
        {"description": ""}, {"description": None}, {"description": 5}, {"description": "a\x00"},
        {"description": "\ud800"}, {"title": ""}, {"title": "a\x00"}, {"selectedAgents": []},
        {"selectedAgents": ["a", "a"]}, {"selectedAgents": "a"}, {"selectedAgents": [""]},
        {"selectedAgents": ["-a"]}, {"selectedAgents": ["a/b"]}, {"selectedAgents": ["a" * 65]},
        {"selectedAgents": ["a\n"]}, {"selectedAgents": [f"a{n}" for n in range(51)]},
        {"executionMode": "PARALLEL"}, {"inputs": []}, {"onAgentError": "retry"},
        {"timeoutSeconds": 0}, {"timeoutSeconds": -1}, {"timeoutSeconds": float("nan")},
        {"timeoutSeconds": float("inf")}, {"timeoutSeconds": "5"}, {"timeoutSeconds": True},
        {"timeoutSeconds": 31_536_001}, {"maxParallel": 0}, {"maxParallel": 51},
        {"maxParallel": 1.5}, {"priority": 11}, {"priority": -11}, {"priority": True},
        {"onRestart": "again"}, {"dependsOn": {"b": ["a"]}},
        {"executionMode": "graph", "dependsOn": {"b": ["c"]}},
        {"executionMode": "graph", "dependsOn": {"c": ["a"]}},
        {"executionMode": "graph", "dependsOn": {"a": ["b"], "b": ["a"]}},
        {"executionMode": "graph", "dependsOn": {"a": ["a"]}}, {"after": "x"},
        {"after": ["x"] * 101}, {"budget": {"tokens": 0}}, {"budget": {"euros": 1}},
        {"budget": {"seconds": float("inf")}}, {"metadata": {"k": 1}},
        {"metadata": {"k": "v" * 513}}, {"metadata": {f"k{n}": "v" for n in range(17)}},
        {"metadata": {"": "v"}}, {"metadata": {"k" * 65: "v"}}, {"jobType": "cron"},
        {"triggerSource": "x" * 101}, {"owner": "me"}, {"selected_agent": ["a"]},
        {"provider": 5},
    ],
)  # fmt: skip
def test_a_request_that_can_never_be_executed_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ask(**fields)


@pytest.mark.parametrize(
    ("fields", "mode", "stops"),
    [
        ({}, "sequential", True), ({"executionMode": "parallel"}, "parallel", False),
        ({"executionMode": "graph"}, "graph", True),
        ({"executionMode": "parallel", "onAgentError": "stop"}, "parallel", True),
        ({"onAgentError": "continue"}, "sequential", False),
    ],
)  # fmt: skip
def test_what_is_not_said_has_a_meaning(fields: dict[str, Any], mode: str, stops: bool) -> None:
    task = ask(**fields)
    assert (task.mode, task.plan.stops_on_error) == (mode, stops)


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"title": "The title", "description": "other"}, "The title"),
        ({"description": "one line"}, "one line"),
        ({"description": "\n  first \nsecond"}, "first"),
        ({"description": "x" * 100}, "x" * 80),
        ({"description": "a\u2028b"}, "a"),
        ({"description": "   "}, "   "),
    ],
)
def test_a_task_without_a_title_is_called_by_its_first_line(
    fields: dict[str, Any], title: str
) -> None:
    assert ask(**fields).shown_title == title


def test_the_same_body_in_another_order_is_the_same_request() -> None:
    one = {"description": "d", "inputs": {"a": 1, "b": [1, 2]}}
    assert body_hash(one) == body_hash({"inputs": {"b": [1, 2], "a": 1}, "description": "d"})
    for other in (
        {**one, "title": None}, {**one, "inputs": {"a": 1, "b": [2, 1]}},
        {**one, "description": "D"}, {},
    ):  # fmt: skip
        assert body_hash(one) != body_hash(other)
    assert len(body_hash(one)) == 64


@pytest.mark.parametrize(
    ("seconds", "ms"), [(0, 0), (-1, 0), (0.0004, 0), (0.0005, 1), (1.5, 1500)]
)
def test_times_are_whole_milliseconds(seconds: float, ms: int) -> None:
    assert rounded_ms(seconds) == ms


def test_every_status_has_its_moves() -> None:
    assert set(MOVES) == set(TaskStatus)


@pytest.mark.parametrize("deep", [False, True])
def test_a_changed_copy_has_a_plan_and_a_title_of_its_own(deep: bool) -> None:
    request = TaskRequest(description="first", selected_agents=["a"])
    assert request.plan.roles == ("a",)
    assert request.shown_title == "first"
    changes = {"selected_agents": ["b", "c"], "description": "second"}
    copied = request.model_copy(update=changes, deep=deep)
    assert copied.plan.roles == ("b", "c")
    assert copied.shown_title == "second"
