"""Every control in every state: what it makes of the task, what it writes, and what it refuses."""

from __future__ import annotations

from functools import partial

import pytest

from orchestrator.controls import Control
from orchestrator.errors import (
    AppendRefused,
    CursorBeyondEnd,
    LimitExceeded,
    Overloaded,
    TaskConflict,
    TaskNotFound,
)  # fmt: skip
from orchestrator.store import recovery
from orchestrator.store.controls import Order
from orchestrator.store.quotas import Quotas
from orchestrator.store.tasks import Ended
from tests.orchestrator.store.databases import sql
from tests.orchestrator.store.rows import row

# status → what it is after the control: a status, "-" for a repeat, nothing for a refusal
CASES: dict[Control, dict[str, str]] = {
    "cancel": {
        "queued": "cancelled", "paused": "cancelled", "waiting": "cancelled",
        "running": "cancelling", "pausing": "cancelling", "cancelling": "-", "cancelled": "-",
    },
    "pause": {
        "queued": "paused", "waiting": "paused", "running": "pausing", "pausing": "-",
        "paused": "-",
    },
    "pause_now": {
        "queued": "paused", "waiting": "paused", "running": "pausing", "pausing": "pausing",
        "paused": "-",
    },
    "resume": {"paused": "queued", "pausing": "running"},
    "retry": {"failed": "queued", "cancelled": "queued", "timed_out": "queued"},
}  # fmt: skip
STATES = [
    "queued", "running", "pausing", "paused", "waiting", "cancelling", "completed", "failed",
    "timed_out", "cancelled",
]  # fmt: skip
ORDERS: dict[tuple[Control, str], Order] = {
    ("cancel", "running"): "cancel",
    ("cancel", "pausing"): "cancel",
    ("pause", "running"): "hold",
    ("pause_now", "running"): "interrupt",
    ("pause_now", "pausing"): "interrupt",
    ("resume", "pausing"): "resume",
}


@pytest.mark.parametrize("status", STATES)
@pytest.mark.parametrize("control", list(CASES))
async def test_a_control_does_what_the_state_allows(control: Control, status: str) -> None:
    becomes = CASES[control].get(status)
    async with row(status=status) as task:
        if becomes is None:
            with pytest.raises(TaskConflict, match=f"^The task is {status}; "):
                await task.control(control)
            assert len(await task.log()) == 1
            return
        done = await task.control(control)
        after = status if becomes == "-" else becomes
        assert (done.status, await task.get("status")) == (after, after)
        assert done.order == ORDERS.get((control, status))
        assert (done.queued is not None) is (after == "queued" and status != "queued")
        events = (await task.log())[1:]
        if after == status:
            assert events == []
            return
        [event] = events
        assert event["requestedBy"] == "me"
        assert await task.get("turned") == 2
        if after == "cancelled":
            assert (event["type"], event["status"]) == ("task_error", "cancelled")
        else:
            reason = "pause" if control == "pause_now" else control
            assert (event["type"], event["state"], event["reason"]) == (
                "task_state", after, reason,
            )  # fmt: skip


@pytest.mark.parametrize("last", ["resume", "retry", None])
@pytest.mark.parametrize("status", ["queued", "running", "cancelling"])
@pytest.mark.parametrize("control", ["resume", "retry"])
async def test_a_repeat_is_told_from_a_call_that_makes_no_sense(
    control: Control, status: str, last: str | None
) -> None:
    async with row(status=status) as task:
        if last is not None:
            await task.set(control=last)
        if control == last and status != "cancelling":
            done = await task.control(control, last_event_id=0)
            assert (done.status, done.appended) == (status, None)
        else:
            with pytest.raises(TaskConflict):
                await task.control(control)


async def test_a_completed_task_is_retried_only_if_an_agent_failed() -> None:
    async with row(status="completed", agents_failed=0) as task:
        with pytest.raises(TaskConflict, match="every agent has delivered"):
            await task.control("retry")
        await task.set(agents_failed=1)
        assert (await task.control("retry")).status == "queued"


async def test_a_control_acts_only_on_what_the_caller_has_seen() -> None:
    async with row() as task:
        run = await task.claim()
        assert run is not None
        await task.control("pause", last_event_id=1)
        await task.control("pause", last_event_id=1)  # the same call again
        await task.control("resume", last_event_id=2)
        with pytest.raises(TaskConflict, match="has gone on since then and is running"):
            await task.control("pause", last_event_id=1)
        with pytest.raises(TaskConflict, match="has gone on since then"):
            await task.control("cancel", last_event_id=2)
        await task.append(run, count=5)  # mere progress
        await task.control("cancel", last_event_id=3)
        assert await task.get("status") == "cancelling"


