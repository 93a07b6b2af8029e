"""Commands for a running server: tasks, history, files and the worker loop."""

from __future__ import annotations

import asyncio
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.api.cli.support import Command, Here
from tests.e2e.client import Client, task, until
from tests.server import ServerProcess

QUICK = task({"agent": "scripted-1", "texts": ["a", "b"], "kind": "content"}, title="quick one")
FAIL = task({"agent": "scripted-1", "outcome": "fail"}, title="failing one")
HANG = task({"agent": "scripted-1", "texts": ["here"], "outcome": "hang"}, title="hanging one")
WRITE = {"description": "x", "title": "written", "selectedAgents": ["writer"]}
ENDS = ("completed", "failed", "cancelled", "timed_out")


@pytest.fixture
def somebody(server: ServerProcess, request: pytest.FixtureRequest) -> Client:
    """Somebody nobody else is, without the command."""
    return Client(server.port, server.token(f"{request.node.name}"[:200]))


@pytest.fixture
def there(here: Here, server: ServerProcess, somebody: Client) -> Here:
    """Runs commands in this process as the same."""
    here.settings = {"server": server.url, "token": somebody.token}
    return here


def ready(client: Client, body: dict[str, Any], *statuses: str) -> str:
    """A task of somebody that has come so far."""

    async def submit() -> str:
        task_id = await client.submit(body)
        await client.reaches(task_id, *(statuses or ENDS))
        return task_id

    return asyncio.run(submit())


def reaches(client: Client, task_id: str, *statuses: str) -> str:
    return asyncio.run(client.reaches(task_id, *statuses))


def test_tasks_are_listed_shown_and_deleted(there: Here, somebody: Client) -> None:
    good, bad = ready(somebody, QUICK), ready(somebody, FAIL)
    listed = there("tasks", "ls", "--json").json()["tasks"]
    assert [entry["taskId"] for entry in listed] == [bad, good]
    assert there("tasks", "ls", "--status", "failed", "--json").json()["tasks"] == listed[:1]
    assert there("tasks", "ls", "--text", "quick", "--json").json()["tasks"] == listed[1:]
    lines = there("tasks", "ls").out.splitlines()
    assert [line.split()[0] for line in lines] == ["task", bad, good]
    assert lines[1].split()[1] == "failed"
    shown = there("tasks", "show", bad)
    assert shown.out.startswith(f"{bad}  failed  failing one\nall_agents_failed: ")
    assert "scripted failure" in shown.out
    assert there("tasks", "show", good, "--json").json()["agents"][0]["content"] == "ab"
    removed = there("tasks", "rm", good, "--json")
    assert (removed.status, removed.json()) == (0, {"taskId": good, "deleted": True})
    gone = there("tasks", "show", good)
    assert (gone.status, gone.out, gone.err) == (4, "", "poststream: There is nothing here.\n")
    assert there("tasks", "ls", "--all").status == 4, "only for admins"
    assert there("tasks", "ls", "--limit", "0").status == 2


def test_a_log_is_printed_and_followed_to_its_end(there: Here, somebody: Client) -> None:
    good, bad = ready(somebody, QUICK), ready(somebody, FAIL)
    events = there("tasks", "events", good, "--json").lines()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert there("tasks", "events", good, "--after", "2", "--json").lines() == events[2:]
    words = there("tasks", "events", good).out.splitlines()
    assert len(words) == len(events)
    assert words[0].split()[0] == "1"
    followed = there("tasks", "follow", good, "--json")
    assert (followed.status, followed.lines()) == (0, events)
    assert there("tasks", "follow", bad).status == 1
    beyond = there("tasks", "follow", good, "--after", "99")
    assert (beyond.status, beyond.out) == (4, "")


def test_a_task_is_paused_resumed_cancelled_and_retried(there: Here, somebody: Client) -> None:
    task_id = ready(somebody, HANG, "running")
    done = there("tasks", "pause", task_id, "--now", "--json")
    assert (done.status, done.json()["status"]) == (0, "pausing")
    reaches(somebody, task_id, "paused")
    assert there("tasks", "resume", task_id).out == f"{task_id} is queued.\n"
    reaches(somebody, task_id, "running")
    assert there("tasks", "cancel", task_id).out == f"{task_id} is cancelling.\n"
    reaches(somebody, task_id, "cancelled")
    assert there("tasks", "follow", task_id).status == 3
    refused = there("tasks", "pause", task_id)
    assert (refused.status, refused.out) == (4, "")
    assert "cancelled" in refused.err
    assert there("tasks", "retry", task_id, "--json").json()["status"] in ("queued", "running")
    reaches(somebody, task_id, "running")
    there("tasks", "cancel", task_id)


