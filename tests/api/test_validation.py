from __future__ import annotations

import time
from typing import Any

import pytest

from api.bodies import parse_task_request
from api.validation import MAX_ERRORS, json_pointer
from orchestrator.errors import InvalidRequest

MINIMAL: dict[str, Any] = {"description": "Review it.", "selectedAgents": ["writer"]}
ROLE = "must be 1 to 64 letters, digits, '_', '.' or '-', beginning with a letter or digit"

ACCEPTED: dict[str, dict[str, Any]] = {
    "nothing more": {},
    "nulls": dict.fromkeys(
        [
            "title", "executionMode", "provider", "inputs", "onAgentError", "timeoutSeconds",
            "maxParallel", "priority", "onRestart", "dependsOn", "after", "budget", "metadata",
            "jobType", "triggerSource",
        ]
    ),
    "nulls inside": {"budget": {"tokens": None, "seconds": 1}},
    "unknown null": {"later": None},
    "NUL in inputs": {"inputs": {"a": "\x00", "b": [None, {"c": 1.5}]}},
    "whole number as float": {"timeoutSeconds": 5},
    "longest description": {"description": "x" * 200_000},
    "fifty agents": {"selectedAgents": [f"a{i}" for i in range(50)]},
    "graph": {
        "selectedAgents": ["a", "b"],
        "executionMode": "graph",
        "dependsOn": {"b": ["a"]},
    },
}  # fmt: skip

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"description": None}, "/description", "is required"),
    ({"selectedAgents": None}, "/selectedAgents", "is required"),
    ({"description": ""}, "/description", "must not be empty"),
    ({"description": 5}, "/description", "must be a string"),
    ({"description": ["x"]}, "/description", "must be a string"),
    ({"description": "a\x00b"}, "/description", "must not contain NUL characters"),
    ({"description": "x" * 200_001}, "/description", "must have at most 200000 characters"),
    ({"title": ""}, "/title", "must not be empty"),
    ({"title": "x" * 201}, "/title", "must have at most 200 characters"),
    ({"title": "a\x00b"}, "/title", "must not contain NUL characters"),
    ({"selectedAgents": []}, "/selectedAgents", "must have at least 1 entries"),
    ({"selectedAgents": ["a"] * 10_000}, "/selectedAgents", "must have at most 50 entries"),
    (
        {"selectedAgents": ["a", "b", "a"]},
        "/selectedAgents",
        "selectedAgents must not name an agent twice",
    ),
    ({"selectedAgents": "writer"}, "/selectedAgents", "must be an array"),
    ({"selectedAgents": {"a": 1}}, "/selectedAgents", "must be an array"),
    ({"selectedAgents": ["a", 1]}, "/selectedAgents/1", "must be a string"),
    ({"selectedAgents": [None]}, "/selectedAgents/0", "must be a string"),
    ({"selectedAgents": ["../etc"]}, "/selectedAgents/0", ROLE),
    ({"selectedAgents": ["a\n"]}, "/selectedAgents/0", ROLE),
    ({"selectedAgents": [""]}, "/selectedAgents/0", ROLE),
    ({"selectedAgents": ["-rf"]}, "/selectedAgents/0", ROLE),
    (
        {"executionMode": "sideways"},
        "/executionMode",
        "must be 'sequential', 'parallel' or 'graph'",
    ),
    ({"executionMode": ["graph"]}, "/executionMode", "must be 'sequential', 'parallel' or 'graph'"),
    ({"provider": {"baseUrl": "http://169.254.169.254"}}, "/provider", "must be a string"),
    ({"baseUrl": "http://169.254.169.254"}, "/baseUrl", "is not a field that exists"),
    ({"webhook": "http://localhost"}, "/webhook", "is not a field that exists"),
    ({"owner": "root"}, "/owner", "is not a field that exists"),
    ({"taskId": "1"}, "/taskId", "is not a field that exists"),
    ({"status": "completed"}, "/status", "is not a field that exists"),
    ({"isAdmin": True}, "/isAdmin", "is not a field that exists"),
    ({"__proto__": {"admin": True}}, "/__proto__", "is not a field that exists"),
    ({"constructor": {}}, "/constructor", "is not a field that exists"),
    ({"selected_agents": ["a"]}, "/selected_agents", "is not a field that exists"),
    ({"a/b~c": 1}, "/a~1b~0c", "is not a field that exists"),
    ({"inputs": []}, "/inputs", "must be an object"),
    ({"inputs": "x"}, "/inputs", "must be an object"),
    ({"onAgentError": "ignore"}, "/onAgentError", "must be 'stop' or 'continue'"),
    ({"timeoutSeconds": 0}, "/timeoutSeconds", "must be greater than 0"),
    ({"timeoutSeconds": -1}, "/timeoutSeconds", "must be greater than 0"),
    ({"timeoutSeconds": "5"}, "/timeoutSeconds", "must be a number"),
    ({"timeoutSeconds": True}, "/timeoutSeconds", "must be a number"),
    ({"timeoutSeconds": 1e9}, "/timeoutSeconds", "must be at most 31536000"),
    ({"maxParallel": 0}, "/maxParallel", "must be at least 1"),
    ({"maxParallel": 1.5}, "/maxParallel", "must be an integer"),
    ({"priority": 11}, "/priority", "must be at most 10"),
    ({"priority": True}, "/priority", "must be an integer"),
    ({"onRestart": "retry"}, "/onRestart", "must be 'resume' or 'fail'"),
    ({"dependsOn": {"writer": "a"}}, "/dependsOn/writer", "must be an array"),
    ({"dependsOn": {"a b": []}}, "/dependsOn/a b", ROLE),
    ({"dependsOn": {"writer": []}}, "/dependsOn", 'dependsOn belongs to executionMode "graph"'),
    (
        {"executionMode": "graph", "dependsOn": {"writer": ["ghost"]}},
        "/dependsOn",
        "dependsOn names an agent that is not selected: ghost",
    ),
    (
        {"executionMode": "graph", "dependsOn": {"writer": ["writer"]}},
        "/dependsOn",
        "dependsOn goes in a circle: writer → writer",
    ),
    ({"after": ["x"] * 101}, "/after", "must have at most 100 entries"),
    ({"budget": {"tokens": 0}}, "/budget/tokens", "must be greater than 0"),
    ({"budget": {"money": 1}}, "/budget/money", "is not a field that exists"),
    ({"budget": [1]}, "/budget", "must be an object"),
    ({"metadata": {"a": 1}}, "/metadata/a", "must be a string"),
    ({"metadata": {"a": "x" * 513}}, "/metadata/a", "must have at most 512 characters"),
    (
        {"metadata": {"": "x"}},
        "/metadata",
        "keys of metadata have 1 to 64 characters, none of them a quote or a backslash",
    ),
    (
        {"metadata": {f"k{i}": "" for i in range(17)}},
        "/metadata",
        "must have at most 16 entries",
    ),
    ({"jobType": "cron"}, "/jobType", "must be 'manual', 'scheduled' or 'api'"),
]


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_request_that_can_be_executed_is_taken(name: str) -> None:
    request = parse_task_request(MINIMAL | ACCEPTED[name])
    assert request.description
    assert request.selected_agents


