"""The worker: slots, claims, cancels that come in the wrong moment, and the end of the process."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import AgentContext, AgentOptions
from orchestrator.clock import Clock
from orchestrator.errors import StorageFull
from orchestrator.runtime.service import TaskService
from orchestrator.store import writer as writer_module
from orchestrator.store.database import Connection
from tests.grammar import parse_frames
from tests.orchestrator.store.databases import Gate, sql
from tests.orchestrator.teams import (
    OWNER,
    at_file,
    eventually,
    hang,
    log_of,
    read_to_end,
    request,
    run_task,
    service,
    settings,
    speak,
    status_of,
    submit,
    swallow,
    team,
    types,
    uncounted,
)  # fmt: skip


async def cancel(opened: TaskService, task_id: str) -> str:
    return await opened.cancel(task_id, owner=OWNER, requested_by="me")


async def test_a_claim_and_its_cancel_in_one_batch() -> None:
    gate = Gate()
    async with service(team(a=hang, b=speak), settings(max_concurrent_tasks=1), at=gate) as opened:
        opened.worker._accepting = False
        queued = await submit(opened, "a")
        await gate.hold(opened._writer)
        opened.worker.start()  # the claim is handed over
        cancelling = asyncio.create_task(cancel(opened, queued.task_id))
        await asyncio.sleep(0)
        gate.open()
        assert await cancelling == "cancelling"
        frames = await read_to_end(queued.reader)
        assert parse_frames(frames)[-1]["status"] == "cancelled"
        await run_task(opened, "b")


async def test_a_submit_and_its_cancel_in_one_batch() -> None:
    class Known(Clock):
        def task_id(self) -> str:
            return task_id

    gate = Gate()
    task_id = Clock().task_id()
    async with service(team(a=hang), at=gate, clock=Known()) as opened:
        await gate.hold(opened._writer)
        submitting = asyncio.create_task(submit(opened, "a"))
        await asyncio.sleep(0)
        cancelling = asyncio.create_task(cancel(opened, task_id))
        await asyncio.sleep(0)
        gate.open()
        submission = await submitting
        assert await cancelling == "cancelling"
        events = parse_frames(await read_to_end(submission.reader))
        assert events[-1]["status"] == "cancelled"


async def test_every_slot_comes_back() -> None:
    async def bad(context: AgentContext) -> None:
        raise SystemExit

    async with service(team(a=speak, b=bad, c=hang), settings(max_concurrent_tasks=2)) as opened:
        for _ in range(3):
            given = [await submit(opened, role) for role in "abcabc"]
            for each in given[2], given[5]:
                await cancel(opened, each.task_id)
            for each in given:
                await read_to_end(each.reader)
            await eventually(lambda: opened.worker._taken == 0)


async def test_no_more_tasks_run_than_there_are_slots() -> None:
    running, peak = 0, 0

    async def count(context: AgentContext) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.001)
        running -= 1

    async with service(team(a=count), settings(max_concurrent_tasks=3)) as opened:
        given = [await submit(opened, "a", owner=f"o{n}") for n in range(20)]
        for each in given:
            await read_to_end(each.reader)
        assert peak == 3


async def test_one_owner_does_not_run_more_than_allowed() -> None:
    running: dict[str, int] = {}
    peak: dict[str, int] = {}
    gate = asyncio.Event()

    async def count(context: AgentContext) -> None:
        owner = context.inputs["owner"]
        running[owner] = running.get(owner, 0) + 1
        peak[owner] = max(peak.get(owner, 0), running[owner])
        await gate.wait()
        running[owner] -= 1

    async with service(team(a=count), settings(max_running_per_owner=2)) as opened:
        given = [
            await submit(opened, "a", owner=owner, inputs={"owner": owner})
            for _ in range(8)
            for owner in ("x", "y")
        ]
        await eventually(lambda: running == {"x": 2, "y": 2})
        gate.set()
        for each in given:
            await read_to_end(each.reader)
        assert peak == {"x": 2, "y": 2}
        assert running == {"x": 0, "y": 0}


async def test_tasks_run_by_priority_then_by_who_has_least_then_by_age() -> None:
    order: list[str] = []

    async def note(context: AgentContext) -> None:
        order.append(context.task.title)

    async with service(team(a=note), settings(max_concurrent_tasks=1)) as opened:
        opened.worker._accepting = False
        tasks = [
            ("x1", "x", 0),
            ("x2", "x", 0),
            ("low", "z", -10),
            ("y1", "y", 0),
            ("top", "x", 10),
        ]
        given = [
            await submit(opened, "a", owner=owner, title=title, priority=priority)
            for title, owner, priority in tasks
        ]
        opened.worker.start()
        for each in given:
            await read_to_end(each.reader)
        assert order == ["top", "x1", "x2", "y1", "low"]


def _count_is(opened: TaskService, count: int) -> bool:
    return len(opened.worker.stragglers) == count


@pytest.mark.parametrize("most", [0, 1])
async def test_above_the_limit_of_stragglers_nothing_is_claimed(most: int) -> None:
    release = asyncio.Event()
    registry = team(a=swallow(release), b=speak)
    given = settings(max_stragglers=most, cancel_grace_seconds=0.05)
    async with service(registry, given) as opened:
        assert opened.worker.accepting
        for count in range(1, most + 2):
            submission = await submit(opened, "a", timeoutSeconds=0.05)
            events = parse_frames(await read_to_end(submission.reader))
            assert events[-1]["notStopped"] == ["a"]
            await eventually(partial(_count_is, opened, count))
            assert opened.worker.accepting is (count <= most)
        waiting = await submit(opened, "b")
        assert waiting.status == "queued"
        release.set()
        assert parse_frames(await read_to_end(waiting.reader))[-1]["type"] == "task_complete"


async def test_what_did_not_stop_is_counted_and_no_second_attempt_works_beside_it() -> None:
    release = asyncio.Event()
    options = {"a": AgentOptions(max_attempts=2, timeout_seconds=0.05, retry_delay_seconds=0.001)}
    given = settings(cancel_grace_seconds=0.05)
    async with service(team(options, a=swallow(release)), given) as opened:
        try:
            events = await run_task(opened, "a")
            assert types(events).count("agent_start") == 1
            assert [e["code"] for e in events if e["type"] == "agent_error"] == ["not_stopped"]
            await eventually(lambda: len(opened.worker.stragglers) == 1)
        finally:
            release.set()
        await eventually(lambda: not opened.worker.stragglers)


async def test_a_drain_also_hands_back_what_is_being_claimed(tmp_path: Path) -> None:
    gate = Gate()
    path = tmp_path / "t.db"
    async with service(team(a=hang), at_file(path), at=gate) as opened:
        opened.worker._accepting = False
        queued = await opened.submit(request("a"), owner=OWNER)
        await gate.hold(opened._writer)
        opened.worker.start()
        submitting = asyncio.create_task(opened.submit(request("a"), owner=OWNER))
        await asyncio.sleep(0)
        draining = asyncio.create_task(opened.drain(0))
        await asyncio.sleep(0)
        gate.open()
        await asyncio.wait_for(draining, 10)
        submitted = await submitting
        for id in (queued.task_id, submitted.task_id):
            assert await status_of(opened, id) == "queued"
            await log_of(opened, id, ended=False)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT status FROM task").fetchall() == [("queued",)] * 2


async def test_a_drain_waits_for_what_ends_in_time() -> None:
    async def work(context: AgentContext) -> None:
        await asyncio.sleep(0.05)

    async with service(team(a=work)) as opened:
        submission = await submit(opened, "a")
        await opened.drain(10)
        assert await status_of(opened, submission.task_id) == "completed"
        await read_to_end(submission.reader)


async def test_a_body_that_raises_still_ends_its_runs() -> None:
    stopped: list[str] = []

    async def work(context: AgentContext) -> None:
        try:
            await hang(context)
        finally:
            stopped.append(context.role)

    async def body() -> None:
        async with service(team(a=work)) as opened:
            submission = await submit(opened, "a")
            assert submission.reader is not None
            data = b""
            while b"hanging" not in data:
                data += await submission.reader.next() or b""
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await body()
    assert stopped == ["a"]


# -- storage that fails under a run ------------------------------------------------------------


def refusing(
    opened: TaskService, monkeypatch: pytest.MonkeyPatch, on: str, error: Exception
) -> None:
    """Let every operation of a kind raise; an operation is known by its function's name."""
    post = opened._writer.post

    def failing(operation: Any, *arguments: Any, **options: Any) -> None:
        def raises(connection: Connection) -> None:
            raise error

        named = getattr(operation, "func", operation).__name__
        post(raises if named == on else operation, *arguments, **options)

    monkeypatch.setattr(opened._writer, "post", failing)


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
@pytest.mark.parametrize("error", [ZeroDivisionError(), ValueError("text")])
async def test_a_broken_operation_ends_its_run_as_internal(
    monkeypatch: pytest.MonkeyPatch, mode: str, error: Exception
) -> None:
    async with service(team(a=speak, b=hang)) as opened:
        refusing(opened, monkeypatch, "append", error)
        submission = await submit(opened, "a", "b", executionMode=mode)
        events = parse_frames(await read_to_end(submission.reader))
        monkeypatch.undo()
        assert await log_of(opened, submission.task_id) == events
        assert (events[-1]["status"], events[-1]["code"]) == ("failed", "internal")
        await eventually(lambda: opened.worker._taken == 0)
        await run_task(opened, "a")


