"""The backlog: what comes together is taken together, and nobody waits for company in vain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.store import backlog as module
from orchestrator.store.backlog import MANY, QUIET_TURNS, Backlog, Item
from orchestrator.turns import Turns
from tests.orchestrator.teams import eventually

FOR_EVER = 3600.0


def item(*, urgent: bool = True) -> Item:
    return Item(lambda c: None, lambda a: None, lambda e: None, 1, 0, False, urgent)


@pytest.fixture
async def backlog(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Backlog]:
    """One whose last transaction was large, and just now."""
    monkeypatch.setattr(module, "GATHER_SECONDS", FOR_EVER)
    monkeypatch.setattr(module, "PACE_SECONDS", 0.0)
    monkeypatch.setattr(module, "NEXT_SECONDS", 0.0)
    backlog = Backlog(Turns())
    backlog.committed(MANY)
    yield backlog
    backlog.close()


async def taken(backlog: Backlog) -> int:
    return len(await asyncio.to_thread(backlog.take, timeout=FOR_EVER))


def taken_at_once(backlog: Backlog) -> int:
    """What is taken while the loop stands: nobody rings."""
    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(backlog.take, timeout=FOR_EVER)
        try:
            return len(taking.result(timeout=5))
        finally:
            backlog.close()


async def test_when_the_loop_is_quiet_there_is_nothing_to_wait_for(backlog: Backlog) -> None:
    async with asyncio.timeout(10):
        backlog.put(item())
        assert await taken(backlog) == 1
        for _ in range(2 * QUIET_TURNS):  # it is quiet already when the thread begins to wait
            await asyncio.sleep(0)
        backlog.put(item())
        for _ in range(3 * QUIET_TURNS):
            await asyncio.sleep(0)
        assert await taken(backlog) == 1


async def test_while_the_loop_brings_more_the_thread_waits(backlog: Backlog) -> None:
    async with asyncio.timeout(10):
        backlog.put(item())
        taking = asyncio.create_task(taken(backlog))
        for _ in range(200):
            for _ in range(QUIET_TURNS - 1):
                await asyncio.sleep(0)
            assert not taking.done()
            backlog.put(item())
        assert await taking == 201


async def test_it_does_not_wait_for_ever_for_a_loop_that_never_rests(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GATHER_SECONDS", 0.05)
    backlog.committed(MANY)
    async with asyncio.timeout(10):
        backlog.put(item())
        taking = asyncio.create_task(taken(backlog))
        while not taking.done():
            backlog.put(item())
            await asyncio.sleep(0)


async def test_after_a_small_transaction_nothing_waits_for_company(backlog: Backlog) -> None:
    backlog.committed(MANY - 1)
    backlog.put(item())
    assert taken_at_once(backlog) == 1


async def test_what_nobody_waits_for_is_no_reason_to_gather(backlog: Backlog) -> None:
    backlog.put(item(urgent=False))
    assert taken_at_once(backlog) == 1


async def test_what_nobody_waits_for_wakes_no_thread_that_rests_after_a_commit(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PACE_SECONDS", FOR_EVER)
    async with asyncio.timeout(10):
        taking = asyncio.create_task(taken(backlog))
        await eventually(lambda: backlog._sleep == "pacing")
        backlog.put(item(urgent=False))
        assert backlog._sleep == "pacing"
        assert backlog._bell.locked()  # not rung
        backlog.put(item())
        assert await taking == 2


async def test_after_the_rest_the_next_one_that_comes_takes_all_along(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NEXT_SECONDS", FOR_EVER)
    async with asyncio.timeout(10):
        backlog.put(item(urgent=False))
        taking = asyncio.create_task(taken(backlog))
        await eventually(lambda: backlog._sleep == "pacing")  # the rest is over
        backlog.put(item(urgent=False))
        assert await taking == 2


async def test_the_next_one_is_not_waited_for_for_ever(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NEXT_SECONDS", 0.05)
    backlog.committed(MANY)
    backlog.put(item(urgent=False))
    assert taken_at_once(backlog) == 1


async def test_what_somebody_waits_for_never_rests_after_a_commit(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PACE_SECONDS", FOR_EVER)
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    backlog.committed(1)
    for urgent in (True, False, True):
        backlog.put(item(urgent=urgent))
    async with asyncio.timeout(10):
        assert [await taken(backlog), await taken(backlog)] == [2, 1]  # also what was left over
        backlog.put(item(urgent=False))
        taking = asyncio.create_task(taken(backlog))
        await eventually(lambda: backlog._sleep == "pacing")
        backlog.put(item())
        assert await taking == 2


async def test_closing_ends_every_wait(backlog: Backlog) -> None:
    async with asyncio.timeout(10):
        taking = asyncio.create_task(taken(backlog))
        await eventually(lambda: backlog._sleep == "idle")
        backlog.close()
        assert await taking == 0
        backlog.put(item())
        assert [await taken(backlog), await taken(backlog)] == [1, 0]  # and every later one