def test_the_history_tells_how_it_went(there: Here, somebody: Client) -> None:
    ready(somebody, QUICK)
    failed = ready(somebody, FAIL)
    found = there("history", "--json").json()
    assert (found["totalCount"], found["jobs"][0]["taskId"]) == (2, failed)
    first = there("history", "--limit", "1")
    assert first.out.splitlines()[1].split()[:3] == [failed, "failed", "0/1"]
    assert first.err == "2 in all; --offset 1 shows more.\n"
    assert there("history", "--status", "nonsense").status == 4


def test_files_are_listed_and_fetched_whole(there: Here, somebody: Client, tmp_path: Path) -> None:
    task_id = ready(somebody, WRITE)
    assert there("artifacts", "ls", task_id, "--json").json()["artifacts"][0]["name"] == "report.md"
    assert "report.md" in there("artifacts", "ls", task_id).out
    got = there("artifacts", "get", task_id, "writer", "report.md", "-o", "r.md", "--json")
    assert got.json() == {"file": "r.md", "size": 21}
    assert (tmp_path / "r.md").read_text() == "content of the report"
    missing = there("artifacts", "get", task_id, "writer", "no.md", "-o", "n.md")
    assert missing.status == 4
    assert {path.name for path in tmp_path.iterdir()} >= {"r.md"}
    assert not list(tmp_path.glob("*n.md*")), "nothing half is left"
    with Command(tmp_path, "export", task_id, **there.settings) as command:
        lines = command.finish()
    assert (lines.status, lines.err) == (0, "")
    assert orjson.loads(lines.out.splitlines()[-1])
    assert there("export", task_id, "--format", "zip", "-o", "t.zip").status == 0
    assert zipfile.is_zipfile(tmp_path / "t.zip")
    assert there("export", task_id, "--json").status == 2


def test_a_server_has_to_be_named(here: Here) -> None:
    for arguments in (("tasks", "ls"), ("history",), ("runner", "status"), ("export", "x")):
        done = here(*arguments)
        assert (done.status, done.out) == (2, "")
        assert "--server or POSTSTREAM_SERVER" in done.err
    away = here("tasks", "ls", server="http://127.0.0.1:9", token="a.b.c")
    assert (away.status, away.out) == (4, "")


@pytest.mark.slow
async def test_the_loop_is_stopped_started_and_its_log_followed(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        server.start()
        root = Client(server.port, server.token("root", "admin"))
        settings = {"server": server.url, "token": root.token}
        (tmp_path / "logs").mkdir()
        (tmp_path / "one").mkdir()

        async def run(*arguments: str) -> Any:
            with Command(tmp_path / "one", *arguments, "--json", **settings) as command:
                return await asyncio.to_thread(command.finish)

        with Command(tmp_path / "logs", "runner", "logs", "-f", "--json", **settings) as logs:
            await asyncio.to_thread(logs.wait_for, "Worker loop started")
            stopped = (await run("runner", "stop")).json()
            assert stopped["state"] in ("draining", "stopped")
            task_id = await root.submit(QUICK)

            async def stands() -> bool:
                return str((await root.get("/api/task-runner/status"))["state"]) == "stopped"

            await until(stands, "it has stopped")
            server.kill()
            server.restart()
            await asyncio.to_thread(logs.wait_for, "it was stopped before")
            assert "Connection lost" in logs.err
            status = (await run("runner", "status")).json()
            assert (status["state"], status["queuedTasks"]) == ("stopped", 1)
            assert (await run("runner", "start")).json()["isRunning"]
            again = await run("runner", "start")
            assert (again.status, again.err) == (4, "poststream: The worker loop runs already.\n")
            await asyncio.to_thread(logs.wait_for, f"Task {task_id}")
            lines = [orjson.loads(line) for line in logs.out.splitlines()]
            assert all({"timestamp", "thread", "message", "type"} == set(line) for line in lines)
            logs.interrupt()
            assert (await asyncio.to_thread(logs.finish)).status == 130
        shown = (await run("runner", "logs")).lines()
        assert any("Worker loop started by root" in line["message"] for line in shown)


def test_lost_tasks_are_taken_over_with_a_server_and_without(here: Here, tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        server.start()
        alice = Client(server.port, server.token("alice"))
        here.settings = {"data_dir": server.data_dir, "jwt_secret": server._settings["jwt_secret"]}
        live = ready(alice, HANG, "running")
        asked = here("recover", "--json")  # nobody is named: whoever holds the folder is asked
        assert (asked.status, asked.json()) == (0, {"reset": [], "skipped": 1})
        server.kill()
        planned = here("recover", "--resume", "--dry-run")
        assert planned.out == f"{live} was running and would become queued.\n"
        assert here("recover", "--older-than", "5m").out == "No task is lost.\n"
        assert here("recover").out == f"{live} was running and is now failed.\n"
        assert here("recover").out == "No task is lost.\n"
        assert here("recover", "--fail", "--resume").status == 2
        with closing(sqlite3.connect(server.data_dir / "tasks.db")) as database:
            assert database.execute("SELECT status, code FROM task").fetchall() == [
                ("failed", "interrupted")
            ]
        server.start()
        assert asyncio.run(alice.status(live)) == "failed"
