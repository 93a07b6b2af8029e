"""From options to a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.cli.durations import seconds_of
from api.cli.request import absolute, in_words_of_options, request_body
from api.cli.terminal import CommandFailed, Status
from orchestrator.errors import FieldError

NOTHING: dict[str, Any] = {
    "description": "d",
    "agents": ["a"],
    "mode": None,
    "inputs": [],
    "inputs_json": None,
    "depends_on": [],
    "timeout": None,
    "title": None,
}


def body(**options: Any) -> dict[str, Any]:
    return request_body(**{**NOTHING, **options})


def test_what_is_not_given_is_left_out() -> None:
    assert body() == {"description": "d", "selectedAgents": ["a"]}


def test_everything() -> None:
    assert body(
        agents=["a, b", "c"], mode="graph", inputs=["k=v=w", "n=1"],
        inputs_json='{"n": 2, "m": [3]}', depends_on=["c=a,b", "b=a"],
        timeout="1.5m", title="T",
    ) == {
        "description": "d",
        "title": "T",
        "selectedAgents": ["a", "b", "c"],
        "executionMode": "graph",
        "dependsOn": {"c": ["a", "b"], "b": ["a"]},
        "inputs": {"n": "1", "m": [3], "k": "v=w"},
        "timeoutSeconds": 90.0,
    }  # fmt: skip


def test_dependencies_make_a_graph() -> None:
    assert body(agents=["a,b"], depends_on=["b=a"])["executionMode"] == "graph"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inputs": ["path"]}, "--input path: must be written key=value"),
        ({"inputs": ["=x"]}, "key=value"),
        ({"inputs": ["a=1", "a=2"]}, "--input a is given twice"),
        ({"inputs_json": "{"}, "--input-json is no JSON"),
        ({"inputs_json": "[1]"}, "must be an object"),
        ({"depends_on": ["a"]}, "--depends-on a: must be written"),
        ({"depends_on": ["a="]}, "must be written"),
        ({"timeout": "soon"}, "--timeout soon: must be a duration"),
    ],
)
def test_a_mistake_names_the_option(options: dict[str, Any], words: str) -> None:
    with pytest.raises(CommandFailed) as error:
        body(**options)
    assert words in str(error.value)
    assert error.value.status == Status.USAGE


def test_a_path_from_here_becomes_absolute_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", "/home/ann")
    paths = {
        ".": str(folder),
        "./x/../y": f"{folder}/y",
        "..": str(tmp_path),
        "../x": f"{tmp_path}/x",
        "~": "/home/ann",
        "~/src": "/home/ann/src",
    }
    assert {value: absolute(value) for value in paths} == paths
    for value in ("", "x", "x/y", "/abs/../x", "...", ".hidden", "..x", "~ann", "1.5", "repos/x"):
        assert absolute(value) == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("30s", 30), ("15m", 900), ("2h", 7200), ("7d", 604_800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text, "--ttl") == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1w", "1 m", "1e3", "nan", "inf", "٣", "1.m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(CommandFailed):
        seconds_of(text, "--ttl")


def test_errors_of_fields_are_said_of_options() -> None:
    assert in_words_of_options(FieldError("/selectedAgents/0", "no")) == "--agents: no"
    assert in_words_of_options(FieldError("/budget", "no")) == "/budget: no"
    assert in_words_of_options(FieldError("", "no")) == "no"
