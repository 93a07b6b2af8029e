"""Limits of everybody together: refused before anything is stored; repeats are answered."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.e2e.client import Answer, Client, task, until
from tests.e2e.serving import inside, token

STREAM = "/api/agents/execute/stream"
TWO = task({"agent": "scripted-1", "texts": ["one", "two"]})
HANG = task({"agent": "scripted-1", "texts": ["here"], "outcome": "hang"})
KEY = [("Idempotency-Key", "k")]


def assert_busy(answer: Answer) -> None:
    assert (answer.status, answer.slug) == (503, "overloaded"), answer
    assert int(answer.header("retry-after") or 0) > 0
    assert answer.header("ratelimit") is None, "it is not this caller's limit"


async def tasks_of_everybody(client: Client) -> int:
    root = Client(client.port, token("root", "admin"))
    return len((await root.get("/api/tasks?scope=all&limit=200"))["tasks"])


async def test_one_stream_too_many_of_all_owners_is_refused(tmp_path: Path) -> None:
    async with inside(tmp_path, max_streams=2) as alice:
        bob = Client(alice.port, token("bob"))
        async with (
            alice.open("POST", STREAM, HANG, headers=KEY) as first,
            bob.open("POST", STREAM, HANG) as second,
        ):
            for response in (first, second):
                await response.read_until(lambda body: b"here" in body)
            path = f"/api/tasks/{first.header('x-task-id')}/stream"
            assert_busy(await alice.call("GET", path))
            for client in (alice, bob, Client(alice.port, token("carol"))):
                assert_busy(await client.call("POST", STREAM, TWO))
            assert await tasks_of_everybody(alice) == 2
            async with alice.open("POST", STREAM, HANG, headers=KEY) as again:
                assert again.header("idempotency-replayed") == "true"
                await again.read_until(lambda body: b"here" in body)
            await bob.call("POST", f"/api/tasks/{second.header('x-task-id')}/cancel")
            await second.read_to_end()

            async def admitted() -> bool:
                async with alice.open("GET", path) as third:
                    return third.status == 200

            await until(admitted, "the places of those that ended are free")


async def test_one_queued_task_too_many_is_refused_before_it_is_stored(tmp_path: Path) -> None:
    async with inside(tmp_path, max_concurrent_tasks=1, max_queued_tasks=2) as alice:
        running = await alice.submit(HANG, headers=KEY)
        await alice.reaches(running, "running")
        posts = (
            Client(alice.port, token(f"owner {n}")).call("POST", "/api/tasks", HANG)
            for n in range(12)
        )
        answers = await asyncio.gather(*posts)
        refused = [answer for answer in answers if answer.status != 202]
        assert len(refused) == 10, "those that come at once do not slip past it"
        for answer in refused:
            assert_busy(answer)
        for path in ("/api/tasks", STREAM, "/execute"):
            assert_busy(await alice.call("POST", path, TWO, headers=[("Idempotency-Key", "x")]))
        assert await tasks_of_everybody(alice) == 3
        repeat = await alice.call("POST", "/api/tasks", HANG, headers=KEY)
        assert (repeat.status, repeat.json()["taskId"]) == (202, running)
        await alice.call("POST", f"/api/tasks/{running}/cancel")

        async def accepted() -> bool:
            return (await alice.call("POST", "/api/tasks", TWO)).status == 202

        await until(accepted, "there is room once a queued one runs")


async def test_without_a_queue_a_task_runs_at_once_or_not_at_all(tmp_path: Path) -> None:
    async with inside(tmp_path, max_concurrent_tasks=1, max_queued_tasks=0) as alice:
        running = await alice.submit(HANG)
        assert_busy(await alice.call("POST", "/api/tasks", TWO))
        await alice.call("POST", f"/api/tasks/{running}/cancel")

        async def accepted() -> bool:
            return (await alice.call("POST", "/api/tasks", TWO)).status == 202

        await until(accepted, "the slot is free")
