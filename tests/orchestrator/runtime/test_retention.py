"""Retention: old finished tasks go, unfinished ones stay, and no clock that jumps deletes any."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from orchestrator.agents import AgentContext
from orchestrator.errors import TaskNotFound
from orchestrator.runtime.retention import REST_SECONDS
from orchestrator.runtime.service import TaskService
from orchestrator.store.listing import TaskFilter
from tests.orchestrator.runtime.test_stuck import Jumping
from tests.orchestrator.teams import (
    OWNER,
    eventually,
    hang,
    read_to_end,
    run_task,
    service,
    settings,
    speak,
    submit,
    team,
)  # fmt: skip

DAY_MS = 86_400_000


async def there(opened: TaskService, *, archived: bool = False) -> list[str]:
    """Titles of the tasks in a list, oldest first."""
    wanted = TaskFilter(archived=archived)
    found, _ = await opened.list(wanted, before=None, limit=100)
    return [entry["title"] for entry in found][::-1]


async def gone(opened: TaskService, task_id: str) -> bool:
    try:
        await opened.find(task_id, owner=None)
    except TaskNotFound:
        return True
    return False


async def pass_days(opened: TaskService, clock: Jumping, days: int) -> None:
    """Let time pass as it does: sweeps see the clock move little by little."""
    retention = opened.house.retention
    for _ in range(days):
        clock.ahead_ms += DAY_MS
        retention._wall_ms += DAY_MS  # as if a day of the monotonic clock had passed with it
        await retention.sweep()


async def test_finished_tasks_go_after_their_time_and_unfinished_ones_never() -> None:
    clock = Jumping()
    async with service(team(a=speak, hang=hang), settings(), clock=clock) as opened:
        await run_task(opened, "a", title="old")
        running = await submit(opened, "hang", title="running")
        await pass_days(opened, clock, 29)
        assert await there(opened) == ["old", "running"]
        await run_task(opened, "a", title="young")
        await pass_days(opened, clock, 2)
        assert await there(opened) == ["running", "young"]
        await pass_days(opened, clock, 60)
        assert await there(opened) == ["running"]
        lines = [line.told for line in opened.house.runner.log.newest(None, limit=99)]
        assert sum("Retention: deleted 1 finished tasks" in line for line in lines) == 2
        assert running.reader is not None
        running.reader.close()


async def test_a_sweep_that_sees_the_clock_jump_deletes_nothing_and_says_so() -> None:
    clock = Jumping()
    async with service(team(a=speak), settings(), clock=clock) as opened:
        await run_task(opened, "a", title="kept")
        clock.ahead_ms = 40 * DAY_MS  # a machine that woke up in another month
        assert await opened.house.retention.sweep() == 0
        clock.ahead_ms = 0  # and was put right
        assert await opened.house.retention.sweep() == 0
        assert await opened.house.retention.sweep() == 0
        assert await there(opened) == ["kept"]
        lines = [line.told for line in opened.house.runner.log.newest(None, limit=99)]
        assert sum("the clock has jumped by" in line for line in lines) == 2


async def test_a_clock_that_stays_ahead_deletes_nothing_for_a_day() -> None:
    clock = Jumping()
    async with service(team(a=speak), settings(), clock=clock) as opened:
        retention = opened.house.retention
        await run_task(opened, "a", title="kept")
        clock.ahead_ms = 40 * DAY_MS
        for _ in range(24):
            assert await retention.sweep() == 0
        assert await there(opened) == ["kept"]
        retention._rests_until -= REST_SECONDS  # as if a day of the monotonic clock had passed
        assert await retention.sweep() == 1


async def test_sweeps_come_by_themselves_and_remove_every_row() -> None:
    given = settings(task_history_retention_days=0.2 / 86_400)
    async with service(team(a=speak), given) as opened:
        events = await run_task(opened, "a")
        task_id = events[0]["taskId"]
        await eventually(lambda: gone(opened, task_id))
        await eventually(lambda: not opened.house.removal.busy)
        assert await there(opened) == []


def gated(gate: asyncio.Event) -> Callable[[AgentContext], Awaitable[None]]:
    async def work(context: AgentContext) -> None:
        await gate.wait()

    return work


async def test_with_nothing_kept_a_task_goes_with_its_last_reader() -> None:
    gate = asyncio.Event()
    given = settings(task_history_retention_days=0)
    async with service(team(a=gated(gate)), given) as opened:
        submission = await submit(opened, "a")
        task_id = submission.task_id
        second = await opened.attach(task_id, owner=OWNER)
        gate.set()
        await read_to_end(submission.reader)
        assert not await gone(opened, task_id), "somebody still reads"
        assert (await opened.snapshot(task_id, owner=OWNER))["status"] == "completed"
        await read_to_end(second)
        await eventually(lambda: gone(opened, task_id))


async def test_with_nothing_kept_a_task_that_nobody_has_read_stays_for_a_minute() -> None:
    clock = Jumping()
    given = settings(task_history_retention_days=0)
    async with service(team(a=speak), given, clock=clock) as opened:
        submission = await submit(opened, "a")
        assert submission.reader is not None
        submission.reader.close()  # a connection that was cut before the end
        await eventually(lambda: _ended(opened, submission.task_id))
        assert await opened.house.retention.sweep() == 0
        clock.ahead_ms = 61_000
        assert await opened.house.retention.sweep() == 1
        assert await gone(opened, submission.task_id)


async def _ended(opened: TaskService, task_id: str) -> bool:
    return (await opened.find(task_id, owner=None)).ended is not None
