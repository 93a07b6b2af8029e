"""Moves of a task, each a compare-and-set: only the right epoch, round and status get through."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson
import pytest

from orchestrator.errors import AppendRefused, CursorBeyondEnd, TaskConflict, TaskNotFound
from orchestrator.events import Draft
from orchestrator.store import events, submissions, tasks
from orchestrator.store.database import Database
from orchestrator.store.events import RunKey
from orchestrator.store.submissions import NewTask, Submitted
from orchestrator.store.tasks import Cancelled, Ended
from orchestrator.store.writer import Writer
from orchestrator.tasks import TaskStatus
from tests.orchestrator.store.databases import sql, writing

CREATED = {"title": "t", "selectedAgents": ["a"], "executionMode": "sequential", "agents": []}
COMPLETE = Draft("task_complete", {"totalExecutionTime": 1, "outputs": 1, "failedAgents": []}, 0)
STATE = Draft("task_state", {"state": "queued", "reason": "handed_back", "done": []}, 0)


class Row:
    """One stored task and the writer of its database."""

    def __init__(self, database: Database, writer: Writer, stored: Submitted) -> None:
        self.database = database
        self.writer = writer
        self.id = stored.id
        self.task_id = stored.task_id

    async def set(self, **columns: Any) -> None:
        for name, value in columns.items():
            await self.writer.submit(sql(f"UPDATE task SET {name} = {value!r}"))

    async def get(self, column: str) -> Any:
        query = f"SELECT {column} FROM task"
        return await self.writer.submit(lambda c: c.execute(query).fetchone()[0])

    async def log(self) -> list[dict[str, Any]]:
        rows = await self.database.read(partial(events.page, id=self.id, after=0))
        return [orjson.loads(row.data) for row in rows]

    async def claim(self, round: int = 1) -> RunKey | None:
        claim = partial(tasks.claim, id=self.id, round=round, node="n", now=50)
        claimed = await self.writer.submit(claim)
        return None if claimed is None else claimed.run

    async def finish(self, run: RunKey) -> Ended:
        finish = partial(
            tasks.finish, run=run, draft=COMPLETE, before=(), changes=(), completed=1, failed=0,
            active_ms=7, now=99,
        )  # fmt: skip
        return await self.writer.submit(finish)

    async def cancel(self, **options: Any) -> Cancelled:
        given = {"owner": "o", "requested_by": "me", "last_event_id": None, "grace_ms": 5, "now": 9}
        return await self.writer.submit(
            partial(tasks.cancel, task_id=self.task_id, **(given | options))
        )


@asynccontextmanager
async def row(**columns: Any) -> AsyncIterator[Row]:
    async with writing() as (database, writer, _):
        new = NewTask(
            task_id="t", owner="o", title="t", description="d", request="{}", agents="[]",
            labels="{}", job_type="manual", trigger_source=None, priority=0, after=(),
            idempotency_key=None, body_hash=None, max_unfinished=1, node=None,
            created=Draft("task_created", CREATED, 0), starts=(), now=10,
        )  # fmt: skip
        stored = await writer.submit(partial(submissions.submit, new=new))
        assert isinstance(stored, Submitted)
        task = Row(database, writer, stored)
        await task.set(**columns)
        yield task


async def test_a_task_is_claimed_once_and_its_epoch_goes_up() -> None:
    async with row() as task:
        assert await task.claim() == RunKey(task.id, "t", 1)
        assert await task.claim() is None
        assert [await task.get(c) for c in ("status", "node", "started", "queue_ms")] == [
            "running", "n", 50, 40,
        ]  # fmt: skip


@pytest.mark.parametrize("round", [0, 2])
async def test_a_late_or_early_delivery_claims_nothing(round: int) -> None:
    async with row() as task:
        assert await task.claim(round) is None
        assert await task.get("status") == "queued"


@pytest.mark.parametrize("status", [s for s in TaskStatus if s != "queued"])
async def test_only_a_queued_task_is_claimed(status: TaskStatus) -> None:
    async with row(status=status.value) as task:
        assert await task.claim() is None


@pytest.mark.parametrize("status", list(TaskStatus))
async def test_events_are_taken_while_a_run_holds_the_task_only(status: TaskStatus) -> None:
    async with row() as task:
        run = await task.claim()
        assert run is not None
        await task.set(status=status.value)
        draft = Draft("agent_progress", {"agentRole": "a", "attempt": 1, "message": "m"}, 0)
        append = partial(events.append, run=run, drafts=[draft, draft], active_ms=3, now=60)
        if status in ("running", "pausing", "cancelling"):
            appended = await task.writer.submit(append)
            assert [event.seq for event in appended.events] == [2, 3]
            assert appended.status == status
            assert [await task.get(c) for c in ("last_seq", "active_ms", "updated")] == [3, 3, 60]
        else:
            with pytest.raises(AppendRefused) as caught:
                await task.writer.submit(append)
            assert caught.value.status == status
            assert len(await task.log()) == 1


async def test_the_end_reads_the_status_in_its_own_transaction() -> None:
    async with row() as task:
        run = await task.claim()
        assert run is not None
        await task.cancel()
        ended = await task.finish(run)
        assert ended.own.status == "cancelled"
        last = (await task.log())[-1]
        assert (last["type"], last["status"], last["requestedBy"]) == (
            "task_error", "cancelled", "me",
        )  # fmt: skip
        with pytest.raises(AppendRefused):
            await task.finish(run)
        assert len(await task.log()) == 3
        assert await task.get("ended") == 99


async def test_a_stale_run_ends_and_hands_back_nothing() -> None:
    async with row() as task:
        run = await task.claim()
        assert run is not None
        await task.set(epoch=2)
        hand_back = partial(tasks.hand_back, run=run, draft=STATE, active_ms=1, now=1)
        for act in (task.finish(run), task.writer.submit(hand_back)):
            with pytest.raises(AppendRefused) as caught:
                await act
            assert caught.value.status is None
        assert await task.get("status") == "running"


async def test_a_task_that_was_handed_back_has_a_new_round() -> None:
    async with row() as task:
        run = await task.claim()
        assert run is not None
        hand_back = partial(tasks.hand_back, run=run, draft=STATE, active_ms=8, now=70)
        await task.writer.submit(hand_back)
        assert [await task.get(c) for c in ("status", "round", "active_ms", "queued")] == [
            "queued", 2, 8, 70,
        ]  # fmt: skip
        assert await task.claim(1) is None
        assert await task.claim(2) == RunKey(task.id, "t", 2)
        with pytest.raises(AppendRefused):
            await task.finish(run)


@pytest.mark.parametrize(
    ("status", "becomes"),
    [
        ("queued", "cancelled"), ("paused", "cancelled"), ("waiting", "cancelled"),
        ("running", "cancelling"), ("pausing", "cancelling"), ("cancelling", "cancelling"),
        ("cancelled", "cancelled"), ("completed", None), ("failed", None), ("timed_out", None),
    ],
)  # fmt: skip
async def test_cancel_does_what_the_status_allows(status: str, becomes: str | None) -> None:
    async with row(status=status) as task:
        if becomes is None:
            with pytest.raises(TaskConflict, match=f"The task is {status}"):
                await task.cancel()
            return
        cancelled = await task.cancel()
        assert cancelled.status == becomes
        assert await task.get("status") == becomes
        types = [event["type"] for event in await task.log()]
        if status == becomes:
            assert types == ["task_created"]
        elif becomes == "cancelled":
            assert types == ["task_created", "task_error"]
        else:
            assert types == ["task_created", "task_state"]
            assert await task.get("cancel_deadline") == 14


async def test_cancel_finds_nobody_elses_task_and_no_cursor_beyond_the_end() -> None:
    async with row() as task:
        with pytest.raises(TaskNotFound):
            await task.cancel(owner="other")
        with pytest.raises(CursorBeyondEnd):
            await task.cancel(last_event_id=2)
        await task.set(deleted=1)
        with pytest.raises(TaskNotFound):
            await task.cancel(owner=None)


async def test_whatever_broke_a_run_no_attempt_stays_open() -> None:
    async with row() as task:
        run = await task.claim()
        assert run is not None
        await task.writer.submit(
            sql(
                "INSERT INTO agent_run (task, role, attempt, status, started)"
                f" VALUES ({task.id}, 'a', 1, 'running', 5)"
            )
        )
        fields = {"status": "failed", "error": "e", "code": "internal", "totalExecutionTime": 1}
        finish = partial(
            tasks.finish, run=run, draft=Draft("task_error", fields, 0), before=(), changes=(),
            completed=0, failed=0, active_ms=7, now=99,
        )  # fmt: skip
        await task.writer.submit(finish)
        log = await task.log()
        assert [event["type"] for event in log[1:]] == ["agent_error", "task_error"]
        assert log[1]["willRetry"] is False
