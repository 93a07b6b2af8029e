"""Jobs: the history with its five records, figures, cleanup, and what becomes of lost tasks."""

from __future__ import annotations

import contextlib
import platform
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from tests.e2e.client import Client, task, until
from tests.e2e.serving import inside, token
from tests.grammar import check_log

pytestmark = pytest.mark.e2e

QUICK = task({"agent": "scripted-1", "texts": ["a"], "kind": "content"}, title="quick one")
FAIL = task({"agent": "scripted-2", "outcome": "fail"}, title="failing one", jobType="api")
HANG = task({"agent": "scripted-1", "texts": ["here"], "outcome": "hang"}, title="hanging one")
ENDS = ("completed", "failed", "cancelled")


def admin(client: Client) -> Client:
    return Client(client.port, token("root", "admin"))


async def history(client: Client, query: str = "") -> dict[str, Any]:
    return dict(await client.get(f"/api/jobs/history{query}"))


async def titles(client: Client, query: str = "") -> list[str]:
    return [job["title"] for job in (await history(client, query))["jobs"]]


async def test_a_job_is_in_the_history_from_its_submission_with_five_records(
    tmp_path: Path,
) -> None:
    body = {**QUICK, "metadata": {"ref": "1"}, "triggerSource": "a test", "timeoutSeconds": 60}
    body["selectedAgents"] = ["scripted-1", "scripted-2"]
    async with inside(tmp_path) as alice:
        task_id = (await alice.run(body))[0].data["taskId"]
        found = await history(alice)
        assert (found["totalCount"], found["limit"], found["offset"]) == (1, 50, 0)
        [job] = found["jobs"]
        assert job.keys() == {
            "taskId", "title", "status", "jobType", "triggerSource", "archived", "createdAt",
            "startedAt", "endedAt", "executionSummary", "phaseResults", "performanceMetrics",
            "userPreferences", "systemInfo",
        }  # fmt: skip
        assert (job["taskId"], job["status"], job["jobType"]) == (task_id, "completed", "manual")
        assert job["executionSummary"] == {
            "status": "completed", "agentsCompleted": 2, "agentsFailed": 0, "outputs": 2,
        }  # fmt: skip
        assert [phase["phaseId"] for phase in job["phaseResults"]] == body["selectedAgents"]
        for phase in job["phaseResults"]:
            assert (phase["status"], phase["attempts"]) == ("completed", 1)
            assert phase["executionTime"] >= 0
        metrics = job["performanceMetrics"]
        assert metrics["events"] == len(await alice.log(task_id))
        assert metrics.keys() == {"queueTime", "totalExecutionTime", "events"}
        sent = {k: v for k, v in body.items() if k not in ("description", "title")}
        assert job["userPreferences"] == sent, "inputs and options as sent"
        assert job["systemInfo"] == {
            "version": orchestrator.__version__, "python": platform.python_version(),
            "platform": platform.platform(), "node": "local",
        }  # fmt: skip
        hanging = await alice.submit(HANG)
        await alice.reaches(hanging, "running")
        job = (await history(alice))["jobs"][0]
        assert (job["taskId"], job["executionSummary"]["status"]) == (hanging, "running")
        await alice.call("POST", f"/api/tasks/{hanging}/cancel")
        await alice.reaches(hanging, "cancelled")
        job = (await history(alice))["jobs"][0]
        assert job["phaseResults"][0]["error"] == "The agent was cancelled."
        assert job["executionSummary"]["error"] == "The task was cancelled."
        assert job["executionSummary"]["agentsFailed"] == 1


async def test_the_history_is_paged_and_filtered_and_everybody_has_an_own_one(
    tmp_path: Path,
) -> None:
    async with inside(tmp_path) as alice:
        root, bob = admin(alice), Client(alice.port, token("bob"))
        for number in range(5):
            await alice.run({**QUICK, "title": f"number {number}"})
        await alice.run(FAIL)
        assert await titles(alice, "?limit=2") == ["failing one", "number 4"]
        assert await titles(alice, "?limit=2&offset=2") == ["number 3", "number 2"]
        assert (await history(alice, "?limit=2&offset=2"))["totalCount"] == 6
        assert await titles(alice, "?offset=6") == []
        assert await titles(alice, "?jobType=api") == ["failing one"]
        assert await titles(alice, "?status=failed,cancelled") == ["failing one"]
        assert (await history(alice, "?status=completed"))["totalCount"] == 5
        assert (await history(bob))["totalCount"] == 0
        assert (await history(root))["totalCount"] == 0
        assert (await history(root, "?scope=all"))["totalCount"] == 6
        assert (await bob.call("GET", "/api/jobs/history?scope=all")).status == 403
        assert (await bob.call("GET", "/api/jobs/stats?scope=all")).status == 403


