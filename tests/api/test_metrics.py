"""Metrics: what Prometheus reads is what is so, and only admins read it."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.client import Client, task, until
from tests.e2e.serving import inside, token

HANG = task({"agent": "scripted-1", "texts": ["here"], "outcome": "hang"})
TWO = task({"agent": "scripted-1", "texts": ["one", "two"]})


async def scrape(client: Client) -> dict[str, float]:
    """Every sample, labels in its name."""
    answer = await client.call("GET", "/metrics")
    assert answer.status == 200, answer
    assert str(answer.header("content-type")).startswith("text/plain; version=")
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


async def test_metrics_are_what_is_so(tmp_path: Path) -> None:
    async with inside(tmp_path, max_concurrent_tasks=1) as alice:
        root = Client(alice.port, token("root", "admin"))
        before = await scrape(root)
        assert before["poststream_slots"] == 1
        assert before["poststream_stored_tasks"] == 0
        done = len(await alice.run(TWO))
        async with alice.open("POST", "/execute/stream", HANG) as response:
            await response.read_until(lambda body: b"here" in body)
            await alice.submit(HANG)
            found = await scrape(root)
            path = f"/api/tasks/{response.header('x-task-id')}"
            running = (await alice.get(path))["lastEventId"]
        names = "tasks{running} tasks{queued} running_tasks queued_tasks streams stored_tasks"
        assert [found[f"poststream_{name}"] for name in names.split()] == [1, 1, 1, 1, 1, 3]
        assert found["poststream_stored_events"] == done + running + 1
        assert found["poststream_log_bytes"] > 1000
        assert found["poststream_database_bytes"] > found["poststream_log_bytes"]
        assert found["poststream_commits_total"] > before["poststream_commits_total"]
        assert found["poststream_loop_stalls_total"] == 0
        assert found["poststream_stragglers"] == 0
        assert found["process_open_fds"] > 0
        assert any(name.startswith("poststream_info{") for name in found)
        for entry in (await alice.get("/api/tasks/active"))["tasks"]:
            await alice.call("POST", f"/api/tasks/{entry['taskId']}/cancel")

        async def idle() -> bool:
            now = await scrape(root)
            return (now["poststream_streams"], now["poststream_running_tasks"]) == (0, 0)

        await until(idle, "nothing is open any more")


async def test_only_admins_read_metrics_in_the_format_they_ask_for(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        assert (await alice.call("GET", "/metrics")).status == 403
        assert (await Client(alice.port).call("GET", "/metrics")).status == 401
        root = Client(alice.port, token("root", "admin"))
        accept = [("Accept", "application/openmetrics-text; version=1.0.0")]
        answer = await root.call("GET", "/metrics", headers=accept)
        assert str(answer.header("content-type")).startswith("application/openmetrics-text")
        assert answer.body.endswith(b"# EOF\n")
        assert answer.header("cache-control") == "no-store"
        odd = [("Accept", "application/openmetrics-text; version=abc")]
        assert (await root.call("GET", "/metrics", headers=odd)).status == 200
        for help in re.findall(rb"^# HELP poststream_\S+ (.*)$", answer.body, re.MULTILINE):
            assert help.endswith(b"."), help