async def test_a_late_pause_does_not_stop_agents_of_another_one() -> None:
    async with row(status="running") as task:
        await task.control("pause_now", last_event_id=1)
        await task.control("resume", last_event_id=2)
        await task.control("pause", last_event_id=3)
        with pytest.raises(TaskConflict):
            await task.control("pause_now", last_event_id=1)
        assert (await task.control("pause_now", last_event_id=4)).order == "interrupt"
        assert (await task.control("pause_now", last_event_id=4)).order is None  # a repeat


async def test_a_control_finds_nobody_elses_task_and_no_cursor_beyond_the_end() -> None:
    for control in CASES:
        async with row() as task:
            with pytest.raises(TaskNotFound):
                await task.control(control, owner="other")
            with pytest.raises(CursorBeyondEnd):
                await task.control(control, last_event_id=2)
            await task.set(deleted=1)
            with pytest.raises(TaskNotFound):
                await task.control(control, owner=None)


async def test_a_run_leaves_a_task_that_is_pausing_as_paused() -> None:
    async with row() as task:
        run = await task.claim()
        assert run is not None
        await task.attempt("a", "completed")
        with pytest.raises(AppendRefused) as caught:
            await task.let_go(run)
        assert caught.value.status == "running"
        await task.control("pause")
        left = await task.let_go(run, handing_back=True)
        assert left.status == "paused"
        last = (await task.log())[-1]
        assert (last["state"], last["reason"], last["requestedBy"], last["done"]) == (
            "paused", "pause", "me", ["a"],
        )  # fmt: skip
        columns = [await task.get(c) for c in ("status", "node", "round", "active_ms", "turned")]
        assert columns == ["paused", None, 1, 8, 3]
        with pytest.raises(AppendRefused):
            await task.finish(run)
        await task.control("resume")
        assert await task.claim(1) is None
        assert await task.claim(2) is not None


async def test_a_run_that_ends_while_it_is_pausing_ends_the_task() -> None:
    async with row() as task:
        run = await task.claim()
        assert run is not None
        await task.control("pause")
        assert (await task.finish(run)).own.status == "completed"
        with pytest.raises(TaskConflict):
            await task.control("resume")


async def test_a_retry_begins_everything_anew_but_attempts_and_what_was_delivered() -> None:
    async with row() as task:
        run = await task.claim()
        assert run is not None
        await task.attempt("a", "completed")
        await task.attempt("b", "error")
        await task.control("cancel")
        await task.finish(run)
        await task.set(recoveries=2, archived=1)
        await task.control("retry", now=77)
        columns = (
            "status", "round", "queued", "ended", "error", "code", "active_ms", "recoveries",
            "cancel_deadline", "archived", "started",
        )  # fmt: skip
        assert [await task.get(c) for c in columns] == [
            "queued", 2, 77, None, None, None, 0, 0, None, 0, 50,
        ]  # fmt: skip
        assert (await task.log())[-1]["done"] == ["a"]
        assert await task.get("(SELECT will_retry FROM agent_run WHERE role = 'b')") == 1


async def test_a_retry_is_one_unfinished_task_more() -> None:
    async with row(status="failed", ended=1) as task:
        columns = "owner, title, description, request, agents, job_type, created, queued, updated"
        unfinished = f"INSERT INTO task (task_id, status, {columns})"
        await task.writer.submit(sql(f"{unfinished} SELECT 'u', 'queued', {columns} FROM task"))
        with pytest.raises(LimitExceeded):
            await task.control("retry", quotas=Quotas(1))
        with pytest.raises(Overloaded):
            await task.control("retry", max_queued=3)
        assert await task.get("status") == "failed"
        await task.control("retry", quotas=Quotas(2))


async def test_time_in_the_queue_before_a_pause_counts_as_such() -> None:
    async with row() as task:
        await task.control("pause", now=15)
        await task.control("resume", now=100)
        await task.claim(2)  # at 50: the clock went back
        assert await task.get("queue_ms") == 5


async def test_an_overdue_cancel_is_ended_once_under_another_epoch() -> None:
    async with row() as task:
        run = await task.claim()
        assert run is not None
        await task.attempt("a", "completed")
        await task.attempt("b", "running")
        await task.control("cancel", now=100, grace_ms=50)

        async def close(deadline: int) -> Ended | None:
            close = partial(recovery.close_overdue, id=task.id, deadline=deadline, now=200)
            return await task.writer.submit(close)

        assert await close(149) is None, "another cancel than the one that was watched"
        ended = await close(150)
        assert ended is not None
        agent, end = (await task.log())[-2:]
        assert (agent["agentRole"], agent["code"], agent["willRetry"]) == (
            "b",
            "not_stopped",
            False,
        )
        assert (end["status"], end["requestedBy"], end["notStopped"]) == ("cancelled", "me", ["b"])
        columns = [await task.get(c) for c in ("epoch", "agents_completed", "cancel_deadline")]
        assert columns == [run.epoch + 1, 1, None]
        assert await close(150) is None
        with pytest.raises(AppendRefused) as caught:
            await task.finish(run)
        assert caught.value.status is None