async def test_an_internal_end_counts_what_its_run_has_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = asyncio.Event()

    async def work(context: AgentContext) -> None:
        for word in ("one", "two"):
            await context.progress(word)
            await context.checkpoint(word)  # stores it first
        await more.wait()

    async with service(team(a=work, b=hang)) as opened:
        submission = await submit(opened, "a", "b", executionMode="parallel")

        async def behind() -> bool:
            return await uncounted(opened, submission.task_id) > 0

        await eventually(behind)
        refusing(opened, monkeypatch, "append", ValueError())
        more.set()  # its end would have counted them
        events = parse_frames(await read_to_end(submission.reader))
        assert (events[-1]["status"], events[-1]["code"]) == ("failed", "internal")
        assert await uncounted(opened, submission.task_id) == 0


async def test_a_run_waits_for_room_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.02)
    more = asyncio.Event()

    async def work(context: AgentContext) -> None:
        await context.write("first ")
        await more.wait()
        for _ in range(100):
            await context.write("y" * 4000)
            await context.progress("between")

    async with service(team(a=work), at_file(tmp_path / "t.db")) as opened:

        def pages(count: int) -> Any:
            return opened._writer.submit(sql(f"PRAGMA max_page_count={count}"), waits=True)

        submission = await submit(opened, "a")
        await pages(1)
        more.set()

        async def full() -> bool:
            try:
                await opened.submit(request("a", description="z" * 50_000), owner=OWNER)
            except StorageFull:
                return True
            return False

        await eventually(full)
        assert await status_of(opened, submission.task_id) == "running"  # reading goes on
        await pages(1_000_000)
        events = parse_frames(await read_to_end(submission.reader))
        assert await log_of(opened, submission.task_id) == events
        assert "".join(e.get("content", "") for e in events) == "first " + "y" * 400_000
        assert types(events)[-1] == "task_complete"


async def test_a_drain_does_not_wait_for_room_for_ever(tmp_path: Path) -> None:
    more = asyncio.Event()

    async def work(context: AgentContext) -> None:
        await more.wait()
        for number in range(1000):
            await context.progress(f"{number} " + "y" * 4000)

    path = tmp_path / "t.db"
    async with service(team(a=work), at_file(path)) as opened:
        submission = await submit(opened, "a")
        await opened._writer.submit(sql("PRAGMA max_page_count=1"))
        more.set()
        for _ in range(20):
            await asyncio.sleep(0)
        await asyncio.wait_for(opened.drain(0), 20)
        assert submission.reader is not None
        submission.reader.close()
    async with service(team(a=speak), at_file(path)) as opened:

        async def completed() -> bool:
            return await status_of(opened, submission.task_id) == "completed"

        await eventually(completed)
        await log_of(opened, submission.task_id)
