"""Alerts reach their address, are tried again, and never stand in the way."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
import pytest

from api.alerts import MAX_WAITING, Webhook
from orchestrator.runtime.alerts import Alert
from tests.answers import Answers, http
from tests.e2e.client import task, until
from tests.e2e.serving import inside

ALERT = Alert("stuck", "an id", "A title", 1_700_000_000_123)


def bodies(server: Answers) -> list[Any]:
    return [orjson.loads(request.partition(b"\r\n\r\n")[2]) for request in server.requests]


async def arrived(server: Answers, count: int) -> None:
    async def enough() -> bool:
        return len(server.requests) >= count

    await until(enough, f"{count} requests came")


async def test_an_alert_is_posted_as_it_is_described() -> None:
    async with Answers([http(204)]) as server:
        webhook = Webhook(f"{server.url}/hook?key=1")
        async with webhook.running():
            webhook.tell(ALERT)
            await arrived(server, 1)
        assert server.requests[0].startswith(b"POST /hook?key=1 HTTP/1.1\r\n")
        assert bodies(server) == [
            {"kind": "stuck", "taskId": "an id", "title": "A title",
             "since": "2023-11-14T22:13:20.123Z"}
        ]  # fmt: skip


async def test_what_may_pass_is_tried_again_and_order_is_kept() -> None:
    async with Answers([http(503), http(429), b"", http(200), http(200)]) as server:
        webhook = Webhook(server.url, delays=(0.01,) * 5)
        async with webhook.running():
            webhook.tell(ALERT)
            webhook.tell(ALERT._replace(kind="recovered"))
            await arrived(server, 5)
        assert [body["kind"] for body in bodies(server)] == ["stuck"] * 4 + ["recovered"]


async def test_what_will_never_pass_is_given_up_at_once_without_telling_the_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with Answers([http(404), http(200)]) as server:
        webhook = Webhook(f"{server.url}/secret-path", delays=(0.01,) * 5)
        async with webhook.running():
            webhook.tell(ALERT)
            webhook.tell(ALERT._replace(kind="failed"))
            await arrived(server, 2)
        assert [body["kind"] for body in bodies(server)] == ["stuck", "failed"]
    assert "alert not delivered: status 404" in caplog.text
    assert "secret-path" not in caplog.text


async def test_nobody_waits_for_an_address_that_does_not_answer() -> None:
    webhook = Webhook("http://127.0.0.1:9/", delays=(60,))
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with webhook.running():
        for _ in range(MAX_WAITING + 10):
            webhook.tell(ALERT)
    assert loop.time() - began < 5, "leaving gives what waits a moment, no more"


async def test_a_server_alerts_of_tasks_that_are_stuck_and_fail(tmp_path: Any) -> None:
    silent = task({"agent": "scripted-1", "texts": ["x"], "outcome": "hang"}, title="silent one")
    async with Answers([http(200)] * 9) as receiver:
        url = f"{receiver.url}/hook"
        async with inside(
            tmp_path, alert_webhook_url=url, stuck_after_seconds=0.1, stuck_action="fail"
        ) as alice:
            task_id = await alice.submit(silent)
            assert await alice.reaches(task_id, "failed", "completed") == "failed"
            await arrived(receiver, 2)
        told = [(b["kind"], b["taskId"], b["title"]) for b in bodies(receiver)]
        assert told == [("stuck", task_id, "silent one"), ("failed", task_id, "silent one")]
