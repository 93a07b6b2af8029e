"""Moves of a task, each a compare-and-set: only the right epoch, round and status get through."""

from __future__ import annotations

from functools import partial

import pytest

from orchestrator.errors import AppendRefused
from orchestrator.events import Draft
from orchestrator.store import tasks
from orchestrator.store.events import Account, RunKey
from orchestrator.store.heads import LAST_SEQ
from orchestrator.tasks import TaskStatus
from tests.orchestrator.store.rows import row


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
        log_bytes = await task.get("log_bytes")
        append = task.append(run, count=2, account=Account(50, 3))
        if status in ("running", "pausing", "cancelling"):
            appended = await append
            assert [event.seq for event in appended.events] == [2, 3]
            assert appended.status == status
            assert [await task.get(c) for c in (LAST_SEQ, "active_ms", "updated")] == [3, 3, 60]
            size = sum(len(event.data) for event in appended.events)
            assert await task.get("log_bytes") == log_bytes + 50 + size
        else:
            with pytest.raises(AppendRefused) as caught:
                await append
            assert caught.value.status == status
            assert len(await task.log()) == 1


@pytest.mark.parametrize("known", [1, 2], ids=["behind", "known"])
async def test_the_end_reads_the_status_in_its_own_transaction(known: int) -> None:
    async with row() as task:
        run = await task.claim()
        assert run is not None
        await task.control("cancel")
        ended = await task.finish(run, last_seq=known)
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
        for act in (task.finish(run), task.let_go(run, handing_back=True)):
            with pytest.raises(AppendRefused) as caught:
                await act
            assert caught.value.status is None
        assert await task.get("status") == "running"


async def test_a_task_that_was_handed_back_has_a_new_round() -> None:
    async with row() as task:
        run = await task.claim()
        assert run is not None
        await task.set(log_bytes=100)
        (stored,) = (await task.let_go(run, handing_back=True)).events
        columns = ("status", "round", "active_ms", "queued")
        assert [await task.get(c) for c in columns] == ["queued", 2, 8, 70]
        assert await task.get("log_bytes") == 100 + 60 + len(stored.data)
        assert await task.claim(1) is None
        assert await task.claim(2) == RunKey(task.id, "t", 2)
        with pytest.raises(AppendRefused):
            await task.finish(run)


async def test_whatever_broke_a_run_no_attempt_stays_open() -> None:
    async with row() as task:
        run = await task.claim()
        assert run is not None
        await task.attempt("a", "running")
        fields = {"status": "failed", "error": "e", "code": "internal", "totalExecutionTime": 1}
        finish = partial(
            tasks.finish, run=run, draft=Draft("task_error", fields, 0), before=(), changes=(),
            completed=0, failed=0, last_seq=1, account=Account(0, 7), now=99,
        )  # fmt: skip
        await task.writer.submit(finish)
        log = await task.log()
        assert [event["type"] for event in log[1:]] == ["agent_error", "task_error"]
        assert log[1]["willRetry"] is False
