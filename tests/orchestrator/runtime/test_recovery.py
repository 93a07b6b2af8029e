"""What a start makes of the tasks a dead process left, state by state."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import AgentContext
from orchestrator.clock import Clock
from orchestrator.events import Draft, to_json
from orchestrator.milestones import created_event, first_starts
from orchestrator.store import agent_runs, events, submissions
from orchestrator.store.events import RunKey
from orchestrator.store.quotas import Quotas
from orchestrator.store.submissions import NewTask, Submitted
from tests.orchestrator.store.databases import writing
from tests.orchestrator.teams import (
    OWNER,
    at_file,
    eventually,
    hang,
    log_of,
    request,
    service,
    speak,
    status_of,
    submit,
    team,
    types,
)  # fmt: skip

TEAM = team(a=speak, b=speak, hang=hang)


async def left_behind(
    path: Path, *roles: str, after: Sequence[str] = (), status: str = "running",
    fields: dict[str, Any] | None = None, **columns: Any,
) -> str:  # fmt: skip
    """Store a task as a process left it that died while its first agent ran.

    Args:
        path: The database.
        roles: Agents of the task.
        after: Tasks it waits for.
        status: Its status.
        fields: More of its request.
        columns: Columns of its row.
    """
    clock = Clock()
    task = request(*roles, after=list(after) or None, **(fields or {}))
    now = clock.wall_ms()
    claimed = status in ("running", "pausing", "cancelling", "completed")
    created = created_event(TEAM.team(task.selected_agents), task, now)
    agents = [dict(agent, kind="python") for agent in created.fields["agents"]]
    new = NewTask(
        task_id=clock.task_id(), owner=OWNER, request=task, text=task.to_json(),
        agents=to_json(agents),
        idempotency_key=None, body_hash=None, quotas=Quotas(1000),
        node="local" if claimed else None, created=created,
        starts=first_starts(TEAM, task, now) if claimed else (), now=now,
    )  # fmt: skip
    async with writing(path) as (_, writer, _failing):
        stored = await writer.submit(partial(submissions.submit, new=new))
        assert isinstance(stored, Submitted)
        if claimed:
            said = {"agentRole": roles[0], "attempt": 1, "content": "half a wo"}
            await writer.submit(
                partial(
                    events.append,
                    run=RunKey(stored.id, stored.task_id, 1),
                    drafts=[Draft("agent_progress", said, now)],
                    heads=writer.heads,
                    now=now,
                )
            )
    changes = {"status": status, **columns}
    with closing(sqlite3.connect(path)) as connection, connection:
        for name, value in changes.items():
            connection.execute(f"UPDATE task SET {name} = ? WHERE id = ?", (value, stored.id))
    return new.task_id


async def test_a_running_task_goes_on_with_a_new_attempt(tmp_path: Path) -> None:
    id = await left_behind(tmp_path / "t.db", "a", "b")
    async with service(TEAM, at_file(tmp_path / "t.db")) as opened:
        await eventually(lambda: _is(opened, id, "completed"))
        log = await log_of(opened, id)
        assert types(log) == [
            "task_created", "agent_start", "agent_progress", "agent_error", "task_state",
            "agent_start", "agent_progress", "agent_complete",
            "agent_start", "agent_progress", "agent_complete", "task_complete",
        ]  # fmt: skip
        closed, state = log[3], log[4]
        assert (closed["status"], closed["code"], closed["willRetry"]) == (
            "cancelled", "interrupted", True,
        )  # fmt: skip
        assert (state["state"], state["reason"], state["done"]) == ("queued", "recovered", [])
        shot = await opened.snapshot(id, owner=OWNER)
        assert shot["agents"][0]["content"] == "a 2"


async def _is(opened: Any, id: str, status: str) -> bool:
    return await status_of(opened, id) == status


@pytest.mark.parametrize(
    ("columns", "settings", "fields", "status", "code"),
    [
        # status as it was left, settings, request → status as it is found, code
        ({"status": "queued"}, {}, {}, "completed", None),
        ({"status": "paused"}, {}, {}, "paused", None),
        ({"status": "waiting"}, {}, {}, "waiting", None),
        ({"status": "pausing"}, {}, {}, "paused", None),
        ({"status": "cancelling", "requested_by": "me"}, {}, {}, "cancelled", "cancelled"),
        ({}, {}, {}, "completed", None),
        ({}, {"on_restart": "fail"}, {}, "failed", "interrupted"),
        ({}, {}, {"onRestart": "fail"}, "failed", "interrupted"),
        ({}, {"on_restart": "fail"}, {"onRestart": "resume"}, "completed", None),
        ({"updated": 1}, {}, {}, "completed", None),
        ({"updated": 1}, {"recover_max_age_seconds": 60}, {}, "failed", "interrupted"),
        ({}, {"recover_max_age_seconds": 60}, {}, "completed", None),
        ({"status": "queued", "updated": 1}, {"recover_max_age_seconds": 60}, {}, "completed",
         None),
        ({"recoveries": 2}, {"recover_max_attempts": 3}, {}, "completed", None),
        ({"recoveries": 3}, {"recover_max_attempts": 3}, {}, "failed", "crash_loop"),
        ({"recoveries": 0}, {"recover_max_attempts": 0}, {}, "failed", "crash_loop"),
        ({"status": "pausing", "recoveries": 3}, {}, {}, "paused", None),
        ({"status": "pausing"}, {"on_restart": "fail"}, {}, "paused", None),
        ({"status": "pausing", "updated": 1}, {"recover_max_age_seconds": 60}, {}, "paused",
         None),
        ({"status": "paused", "updated": 1}, {"recover_max_age_seconds": 60}, {}, "paused", None),
        ({"status": "waiting"}, {"on_restart": "fail"}, {}, "waiting", None),
        ({"status": "cancelling", "updated": 1}, {"recover_max_age_seconds": 60}, {},
         "cancelled", "cancelled"),
        ({"status": "cancelling", "recoveries": 9}, {}, {}, "cancelled", "cancelled"),
    ],
)  # fmt: skip
async def test_every_state_has_its_way_on(
    tmp_path: Path, columns: dict[str, Any], settings: dict[str, Any], fields: dict[str, Any],
    status: str, code: str | None,
) -> None:  # fmt: skip
    path = tmp_path / "t.db"
    id = await left_behind(path, "a", fields=fields, **columns)
    async with service(TEAM, at_file(path, **settings)) as opened:
        await eventually(lambda: _is(opened, id, status))
        ended = status not in ("paused", "waiting")
        log = await log_of(opened, id, ended=ended)
        assert log[-1].get("code") == code
        if status == "cancelled":
            assert log[-1].get("requestedBy") == columns.get("requested_by")
        shot = await opened.snapshot(id, owner=OWNER)
        assert shot["status"] == status
        assert shot["lastEventId"] == len(log)


async def test_an_agent_that_ends_makes_the_count_of_recoveries_begin_anew(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    id = await left_behind(path, "a", recoveries=2)
    async with service(TEAM, at_file(path)) as opened:
        await eventually(lambda: _is(opened, id, "completed"))
        assert (await opened.find(id, owner=None)).recoveries in (0, 3)
    second = await left_behind(path, "a", "hang", recoveries=2)
    async with service(TEAM, at_file(path)) as opened:

        async def went_on() -> bool:
            task = await opened.find(second, owner=None)
            return task.recoveries == 0

        await eventually(went_on)


async def test_a_recovered_agent_that_failed_for_good_does_not_run_again(tmp_path: Path) -> None:
    ran: list[str] = []

    async def note(context: AgentContext) -> None:
        ran.append(context.role)

    path = tmp_path / "t.db"
    id = await left_behind(path, "a", "b", fields={"executionMode": "parallel"})
    async with writing(path) as (_, writer, _failing):
        draft = Draft(
            "agent_error",
            {"agentRole": "a", "attempt": 1, "status": "error", "executionTime": 1,
             "error": "for good", "code": "mine", "willRetry": False},
            1,
        )  # fmt: skip
        await writer.submit(
            partial(
                events.append,
                run=RunKey(1, id, 1),
                drafts=[draft],
                heads=writer.heads,
                now=1,
                changes=[partial(agent_runs.end, draft=draft, output=None)],
            )
        )
    async with service(team(a=note, b=note, hang=hang), at_file(path)) as opened:
        await eventually(lambda: _is(opened, id, "completed"))
        log = await log_of(opened, id)
        assert ran == ["b"]
        assert log[-1]["failedAgents"] == ["a"]


async def test_what_was_begun_goes_on_before_what_was_waiting(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    waiting = [await left_behind(path, "a", status="queued", queued=n) for n in (1, 2)]
    begun = await left_behind(path, "a", "hang")
    async with service(TEAM, at_file(path, max_concurrent_tasks=1)) as opened:
        await eventually(lambda: _said(opened, begun, b"hanging"))
        assert [await status_of(opened, id) for id in waiting] == ["queued", "queued"]


async def test_active_time_goes_on_where_it_stood(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    id = await left_behind(path, "hang", fields={"timeoutSeconds": 1000}, active_ms=999_950)
    async with service(TEAM, at_file(path)) as opened:
        await eventually(lambda: _is(opened, id, "timed_out"))
        task = await opened.find(id, owner=None)
        assert 999_950 <= task.active_ms < 1_100_000


async def test_attempts_are_counted_on_although_the_wall_clock_was_set_back(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    id = await left_behind(path, "a")
    year_ms = 365 * 86_400_000
    clock = Clock()
    clock.wall_ms = lambda: Clock.wall_ms(clock) - year_ms  # type: ignore[method-assign]
    async with service(team(a=hang), at_file(path), clock=clock) as opened:
        await eventually(lambda: _said(opened, id, b"hanging"))
    async with service(TEAM, at_file(path), clock=clock) as opened:
        await eventually(lambda: _is(opened, id, "completed"))
        log = await log_of(opened, id)
        assert [e["attempt"] for e in log if e["type"] == "agent_start"] == [1, 2, 3]
        shot = await opened.snapshot(id, owner=OWNER)
        assert (shot["agents"][0]["attempt"], shot["agents"][0]["content"]) == (3, "a 3")


async def _said(opened: Any, id: str, text: bytes) -> bool:
    stored, _ = await opened.events(id, owner=None, after=0, limit=100)
    return any(text in event.data.encode() for event in stored)


async def test_an_agent_that_is_not_there_any_more_ends_the_task(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    id = await left_behind(path, "a", "b")
    async with service(team(a=speak), at_file(path)) as opened:
        await eventually(lambda: _is(opened, id, "failed"))
        log = await log_of(opened, id)
        assert log[-1]["error"] == "This server has no agent 'b' any more."
        assert "agent_start" not in types(log)[5:]


async def test_tasks_that_wait_for_others_wait_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    first = await left_behind(path, "a")
    second = await left_behind(path, "b", status="queued", after=[first])
    third = await left_behind(path, "b", status="queued", after=[second])
    async with service(TEAM, at_file(path)) as opened:
        await eventually(lambda: _is(opened, third, "completed"))
        tasks = [await opened.find(id, owner=None) for id in (first, second, third)]
        assert [task.status for task in tasks] == ["completed"] * 3
        assert tasks[0].ended <= tasks[1].started <= tasks[1].ended <= tasks[2].started  # type: ignore[operator]


async def test_tasks_that_wait_for_one_that_is_given_up_end_with_it(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    first = await left_behind(path, "a")
    second = await left_behind(path, "b", status="queued", after=[first])
    third = await left_behind(path, "b", status="queued", after=[second, first])
    async with service(TEAM, at_file(path, on_restart="fail")) as opened:
        for id in (second, third):
            log = await log_of(opened, id)
            assert types(log) == ["task_created", "task_error"]
            assert log[-1]["code"] == "dependency_failed"


async def test_a_drain_hands_back_what_runs_and_the_next_start_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    slow = team(a=speak, b=hang)
    async with service(slow, at_file(path)) as opened:
        submission = await submit(opened, "a", "b")
        waiting = await opened.submit(request("a", after=[submission.task_id]), owner=OWNER)
        reader = submission.reader
        assert reader is not None
        data = b""
        while b"hanging" not in data:
            data += await reader.next() or b""
        reader.close()
    async with service(team(a=hang, b=speak), at_file(path, max_concurrent_tasks=1)) as opened:
        await eventually(lambda: _is(opened, submission.task_id, "completed"))
        log = await log_of(opened, submission.task_id)
        assert types(log)[-6:] == [
            "agent_error", "task_state", "agent_start", "agent_progress", "agent_complete",
            "task_complete",
        ]  # fmt: skip
        assert (log[-6]["code"], log[-6]["willRetry"]) == ("interrupted", True)
        assert (log[-5]["reason"], log[-5]["done"]) == ("handed_back", ["a"])
        task = await opened.find(submission.task_id, owner=None)
        assert task.recoveries == 0
        await eventually(lambda: _is(opened, waiting.task_id, "running"))


async def test_a_restart_finds_the_deletion_that_was_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    await left_behind(path, "a", status="completed", deleted=1, ended=1)
    await left_behind(path, "a", status="paused")  # the newest row of all stays

    def rows(table: str, column: str) -> int:
        with closing(sqlite3.connect(path)) as connection:
            query = f"SELECT count(*) FROM {table} WHERE {column} = 1"
            return int(connection.execute(query).fetchone()[0])

    assert rows("event", "task") == 3
    async with service(TEAM, at_file(path)):
        await eventually(lambda: not rows("task", "id"))
        assert [rows(table, "task") for table in ("event", "agent_run")] == [0, 0]


async def test_numbers_of_deleted_tasks_are_not_given_again(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with service(TEAM, at_file(path)) as opened:
        first = await submit(opened, "a")
        await eventually(lambda: _is(opened, first.task_id, "completed"))
        row = await opened.find(first.task_id, owner=None)
        await opened.delete(first.task_id, owner=OWNER)
        await eventually(lambda: not opened.house.removal.busy)
        second = await submit(opened, "a")
        assert (await opened.find(second.task_id, owner=None)).id > row.id
        for each in (first, second):
            assert each.reader is not None
            each.reader.close()