async def test_figures_are_counted_by_agent_day_and_type(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        for _ in range(3):
            await alice.run(QUICK)
        await alice.run(FAIL)
        hanging = await alice.submit(HANG)
        await alice.reaches(hanging, "running")
        by_day = await alice.get("/api/jobs/stats")
        assert (by_day["days"], by_day["groupBy"]) == (30, "day")
        total = by_day["total"]
        assert (total["count"], total["completed"], total["failed"]) == (5, 3, 1)
        assert (total["unfinished"], total["successRate"]) == (1, 0.75)
        assert total["failures"] == {"all_agents_failed": 1}
        assert 0 <= total["medianTime"] <= total["p95Time"]
        [today] = by_day["groups"]
        assert {k: v for k, v in today.items() if k != "group"} == total
        by_type = await alice.get("/api/jobs/stats?groupBy=jobType&days=1")
        assert [(g["group"], g["count"]) for g in by_type["groups"]] == [("api", 1), ("manual", 4)]
        by_agent = await alice.get("/api/jobs/stats?groupBy=agent")
        found = {g["group"]: (g["completed"], g["failed"]) for g in by_agent["groups"]}
        assert found == {"scripted-1": (3, 0), "scripted-2": (0, 1)}
        bob = Client(alice.port, token("bob"))
        nothing = await bob.get("/api/jobs/stats?groupBy=agent")
        assert (nothing["total"]["count"], nothing["groups"]) == (0, [])
        await alice.call("POST", f"/api/tasks/{hanging}/cancel")


async def cleanup(client: Client, **body: Any) -> dict[str, int]:
    answer = await client.call("POST", "/api/jobs/cleanup", body)
    assert answer.status == 200, answer
    return dict(answer.json())


async def test_cleanup_archives_or_deletes_the_callers_own_finished_tasks(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        root, bob = admin(alice), Client(alice.port, token("bob"))
        mine = (await alice.run(QUICK))[0].data["taskId"]
        others = (await bob.run(QUICK))[0].data["taskId"]
        hanging = await alice.submit(HANG)
        assert await cleanup(alice, mode="archive") == {"archived": 0, "deleted": 0}, "all young"
        refused = await alice.call(
            "POST", "/api/jobs/cleanup", {"mode": "delete", "allOwners": True}
        )
        assert (refused.status, refused.slug) == (403, "forbidden")
        done = await cleanup(alice, mode="archive", olderThanDays=0)
        assert done == {"archived": 1, "deleted": 0}
        assert await cleanup(alice, mode="archive", olderThanDays=0) == {
            "archived": 0,
            "deleted": 0,
        }
        for path in ("/api/tasks", "/api/jobs/history"):
            for query, there in (("", False), ("?archived=true", True)):
                assert (mine in str(await alice.get(path + query))) == there, (path, query)
        assert (await alice.get(f"/api/tasks/{mine}"))["archived"]
        done = await cleanup(root, mode="delete", olderThanDays=0, allOwners=True)
        assert done == {"archived": 0, "deleted": 2}
        for client, task_id in ((alice, mine), (bob, others)):
            assert (await client.call("GET", f"/api/tasks/{task_id}")).status == 404
        assert await alice.status(hanging) == "running", "unfinished ones are never touched"
        await alice.call("POST", f"/api/tasks/{hanging}/cancel")


async def reset(client: Client, body: Any = None) -> dict[str, Any]:
    answer = await client.call("POST", "/api/agents/reset-state", body)
    assert answer.status == 200, answer
    return dict(answer.json())


async def test_a_reset_closes_tasks_whose_run_is_gone_and_no_live_one(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        root = admin(alice)
        live = await alice.submit(HANG)
        await alice.reaches(live, "running")
        assert await reset(root) == {"reset": [], "skipped": 1}
        lost = [(await alice.submit(QUICK)) for _ in range(2)]
        for task_id in lost:
            await alice.reaches(task_id, "completed")
        with contextlib.closing(sqlite3.connect(tmp_path / "tasks.db", timeout=10)) as database:
            for task_id in lost:  # as if the run had been lost before its end was stored
                _take_back_the_end(database, task_id)
        planned = await reset(root, {"dryRun": True})
        assert {entry["taskId"] for entry in planned["reset"]} == set(lost)
        assert {await alice.status(task_id) for task_id in lost} == {"running"}
        too_young = await reset(root, {"olderThanSeconds": 3600})
        assert too_young == {"reset": [], "skipped": 3}
        done = await reset(root)
        assert done["skipped"] == 1
        assert {(e["taskId"], e["from"], e["to"]) for e in done["reset"]} == {
            (task_id, "running", "failed") for task_id in lost
        }
        for task_id in lost:
            log = await alice.log(task_id)
            check_log([frame.data for frame in log])
            assert log[-1].data["code"] == "interrupted"
            assert log[-2].data["willRetry"] is False
        assert await alice.status(live) == "running"
        with contextlib.closing(sqlite3.connect(tmp_path / "tasks.db", timeout=10)) as database:
            _take_back_the_end(database, lost[0])
        done = await reset(root, {"action": "resume"})
        assert [entry["to"] for entry in done["reset"]] == ["queued"]
        assert await alice.reaches(lost[0], *ENDS) == "completed", "it goes on"
        await alice.call("POST", f"/api/tasks/{live}/cancel")


def _take_back_the_end(database: sqlite3.Connection, task_id: str) -> None:
    """Leave a task as it is while its only agent runs."""
    with database:
        (id,) = database.execute("SELECT id FROM task WHERE task_id = ?", (task_id,)).fetchone()
        database.execute("DELETE FROM event WHERE task = ? AND seq > 3", (id,))
        database.execute(
            "UPDATE task SET status = 'running', ended = NULL, error = NULL, code = NULL"
            " WHERE id = ?",
            (id,),
        )
        database.execute(
            "UPDATE agent_run SET status = 'running', ended = NULL WHERE task = ?", (id,)
        )


async def test_with_nothing_kept_the_answer_comes_whole_and_then_the_task_is_gone(
    tmp_path: Path,
) -> None:
    async with inside(tmp_path, task_history_retention_days=0) as alice:
        streamed = (await alice.run(QUICK))[0].data["taskId"]
        answer = await alice.call("POST", "/api/agents/execute", QUICK)
        assert (answer.status, answer.json()["status"]) == (200, "completed")
        for task_id in (streamed, answer.json()["taskId"]):

            async def gone(task_id: str = task_id) -> bool:
                return (await alice.call("GET", f"/api/tasks/{task_id}")).status == 404

            await until(gone, "it is gone with its last reader")
