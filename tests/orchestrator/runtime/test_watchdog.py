"""The watchdog tells which agent stopped the loop, and only then."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from orchestrator.runtime.watchdog import Watchdog


async def test_the_agent_that_stops_the_loop_is_named(caplog: pytest.LogCaptureFixture) -> None:
    watchdog = Watchdog(stood_seconds=0.05)

    async def compute() -> None:
        deadline = time.monotonic() + 10
        while watchdog.times_stood == 0 and time.monotonic() < deadline:
            pass  # what a watchdog is for

    with caplog.at_level(logging.WARNING):
        await asyncio.create_task(compute(), name="agent poet of 42")
    watchdog.close()
    assert watchdog.times_stood == 1
    assert "agent poet of 42" in caplog.text


async def test_a_loop_that_turns_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    watchdog = Watchdog(stood_seconds=5.0)
    async with asyncio.timeout(0.6):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.55)  # two looks of the watchdog
    watchdog.close()
    assert watchdog.times_stood == 0
    assert not caplog.records
