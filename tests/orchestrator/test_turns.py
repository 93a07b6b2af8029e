"""Turns: what waits for a turn of the loop is called in it, all by one callback."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from orchestrator.turns import Turns


class Watch:
    """Counts the turns of the loop and notes in which one something was called."""

    def __init__(self) -> None:
        self.turn = 0
        self.called: list[tuple[str, int]] = []

    def note(self, name: str) -> None:
        self.called.append((name, self.turn))

    async def pass_by(self, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
            self.turn += 1


@pytest.mark.parametrize("turns", [0, 1, 3])
@pytest.mark.parametrize("busy", [False, True])
async def test_a_call_comes_after_so_many_turns_or_one_more(turns: int, busy: bool) -> None:
    watch, all_turns = Watch(), Turns()
    if busy:
        all_turns.after(5, partial(watch.note, "earlier"))
    await watch.pass_by(1)
    began = watch.turn
    all_turns.after(turns, partial(watch.note, "call"))
    await watch.pass_by(8)
    assert dict(watch.called)["call"] - began in (turns, turns + 1)


async def test_those_that_wait_for_one_turn_share_a_callback_and_keep_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, made = asyncio.get_running_loop(), 0
    call_soon = loop.call_soon

    def counted(*arguments: object, **options: object) -> object:
        nonlocal made
        made += 1
        return call_soon(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_soon", counted)
    called: list[int] = []
    turns = Turns()
    for number in range(100):
        turns.after(2, partial(called.append, number))
    assert made == 1
    monkeypatch.undo()
    await Watch().pass_by(4)
    assert called == list(range(100))


async def test_what_is_asked_for_in_a_turn_comes_in_a_later_one() -> None:
    turns = Turns()
    called: list[str] = []

    def first() -> None:
        called.append("first")
        turns.after(0, partial(called.append, "second"))

    turns.after(0, first)
    await asyncio.sleep(0)
    assert called == ["first"]
    await Watch().pass_by(2)
    assert called == ["first", "second"]


async def test_what_raises_keeps_nobody_from_later_turns() -> None:
    turns = Turns()
    called: list[str] = []

    def trip() -> None:
        raise RuntimeError("whoever was called")

    caught: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: caught.append(context))
    turns.after(0, trip)
    turns.after(2, partial(called.append, "later"))
    await Watch().pass_by(6)
    turns.after(0, partial(called.append, "last"))
    await Watch().pass_by(3)
    assert called == ["later", "last"]
    assert len(caught) == 1
