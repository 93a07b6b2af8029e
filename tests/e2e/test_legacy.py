"""The old names: the shapes of the old documents, and where everything is found today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.routes.legacy import STATUSES, old_status
from orchestrator.tasks import TaskStatus
from tests.e2e.client import Answer, Client, task
from tests.e2e.serving import inside, token

pytestmark = pytest.mark.e2e

HANG = task({"agent": "scripted-1", "texts": ["here"], "outcome": "hang"}, title="hanging one")
PREFERENCES = {"script": [{"agent": "scripted-1", "texts": ["a"]}], "run_mode": "full"}
START = {"preferences": PREFERENCES, "selected_agents": ["scripted-1"], "job_type": "api"}


def check_deprecated(answer: Answer, successor: str) -> dict[str, Any]:
    assert answer.status == 200, answer
    assert str(answer.header("deprecation")).startswith("@")
    assert answer.header("link") == f'<{successor}>; rel="successor-version"'
    found = answer.json()
    assert found.pop("success") is True
    return dict(found)


def test_every_status_has_an_old_word() -> None:
    words = {status: old_status(status) for status in TaskStatus}
    assert set(words.values()) == {"PENDING", "PROGRESS", "SUCCESS", "FAILURE", "REVOKED"}
    assert {s for s, word in words.items() if word == "PROGRESS"} == set(TaskStatus) - set(STATUSES)


async def test_a_task_is_started_watched_and_found_in_the_history(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        key = [("Idempotency-Key", "k")]
        answer = await alice.call("POST", "/api/v2/agent/start", START, headers=key)
        started = check_deprecated(answer, "/api/tasks")
        again = await alice.call("POST", "/api/v2/agent/start", START, headers=key)
        assert again.json()["task_id"] == started["task_id"]
        task_id = started["task_id"]
        await alice.reaches(task_id, "completed")
        answer = await alice.call("GET", f"/api/v2/agent/status/{task_id}")
        found = check_deprecated(answer, f"/api/tasks/{task_id}")
        assert (found["status"], found["progress"], found["is_running"]) == ("SUCCESS", 100, False)
        assert found["preferences"] == PREFERENCES, "what people sent stays as it is"
        assert found["execution_duration"].startswith("0:00:")
        answer = await alice.call(
            "GET", "/api/v2/jobs/history?status=SUCCESS&job_type=api&limit=20"
        )
        history = check_deprecated(answer, "/api/jobs/history")
        assert (history["total_count"], history["limit"], history["offset"]) == (1, 20, 0)
        [job] = history["jobs"]
        assert (job["task"]["status"], job["task_id"]) == ("SUCCESS", task_id)
        assert job["task"]["human_readable_name"] == "Run the agents"
        assert job["execution_summary"] == {
            "status": "SUCCESS", "agents_completed": 1, "agents_failed": 0, "outputs": 1,
        }  # fmt: skip
        assert job["phase_results"][0]["phase_id"] == "scripted-1"
        assert job["performance_metrics"].keys() == {
            "queue_time", "total_execution_time", "events",
        }  # fmt: skip
        assert job["user_preferences"] == PREFERENCES
        assert job["system_info"]["node"] == "local"
        failed = await alice.call("GET", "/api/v2/jobs/history?status=FAILURE")
        assert failed.json()["jobs"] == []
        bad = await alice.call("GET", "/api/v2/jobs/history?status=completed")
        assert (bad.status, bad.slug) == (400, "invalid-parameter")


async def test_the_newest_unfinished_task_is_found_on_load_and_stopped(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        bob = Client(alice.port, token("bob"))
        nothing = await alice.call("GET", "/api/v2/agent/active")
        assert check_deprecated(nothing, "/api/tasks/active") == {"is_running": False}
        assert (await alice.call("POST", "/api/v2/agent/stop")).status == 404
        task_id = await alice.submit(HANG)
        await alice.reaches(task_id, "running")
        found = (await alice.call("GET", "/api/v2/agent/active")).json()
        assert (found["is_running"], found["active_task"]["task_id"]) == (True, task_id)
        assert found["active_task"]["status"] == "PROGRESS"
        assert found["active_task"]["current_phase_id"] == "scripted-1"
        assert not (await bob.call("GET", "/api/v2/agent/active")).json()["is_running"]
        assert (await bob.call("POST", "/api/v2/agent/stop", {"task_id": task_id})).status == 404
        answer = await alice.call("POST", "/api/v2/agent/stop")
        stopped = check_deprecated(answer, f"/api/tasks/{task_id}/cancel")
        assert stopped["task_id"] == task_id
        await alice.reaches(task_id, "cancelled")
        found = (await alice.call("GET", f"/api/v2/agent/status/{task_id}")).json()
        assert (found["status"], found["error_message"]) == ("REVOKED", "The task was cancelled.")


async def test_old_tasks_are_cleaned_and_lost_ones_reset(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        root = Client(alice.port, token("root", "admin"))
        await alice.call("POST", "/api/v2/agent/start", START)
        task_id = (await alice.get("/api/tasks"))["tasks"][0]["taskId"]
        await alice.reaches(task_id, "completed")
        young = await alice.call("POST", "/api/v2/jobs/cleanup", {})
        assert check_deprecated(young, "/api/jobs/cleanup") == {"cleaned_count": 0}
        done = await alice.call("POST", "/api/v2/jobs/cleanup", {"days_to_keep": 0})
        assert done.json()["cleaned_count"] == 1
        answer = await root.call("POST", "/api/agent/reset-state")
        assert check_deprecated(answer, "/api/agents/reset-state") == {"reset": [], "skipped": 0}
        assert (await alice.call("POST", "/api/agent/reset-state")).status == 403


async def test_without_a_choice_all_agents_run(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        found = (await alice.call("POST", "/api/v2/agent/start")).json()
        snapshot = await alice.get(f"/api/tasks/{found['task_id']}")
        assert "missing" not in snapshot["selectedAgents"], "what cannot run is left out"
        assert "scripted-8" in snapshot["selectedAgents"]
        await alice.call("POST", f"/api/tasks/{found['task_id']}/cancel")