@pytest.mark.parametrize(
    ("change", "pointer", "detail"), REFUSED, ids=lambda value: str(value)[:60]
)
def test_a_wrong_field_is_named_as_it_was_sent(
    change: dict[str, Any], pointer: str, detail: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_task_request(MINIMAL | change)
    assert list(raised.value.errors) == [(pointer, detail)]


@pytest.mark.parametrize("body", [None, [], [MINIMAL], "x", 1, 1.5, True, False])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_task_request(body)
    assert raised.value.errors == (("", "must be a JSON object"),)


def test_an_empty_object_names_everything_that_is_required() -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_task_request({})
    assert [error.pointer for error in raised.value.errors] == ["/description", "/selectedAgents"]


def test_a_field_has_no_second_name() -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_task_request({"description": "x", "selected_agents": ["writer"]})
    assert {error.pointer for error in raised.value.errors} == {
        "/selectedAgents",
        "/selected_agents",
    }


def test_parsing_leaves_the_body_as_it_was_sent() -> None:
    body = {**MINIMAL, "title": None}
    parse_task_request(body)
    assert body == {**MINIMAL, "title": None}


def test_no_more_errors_are_listed_than_are_read() -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_task_request(MINIMAL | {f"k{i}": 1 for i in range(100)})
    assert len(raised.value.errors) == MAX_ERRORS


@pytest.mark.parametrize(
    "change",
    [
        {f"k{i}": 1 for i in range(100_000)},
        {"dependsOn": {f"k {i}": 1 for i in range(100_000)}},
        {"metadata": {f"k{i}": 1 for i in range(100_000)}},
    ],
    ids=["fields", "dependsOn", "metadata"],
)
def test_a_flood_of_errors_is_counted_and_not_described(change: dict[str, Any]) -> None:
    started = time.perf_counter()
    with pytest.raises(InvalidRequest, match="too many to list"):
        parse_task_request(MINIMAL | change)
    assert time.perf_counter() - started < 1


def test_a_pointer_does_not_grow_with_what_was_sent() -> None:
    assert json_pointer("a", 0, "b/c~d") == "/a/0/b~1c~0d"
    assert len(json_pointer("x" * 1_000_000)) == 200
