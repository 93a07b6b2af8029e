"""Deadlines: called in order and on time, given up without a trace."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest

from orchestrator.deadlines import Deadlines
from tests.orchestrator.runtime.virtual import VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    """A loop whose time passes only when there is nothing else to do."""
    loop = VirtualLoop()
    yield loop
    loop.close()


def test_each_is_called_at_its_time_in_whatever_order_they_came(loop: VirtualLoop) -> None:
    deadlines, called = Deadlines(loop), list[float]()
    for seconds in (0.05, 3600, 0.02, -1, 7, 0.051):
        deadlines.after(seconds, lambda: called.append(loop.time()))
    loop.run_until_complete(asyncio.sleep(4000))
    assert called == pytest.approx([0, 0.02, 0.05, 0.051, 7, 3600], abs=0.002)
    assert len(deadlines) == 0


def test_one_that_is_cancelled_is_never_called(loop: VirtualLoop) -> None:
    deadlines, called = Deadlines(loop), list[str]()
    first = deadlines.after(1, partial(called.append, "first"))
    second = deadlines.after(2, partial(called.append, "second"))
    deadlines.after(2, lambda: deadlines.cancel(third))
    third = deadlines.after(2, partial(called.append, "third"))
    deadlines.cancel(first)
    loop.run_until_complete(asyncio.sleep(3))
    assert called == ["second"]
    for number in (first, second, third):
        deadlines.cancel(number)  # once more, or after its time: nothing happens


def test_one_call_may_set_the_next_deadline(loop: VirtualLoop) -> None:
    deadlines, called = Deadlines(loop), list[float]()

    def again() -> None:
        called.append(loop.time())
        if len(called) < 3:
            deadlines.after(1, again)

    deadlines.after(1, again)
    loop.run_until_complete(asyncio.sleep(10))
    assert called == pytest.approx([1, 2, 3], abs=0.01)


def test_what_one_raises_keeps_no_other_from_its_turn(loop: VirtualLoop) -> None:
    deadlines, called, errors = Deadlines(loop), list[str](), list[object]()
    loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
    deadlines.after(1, lambda: called.index("not there"))
    deadlines.after(1, partial(called.append, "the other"))
    loop.run_until_complete(asyncio.sleep(2))
    assert called == ["the other"]
    assert [type(error) for error in errors] == [ValueError]


def test_deadlines_that_are_given_up_do_not_pile_up(loop: VirtualLoop) -> None:
    deadlines = Deadlines(loop)
    waiting = [deadlines.after(3600, str) for _ in range(10)]
    most = 0
    for _ in range(10_000):  # tasks that end at once, ten at a time
        waiting.append(deadlines.after(3600, str))
        deadlines.cancel(waiting.pop(0))
        most = max(most, len(deadlines._heap))
    assert len(deadlines) == 10
    assert most <= 22
    for number in waiting:
        deadlines.cancel(number)
    assert deadlines._heap == []
    assert deadlines._timer is None  # nothing of it is left in the loop
