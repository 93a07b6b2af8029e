"""Every scenario dies once at every crash point of the writer, and again in its own recovery.

In the end all is as if nothing had happened, except for attempts that were interrupted and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.orchestrator.runtime.scenarios import (
    SCENARIOS,
    artifacts_and_checkpoints,
    cancels,
)  # fmt: skip
from tests.orchestrator.runtime.virtual import Crash
from tests.orchestrator.runtime.worlds import World, finish, live

POINTS = ("before_begin", "before_commit", "after_commit")


class Trap:
    """Ends the process the n-th time it passes a point."""

    def __init__(self, point: str, nth: int) -> None:
        self._point = point
        self._left = nth

    def __call__(self, point: str) -> None:
        self._left -= point == self._point
        if self.sprung:
            raise Crash

    @property
    def sprung(self) -> bool:
        return bool(self._point) and self._left <= 0


# Before a commit the file is as it was after the one before it; only what was told differs.
ALWAYS_TWICE = ("artifacts_and_checkpoints", "cancels", "retries")


def _cases() -> Iterator[Any]:
    for name in SCENARIOS:
        yield pytest.param(name, "after_commit")
        marks = [] if name in ALWAYS_TWICE else [pytest.mark.soak]
        yield pytest.param(name, "before_commit", marks=marks)
        yield pytest.param(name, "before_begin", marks=[pytest.mark.soak])


@pytest.mark.parametrize(("name", "point"), [*_cases()])
def test_a_crash_at_any_point_loses_nothing(
    name: str, point: str, world: Callable[[int], World]
) -> None:
    play, ends = SCENARIOS[name]
    for nth in range(1, 1000):
        here, trap = world(nth), Trap(point, nth)
        live(here, play, trap)
        if trap.sprung and point == "after_commit":  # its recovery dies too, elsewhere
            live(here, play, Trap(POINTS[nth % 3], 1 + nth % 5))
        while live(here, play, Trap("", 0)):
            pass
        finish(here, ends)
        if not trap.sprung:
            assert nth > 8, "the scenario has fewer commits than it should"
            return
    raise AssertionError("the scenario never came to its end")


@pytest.mark.parametrize("point", POINTS)
def test_a_recovery_that_dies_again_and_again_comes_through(
    point: str, world: Callable[[int], World]
) -> None:
    """Of a moment with everything in it: the next life dies at each of its first points in turn."""

    async def play(here: World) -> None:
        await cancels(here)
        await artifacts_and_checkpoints(here)

    here = world(1)
    assert live(here, play, Trap("before_commit", 30))
    for nth in range(1, 15):
        live(here, play, Trap(point, nth))
    while live(here, play, Trap("", 0)):
        pass
    finish(here, {**SCENARIOS["cancels"][1], "one": "completed"})
