"""Stuck tasks are told once, any event clears them, and only running ones can be stuck."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orchestrator.agents import AgentContext
from orchestrator.clock import Clock
from orchestrator.runtime.alerts import Alert
from orchestrator.runtime.service import TaskService
from orchestrator.store.listing import TaskFilter
from tests.orchestrator.teams import (
    OWNER,
    eventually,
    fail,
    hang,
    log_of,
    service,
    settings,
    speak,
    status_of,
    submit,
    team,
)  # fmt: skip

AFTER = 0.1


class Jumping(Clock):
    """A wall clock that anybody may set."""

    ahead_ms = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + self.ahead_ms


@asynccontextmanager
async def watching(
    told: list[Alert], clock: Clock | None = None, **values: Any
) -> AsyncIterator[TaskService]:
    """A service whose tasks are stuck after a moment."""

    async def talk(context: AgentContext) -> None:
        for gate in GATES:
            await gate.wait()
            await context.progress("here I am")
        await asyncio.get_running_loop().create_future()

    GATES[:] = [asyncio.Event(), asyncio.Event()]
    given = settings(stuck_after_seconds=AFTER, **values)
    agents = team(talk=talk, hang=hang, bad=fail, good=speak)
    async with service(agents, given, alert=told.append, clock=clock) as opened:
        yield opened


GATES: list[asyncio.Event] = []


async def shown(opened: TaskService, task_id: str) -> bool:
    """Whether snapshot and lists show a task as stuck, which must be the same."""
    snapshot = await opened.snapshot(task_id, owner=OWNER)
    listed, _ = await opened.list(TaskFilter(), stuck=True, before=None, limit=10)
    [entry] = (await opened.list(TaskFilter(), before=None, limit=10))[0]
    found = {snapshot["stuck"], bool(listed), entry["stuck"]}
    return found == {True}


async def test_a_silent_task_is_told_once_and_any_event_clears_it() -> None:
    told: list[Alert] = []
    async with watching(told) as opened:
        submission = await submit(opened, "talk", title="slow one")
        task_id = submission.task_id
        await eventually(lambda: shown(opened, task_id))
        await eventually(lambda: told)
        assert told[0][:3] == ("stuck", task_id, "slow one")
        GATES[0].set()
        await eventually(lambda: len(told) == 2)
        assert told[1][:3] == ("recovered", task_id, "slow one")
        assert told[1].since_ms == told[0].since_ms, "since when it had been silent"
        await eventually(lambda: len(told) == 3)
        assert told[2].kind == "stuck", "silent again"
        log = [line.message(titled=True) for line in opened.house.runner.log.newest(None, limit=99)]
        [first, _] = [line for line in log if "it is stuck" in line]
        assert first.startswith(f'Task {task_id} "slow one": silent for 0 s, it is stuck (agent t')
        assert await status_of(opened, task_id) == "running", "it is only marked"
        assert submission.reader is not None
        submission.reader.close()


async def test_a_stuck_task_is_ended_if_that_is_wanted() -> None:
    told: list[Alert] = []
    async with watching(told, stuck_action="fail") as opened:
        submission = await submit(opened, "hang")
        await eventually(lambda: len(told) == 2)
        assert [alert.kind for alert in told] == ["stuck", "failed"]
        log = await log_of(opened, submission.task_id)
        agent, task = log[-2:]
        assert (agent["type"], agent["status"], agent["code"]) == (
            "agent_error",
            "timeout",
            "timeout",
        )
        assert (task["type"], task["status"], task["code"]) == ("task_error", "failed", "timeout")
        assert "silent" in task["error"]
        assert submission.reader is not None
        submission.reader.close()


async def test_what_does_not_run_is_not_stuck() -> None:
    told: list[Alert] = []
    async with watching(told, max_concurrent_tasks=1) as opened:
        running = await submit(opened, "hang")
        queued = await submit(opened, "good")
        await eventually(lambda: told)
        snapshot = await opened.snapshot(queued.task_id, owner=OWNER)
        assert (snapshot["status"], snapshot["stuck"]) == ("queued", False)
        await opened.cancel(running.task_id, owner=OWNER, requested_by="me")
        await eventually(lambda: _is(opened, queued.task_id, "completed"))
        assert [alert.task_id for alert in told] == [running.task_id]
        for each in (running, queued):
            assert each.reader is not None
            each.reader.close()


async def test_a_clock_that_jumps_by_days_makes_nothing_stuck() -> None:
    told: list[Alert] = []
    clock = Jumping()
    async with watching(told, clock, stuck_action="fail") as opened:
        opened.house.stuck.close()
        submission = await submit(opened, "talk")
        clock.ahead_ms = 40 * 86_400_000
        assert opened.house.stuck.silent == frozenset()
        assert not (await opened.snapshot(submission.task_id, owner=OWNER))["stuck"]
        assert submission.reader is not None
        submission.reader.close()


async def test_a_task_that_fails_is_an_alert_and_one_that_was_cancelled_is_none() -> None:
    told: list[Alert] = []
    async with watching(told) as opened:
        opened.house.stuck.close()
        failed, hanging = await submit(opened, "bad", title="bad one"), await submit(opened, "hang")
        await eventually(lambda: told)
        await opened.cancel(hanging.task_id, owner=OWNER, requested_by="me")
        await eventually(lambda: _is(opened, hanging.task_id, "cancelled"))
        [alert] = told
        assert alert[:3] == ("failed", failed.task_id, "bad one")
        for each in (failed, hanging):
            assert each.reader is not None
            each.reader.close()


async def _is(opened: TaskService, task_id: str, status: str) -> bool:
    return await status_of(opened, task_id) == status


@pytest.mark.parametrize("action", ["mark", "fail"])
def test_the_settings_know_both_actions(action: str) -> None:
    assert settings(stuck_action=action).stuck_action == action
