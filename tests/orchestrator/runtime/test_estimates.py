"""Estimates: from how long agents took lately, for every order they may run in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import TaskInfo
from orchestrator.outcomes import Outcome
from orchestrator.runtime.estimates import REMEMBERED, Estimates
from tests.orchestrator.teams import at_file, fail, request, run_task, service, speak, team

TASK = TaskInfo(task_id="t", title="T", description="d", provider=None, metadata={})


def estimates(**seconds: float) -> Estimates:
    """What is known after one attempt of each."""
    made = Estimates()
    for role, taken in seconds.items():
        made.attempt_ended(TASK, role, 1, Outcome(status="success"), taken)
    return made


GRAPH = {"executionMode": "graph", "dependsOn": {"b": ["a"], "c": ["a"], "d": ["b", "c"]}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 15.0),
        ({"executionMode": "parallel"}, 8.0),
        ({"executionMode": "parallel", "maxParallel": 2}, 10.0),  # a then c, b then d
        ({"executionMode": "parallel", "maxParallel": 1}, 15.0),
        (GRAPH, 13.0),  # a, then c beside b, then d
        ({**GRAPH, "maxParallel": 1}, 15.0),
    ],
)
def test_an_estimate_knows_what_runs_beside_what(fields: dict[str, Any], expected: float) -> None:
    known = estimates(a=1, b=2, c=4, d=8)
    assert known.of(request("a", "b", "c", "d", **fields)) == expected


def test_an_agent_nobody_knows_makes_no_estimate() -> None:
    assert estimates(a=1).of(request("a", "b")) is None


def test_an_odd_attempt_and_a_failed_one_do_not_change_it() -> None:
    known = estimates(a=1)
    for seconds in (1, 1, 500, 2):
        known.attempt_ended(TASK, "a", 1, Outcome(status="success"), seconds)
    known.attempt_ended(TASK, "a", 1, Outcome(status="error"), 9000)
    assert known.of(request("a")) == 1
    for _ in range(REMEMBERED):
        known.attempt_ended(TASK, "a", 1, Outcome(status="success"), 7)
    assert known.of(request("a")) == 7, "old ones are forgotten"


async def test_the_first_event_tells_it_also_after_a_restart(tmp_path: Path) -> None:
    async def rest(context: Any) -> None:
        await asyncio.sleep(0.03)

    agents = team(a=rest, b=speak, bad=fail)
    for life in range(2):
        async with service(agents, at_file(tmp_path / "t.db")) as opened:
            first = (await run_task(opened, "a"))[0]
            assert ("estimatedSeconds" in first) == (life > 0), "nothing is known at first"
            second = (await run_task(opened, "a"))[0]
            assert 0.03 <= second["estimatedSeconds"] < 5
            assert "estimatedSeconds" not in (await run_task(opened, "a", "bad"))[0]
