"""Plans: who may start next."""

from __future__ import annotations

from typing import Any

import pytest

from tests.orchestrator.teams import request

SEQUENTIAL: dict[str, Any] = {}
PARALLEL = {"executionMode": "parallel"}
TWO = {"executionMode": "parallel", "maxParallel": 2}
DIAMOND = {
    "executionMode": "graph", "dependsOn": {"b": ["a"], "c": ["a"], "d": ["b", "c"]},
}  # fmt: skip
LENIENT = {**DIAMOND, "onAgentError": "continue"}


@pytest.mark.parametrize(
    ("fields", "ended", "running", "ready"),
    [
        # + delivered, - failed
        (SEQUENTIAL, "", "", "a"), (SEQUENTIAL, "", "a", ""), (SEQUENTIAL, "+a", "", "b"),
        (SEQUENTIAL, "-a", "", ""), (SEQUENTIAL, "+a+b+c+d", "", ""),
        ({"onAgentError": "continue"}, "-a", "", "b"),
        ({"maxParallel": 4}, "", "", "a"),
        (PARALLEL, "", "", "abcd"), (PARALLEL, "-a", "bc", "d"), (PARALLEL, "+a-b", "cd", ""),
        ({**PARALLEL, "onAgentError": "stop"}, "-a", "b", ""),
        (TWO, "", "", "ab"), (TWO, "+a", "b", "c"), (TWO, "", "cd", ""), (TWO, "+b", "", "ac"),
        (DIAMOND, "", "", "a"), (DIAMOND, "+a", "", "bc"), (DIAMOND, "+a+b", "c", ""),
        (DIAMOND, "+a+b+c", "", "d"), (DIAMOND, "+a-b", "", ""),
        (LENIENT, "+a-b", "", "c"), (LENIENT, "+a-b+c", "", ""), (LENIENT, "-a", "", ""),
        ({**DIAMOND, "maxParallel": 1}, "+a", "", "b"),
    ],
)  # fmt: skip
def test_a_role_starts_when_nothing_it_needs_is_missing_and_there_is_room(
    fields: dict[str, Any], ended: str, running: str, ready: str
) -> None:
    plan = request(*"abcd", **fields).plan
    ends = list(zip(ended[::2], ended[1::2], strict=True))
    delivered, failed = ([role for sign, role in ends if sign == wanted] for wanted in "+-")
    assert "".join(plan.ready(delivered, failed, running)) == ready
